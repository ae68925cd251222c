"""The real process under a hostile kernel: killed at a system call, refused by the disk, with no byte left.

strace injects at the n-th call on the outbox's own files; how many calls there are is counted in a dry run.
What was acknowledged must stand afterwards; whatever the injected error hit was reported, or is harmless.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from outbox_support import on_a_file_system, open_outbox
from uploader_support import platform

HERE = Path(__file__).parent
ERROR = re.compile(r"^error (\w+)$", flags=re.MULTILINE)
#: Calls of one kind that are tried in the ordinary run; `make soak` tries every one.
SAMPLE = 14

LIFE = """
import sys
from datetime import timedelta
from pathlib import Path
from outbox_support import HandClock, open_outbox, verification, PICTURES, receipt
from agent.catalogue import AgentError
from agent.outbox import SettleDelivered
def told(*words): print(*words, flush=True)
clock = HandClock()
def step(what, deed):
    try:
        found = deed()
    except AgentError as error:
        told("error", error.code); return None
    told(*what.split()); return found
def note(outbox, claim):
    outbox.note_attempt(claim, request_id=claim.id, conventions_fingerprint="f", conventions_json="{}",
                        sm3_hex="00", length=1)
    outbox.settle(claim, SettleDelivered(receipt(claim.id)))
try:
    with open_outbox(Path(sys.argv[1]), clock) as outbox:
        for n in range(4):
            one = verification(f"{n:032x}")
            step("open", lambda: outbox.open_attempt(one.id))
            step("kept " + one.id, lambda: outbox.put(one, PICTURES, person=str(n), holds={}))
            claim = step("claimed", lambda: outbox.claim(clock.now())) if n % 2 else None
            if claim is not None:
                step("delivered " + claim.id, lambda: note(outbox, claim))
            outbox.return_abandoned() if n == 3 else None
        clock.seconds += 90000
        step("erased", lambda: outbox.upkeep.erase(timedelta(hours=1)))
        step("emptied", outbox.upkeep.checkpoint)
    told("end")
except AgentError as error:
    told("error", error.code)
"""


def life(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Live once under strace, looking at the outbox's files alone."""
    folder.mkdir(exist_ok=True)
    (folder / "outbox.db").touch()
    (folder / "outbox.db-wal").touch()
    command = ["strace", "-f", "-qq", "-o", str(folder / "trace"), "-P", str(folder / "outbox.db")]
    command += ["-P", str(folder / "outbox.db-wal"), "-P", str(folder), *options]
    return subprocess.run(
        [*command, sys.executable, "-c", LIFE, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )


def still_true(folder: Path, said: str) -> None:
    """What was acknowledged stands, the rest balances."""
    kept = set(re.findall(r"^kept (\w+)$", said, flags=re.MULTILINE))
    delivered = set(re.findall(r"^delivered (\w+)$", said, flags=re.MULTILINE))
    with open_outbox(folder) as outbox:
        counts = outbox.counts()
        rows = {row.id: row.state for row in outbox.administration.list_records(None, 100)}
        assert counts.difference == counts.quarantined == 0
        assert kept <= set(rows)
        assert all(rows[record] == "delivered" for record in delivered)
        assert outbox.salvaged is None
        assert [one for one in outbox.administration.check() if one.code] == []


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def counted(folder: Path, call: str) -> int:
    """Return how often a life makes this call on the outbox's files."""
    run = life(folder, "-e", f"trace={call}")
    assert run.stdout.endswith("end\n"), run.stdout + run.stderr
    return len((folder / "trace").read_text().splitlines())


def chosen(total: int, every: bool) -> Sequence[int]:
    """Return which of them are tried: all, or some, the first and the last among them."""
    if every or total <= SAMPLE:
        return range(1, total + 1)
    return sorted({1 + round(n * (total - 1) / (SAMPLE - 1)) for n in range(SAMPLE)})


def tried(tmp_path: Path, call: str, fault: str, *, every: bool) -> None:
    total = counted(tmp_path / "dry", call)
    assert total > 0

    def once(number: int) -> str:
        folder = tmp_path / f"{number}"
        inject = f"inject={call}:{fault}:when={number}"
        run = life(folder, "-e", f"trace={call}", "-e", inject)
        if "signal" in fault:
            assert not run.stdout.endswith("end\n")
        else:
            assert "Traceback" not in run.stderr, run.stderr
        still_true(folder, run.stdout)
        shutil.rmtree(folder)
        return run.stdout

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        said = list(pool.map(once, chosen(total, every)))
    reported = [codes for codes in map(ERROR.findall, said) if codes]
    # An error that nobody mentions met something that is done again anyway: a checkpoint, an opened mark.
    assert {code for codes in reported for code in codes} <= {"E3102", "E3103", "E3107"}
    assert bool(reported) == fault.startswith("error"), said


FAULTS = [
    (call, fault)
    for call in ("fdatasync", "pwrite64")
    for fault in ("signal=KILL", "error=EIO", "error=ENOSPC", "error=EROFS")
] + [("unlink", "signal=KILL"), ("ftruncate", "signal=KILL"), ("ftruncate", "error=EIO")]


@needs_strace
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("call", "fault"), FAULTS, ids=lambda value: value.replace("=", "-"))
def test_a_fault_at_some_calls_loses_nothing(tmp_path: Path, call: str, fault: str) -> None:
    tried(tmp_path, call, fault, every=False)


@needs_strace
@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("call", "fault"), FAULTS, ids=lambda value: value.replace("=", "-"))
def test_a_fault_at_every_call_loses_nothing(tmp_path: Path, call: str, fault: str) -> None:
    tried(tmp_path, call, fault, every=True)


def synced(folder: Path, *options: str) -> dict[str, int]:
    """Live once. Return after how many syncs each record was said to be kept."""
    folder.mkdir()
    command = ["strace", "-f", "-qq", "-s", "80", "-o", str(folder / "trace"), "-e", "trace=fdatasync,write"]
    subprocess.run(
        [*command, *options, sys.executable, "-c", LIFE, str(folder)],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )
    syncs, word, kept = 0, "", {}
    for line in (folder / "trace").read_text().splitlines():
        syncs += bool(re.search(r"fdatasync\(.*\) += 0", line))
        if said := re.search(r'write\(1, "(\w+)"', line):  # a word each
            if word == "kept":
                kept[said[1]] = syncs
            word = said[1]
    return kept


@needs_strace
@pytest.mark.timeout(600)
def test_a_disk_that_syncs_nothing_any_more_keeps_nothing(tmp_path: Path) -> None:
    kept = synced(tmp_path / "dry")
    assert len(kept) == 4
    for record, needed in kept.items():
        said = synced(tmp_path / record, "-e", f"inject=fdatasync:error=EIO:when={needed}+")
        # What was said before stood on syncs of its own; a log read back out of memory is none.
        assert set(said) == {other for other, before in kept.items() if before < needed}


# --- the line ---------------------------------------------------------------------------------------

SENDER = """
import random, sys, threading
from pathlib import Path
from hmpt_support import APP_ID, PICTURES, SECRET, TICKET
from outbox_support import SEAL_KEYS, verification
from test_uploader import settings
from agent.audit import Audit
from agent.board import Board
from agent.clock import SystemClock
from agent.heartbeat import Heartbeat
from agent.hmpt.client import PlatformClient
from agent.hmpt.signing import Identity
from agent.live import Live
from agent.outbox import Outbox
from agent.uploader import Parts, Uploader
folder, live, clock, stop = Path(sys.argv[1]), Live(settings(sys.argv[2])), SystemClock(), threading.Event()
outbox, audit = Outbox.open(folder, SEAL_KEYS, clock, 2**30), Audit(folder / "audit.jsonl", b"k", clock)
for n in range(3):
    outbox.put(verification(f"{n:032x}"), PICTURES, person=str(n), holds={})
client = PlatformClient(live.config, Identity(APP_ID, SECRET.encode(), TICKET), clock)
uploader = Uploader(Parts(config=live.config, client=client, outbox=outbox, audit=audit, board=Board(clock),
                          clock=clock, rng=random.Random(5), pseudonym=lambda number: "p", smaller=lambda picture, share: picture))
thread = threading.Thread(target=uploader.run, args=(Heartbeat("u", clock), stop))
thread.start()
while outbox.counts().delivered < 3:
    stop.wait(0.02)
stop.set(); uploader.wake(); thread.join(); client.close(); outbox.close(); audit.close()
print("end")
"""


def sender(folder: Path, url: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Deliver three records, in a process of its own, under strace."""
    folder.mkdir(exist_ok=True)
    command = ["strace", "-f", "-qq", "-o", str(folder / "trace"), "-e", "trace=sendto", *options]
    return subprocess.run(
        [*command, sys.executable, "-c", SENDER, str(folder), url],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )


@needs_strace
@pytest.mark.timeout(600)
def test_a_sender_killed_at_each_send_delivers_under_the_same_id(tmp_path: Path) -> None:
    with platform() as there:
        dry = sender(tmp_path / "dry", there.url)
        assert dry.stdout == "end\n", dry.stderr
    # strace counts each thread's calls for itself, and every request has a thread of its own.
    threads = Counter(line.split()[0] for line in (tmp_path / "dry/trace").read_text().splitlines())
    assert len(threads) == 4, "a registration and three records"
    for number in range(1, max(threads.values()) + 1):
        folder = tmp_path / str(number)
        with platform() as there:
            killed = sender(folder, there.url, "-e", f"inject=sendto:signal=KILL:when={number}")
            assert "end" not in killed.stdout
            assert sender(folder, there.url).stdout == "end\n"
            sent = [line["requestId"] for line in there.accepted()]
        assert set(sent) == {f"{record:032x}" for record in range(3)}, number
        assert len(sent) <= 4, "only the one whose answer was lost may come twice"
        with open_outbox(folder) as outbox:
            assert (outbox.counts().delivered, outbox.counts().difference) == (3, 0)


# --- file systems -----------------------------------------------------------------------------------

FULL = """
import os, sys, time
from datetime import timedelta
from pathlib import Path
from hmpt_support import config
from outbox_support import HandClock, verification, receipt
from agent.board import Board
from agent.catalogue import AgentError
from agent.housekeeping import Housekeeping
from agent.outbox import SettleDelivered, owner, retention, space, store
from agent.ownership import owning
from agent.records import PictureKind
# A tenth of everything: the ballast is four times the most that the log may hold.
space.BALLAST_BYTES, space.RESERVE_BYTES = 6 * 2**20, 2 * 2**20
owner.AUTOCHECKPOINT_PAGES, store.CHECKPOINT_BYTES = owner.AUTOCHECKPOINT_PAGES // 10, 2**20
retention.VACUUM_PAGES = 50
folder = Path(sys.argv[1])
settings = config("http://127.0.0.1:1").model_copy(update={"state_dir": str(folder / "state")})
clock, kept = HandClock(), []
def put(own):
    one = verification(at=clock.now())
    own.outbox.put(one, {PictureKind.CAMERA: os.urandom(300_000)}, person=one.id, holds={})
    own.audit.append("record.accepted", who="station", target=one.id)
    kept.append(one.id)
def refused(deed):
    try:
        deed()
    except AgentError as error:
        return error.code
    return None
def deliver(own):
    claim = own.outbox.claim(clock.now())
    if claim is None:
        return False
    own.outbox.note_attempt(claim, request_id=claim.id, conventions_fingerprint="f", conventions_json="{}",
                            sm3_hex="00", length=1)
    own.outbox.settle(claim, SettleDelivered(receipt(claim.id)))
    own.audit.append("record.delivered", who="uploader", target=claim.id)
    return True
with owning(settings, clock) as own:
    assert own.ballast.restore()
    while not (code := refused(lambda: put(own))):
        pass
    assert code == "E3102", code
    assert refused(own.outbox.accepting) == "E3102"
# Somebody else takes what is left, to the last byte; the agent starts and drains nevertheless.
with open(folder / "junk", "wb", buffering=0) as junk:
    try:
        while junk.write(bytes(4096)):
            pass
    except OSError:
        pass
assert space.free_bytes(folder) == 0, space.free_bytes(folder)
with owning(settings, clock) as own:
    assert not own.ballast.stands()
    assert own.outbox.counts().ready == len(kept) > 10
    assert refused(lambda: put(own)) == "E3102"
    while deliver(own):
        pass
    counts = own.outbox.counts()
    assert (counts.delivered, counts.difference) == (len(kept), 0), counts
    clock.seconds += 25 * 3600
    keeper = Housekeeping(lambda: settings, own, Board(clock))
    for _ in range(60):
        clock.seconds += 10
        keeper.round()
    assert space.free_bytes(folder) > 2 * space.BALLAST_BYTES, space.free_bytes(folder)
    assert own.ballast.stands()
    (folder / "junk").unlink()
    put(own)
    assert own.outbox.counts().ready == 1
print("drained", len(kept))
"""

READ_ONLY = """
import subprocess, sys
from pathlib import Path
from outbox_support import HandClock, open_outbox, verification, PICTURES
from agent.catalogue import AgentError
folder = Path(sys.argv[1])
with open_outbox(folder, HandClock()) as outbox:
    outbox.put(verification(), PICTURES, person="p", holds={})
subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
try:
    open_outbox(folder, HandClock())
except AgentError as error:
    print("refused", error.code)
subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
with open_outbox(folder, HandClock()) as outbox:
    assert outbox.salvaged is None
    print("back", outbox.counts().ready)
"""

NO_INODES = """
import sys
from pathlib import Path
from outbox_support import HandClock, open_outbox, verification, PICTURES
from agent.catalogue import AgentError
folder = Path(sys.argv[1])
with open_outbox(folder, HandClock()) as outbox:
    outbox.put(verification(), PICTURES, person="p", holds={})
    made = 0
    try:
        while True:
            (folder / f"inode-{made}").touch(); made += 1
    except OSError:
        pass
    outbox.put(verification(), PICTURES, person="q", holds={})
    assert outbox.counts().ready == 2
try:
    open_outbox(folder, HandClock()).close()
    print("opened")
except AgentError as error:
    print("refused", error.code)
for number in range(made):
    (folder / f"inode-{number}").unlink()
with open_outbox(folder, HandClock()) as outbox:
    assert outbox.counts().ready == 2
    assert outbox.salvaged is None
print("back")
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")


@needs_root
@pytest.mark.needs_root
def test_a_disk_without_one_free_byte_drains_and_takes_records_again(tmp_path: Path) -> None:
    assert "drained" in on_a_file_system(tmp_path, "size=40m", FULL)


@needs_root
@pytest.mark.needs_root
def test_a_read_only_disk_is_said_and_touches_nothing(tmp_path: Path) -> None:
    said = on_a_file_system(tmp_path, "size=120m", READ_ONLY)
    assert "refused E3103" in said
    assert "back 1" in said


@needs_root
@pytest.mark.needs_root
def test_a_disk_without_inodes_keeps_what_it_has(tmp_path: Path) -> None:
    said = on_a_file_system(tmp_path, "size=120m,nr_inodes=60", NO_INODES)
    assert "refused E3103" in said or "opened" in said
    assert "back" in said
