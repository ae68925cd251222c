"""`outbox ...` as people type it: what it shows, what it changes, what it refuses, who is written down."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from admin_support import answered, deliver, failed, history, open_way, owned, put, refused, trail, typed
from e2e_support import Site, wait_for
from outbox_support import NAME, NUMBER, damage_body, verification

from agent.config import load
from agent.control.changing import AT_ONCE
from agent.outbox import SettleLater
from agent.outbox.owner import mark_damaged

USER = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def test_stats_and_list_tell_the_whole_balance(site: Site) -> None:
    ids = history(site)
    stats = answered(site, "outbox", "stats")
    states = ("ready", "sending", "held", "parked", "delivered", "quarantined", "discarded")
    assert [stats[state] for state in states] == [1, 0, 1, 2, 1, 0, 0]
    assert (stats["accepted"], stats["difference"], stats["attempts"]) == (5, 0, 4)
    assert stats["bytes"] > 0
    assert stats["free"] > 0
    assert stats["last_success"] is not None
    assert stats["oldest_waiting"] is not None
    listed = answered(site, "outbox", "list")
    assert {row["id"] for row in listed} == set(ids.values())
    assert [row["id"] for row in answered(site, "outbox", "list", "--state", "held")] == [ids["held"]]
    assert len(answered(site, "outbox", "list", "--limit", "2")) == 2
    assert ids["parked"] in site.cli("outbox", "list").stdout


def test_a_record_is_shown_masked_and_revealed_only_on_the_record(site: Site) -> None:
    ids = history(site)
    shown = answered(site, "outbox", "show", ids["ready"])
    assert shown["person"]["name"] == "测" + "*" * (len(NAME) - 1)
    assert shown["person"]["number"] == "4" + "*" * 15 + "9X"
    assert not [line for line in trail(site) if line["what"] == "record.revealed"]
    revealed = site.cli("outbox", "show", ids["ready"], "--reveal", "--lang", "en")
    assert NAME in revealed.stdout
    (line,) = [line for line in trail(site) if line["what"] == "record.revealed"]
    assert (line["object"], line["who"].split("/")[0]) == (ids["ready"], USER)
    assert NAME not in json.dumps(trail(site), ensure_ascii=False)


def test_find_asks_for_the_number_without_showing_it_and_answers_from_the_pseudonym(site: Site) -> None:
    ids = history(site)
    status, screen = typed(site, ["outbox", "find", "--json"], [NUMBER])
    assert status == 0, screen
    assert NUMBER not in screen
    (found,) = json.loads(screen[screen.index("[") :])
    assert (found["id"], found["state"], found["code"]) == (ids["delivered"], "delivered", 200)
    assert (found["request_id"], found["exception_code"]) == (ids["delivered"], "00000")
    assert found["delivered_at"] is not None
    # The number in its other spelling, after every body has gone.
    answered(site, "outbox", "purge", "--yes")
    status, screen = typed(site, ["outbox", "find", "--lang", "en"], [f" {NUMBER.lower()} "])
    assert ids["delivered"] in screen
    status, screen = typed(site, ["outbox", "find", "--lang", "en"], ["110101199001011234"])
    assert "no record of that number" in screen
    assert status == 0
    assert NUMBER not in (site.folder / "state" / "audit.jsonl").read_text("utf-8")
    assert len([line for line in trail(site) if line["what"] == "record.searched"]) == 3


def test_a_refused_record_is_sent_again_or_corrected(site: Site) -> None:
    ids = history(site)
    assert answered(site, "outbox", "retry", ids["failed"])["state"] == "ready"
    refused(site, "E3114", "outbox", "retry", ids["delivered"])
    refused(site, "E3123", "outbox", "amend", ids["parked"], "--set", "name=别人")
    refused(site, "E3114", "outbox", "amend", ids["ready"], "--set", "operationUser=王医生")
    assert site.cli("outbox", "amend", ids["parked"], "--set", "operator").returncode == 2
    amended = answered(site, "outbox", "amend", ids["parked"], "--set", "operationUser=王医生")
    assert (amended["state"], amended["supersedes"]) == ("ready", ids["parked"])
    old = answered(site, "outbox", "show", ids["parked"])
    assert (old["state"], old["superseded_by"]) == ("discarded", amended["id"])
    assert (old["closed_as"], old["closed_why"]) == ("superseded", amended["id"])
    stats = answered(site, "outbox", "stats")
    assert (stats["difference"], stats["superseded"], stats["given_up"]) == (0, 1, 0)
    with owned(site) as own:
        assert own.outbox.verification(amended["id"]).operator == "王医生"
        assert own.outbox.verification(ids["parked"]).operator == "测试员"
    (line,) = [line for line in trail(site) if line["what"] == "record.amended"]
    assert line["fields"] == "operationUser"
    assert "王医生" not in json.dumps(trail(site), ensure_ascii=False)


def test_everything_set_aside_with_one_code_is_sent_again_at_once(site: Site) -> None:
    with owned(site) as own:
        lost = put(own, verification())
        own.outbox.administration.set_aside(lost, "E7101")
    damage_body(Path(load(site.config).state_dir))
    ids = history(site)
    with owned(site) as own:
        many = [put(own, verification()) for _ in range(AT_ONCE)]
        for record in many:
            own.outbox.administration.set_aside(record, "E7101")
    again = site.cli("outbox", "retry", "--code", "e7101", "--json")
    assert again.returncode == 1, again.stderr
    records = json.loads(again.stdout)
    assert [row["id"] for row in records] == [lost, *many]
    assert {row["state"] for row in records[1:]} == {"ready"}
    assert records[0] == {"id": lost, "state": None, "code": "E7101"}
    assert answered(site, "outbox", "show", ids["parked"])["state"] == "parked"
    assert "已恢复 0 条，1 条未变" in site.cli("outbox", "retry", "--code", "E7101").stdout
    good = site.cli("outbox", "retry", "--code", "E5101", "--lang", "en")
    assert (good.returncode, good.stdout) == (0, "2 go again, 0 stay as they are\n")
    nothing = site.cli("outbox", "retry", "--code", "E5101", "--lang", "en")
    assert nothing.returncode == 0
    assert nothing.stdout.startswith("nothing is parked or unreadable with E5101;")
    # Screens call the states so; a record that waits may show the same code and is none of these.
    assert (
        "没有以 E5101 被拒或无法读取的记录；待传的" in site.cli("outbox", "retry", "--code", "E5101").stdout
    )
    told = [line["object"] for line in trail(site) if line["what"] == "record.retried"]
    assert told == [*many, ids["parked"], ids["failed"]]
    for wrong in ([], [ids["ready"], "--code", "E5101"]):
        run = site.cli("outbox", "retry", *wrong)
        assert (run.returncode, "两者取一" in run.stderr) == (2, True), run.stderr


def test_a_correction_looks_at_the_record_before_it_asks_for_values(site: Site) -> None:
    ids = history(site)
    asking = ("--set", "address", "--set", "operationUser", "--lang", "en")
    for record, code in (("f" * 32, "E3110"), (ids["ready"], "E3114"), (ids["delivered"], "E3114")):
        status, screen = typed(site, ["outbox", "amend", record, *asking], [])
        assert (status, code in screen, "address" in screen) == (2, True, False), screen
    status, screen = typed(site, ["outbox", "amend", ids["parked"], *asking], ["某路一号", "王医生"])
    assert (status, screen.count("address ("), screen.count("operationUser (")) == (0, 1, 1), screen
    new = answered(site, "outbox", "show", ids["parked"])["superseded_by"]
    with owned(site) as own:
        corrected = own.outbox.verification(new)
        assert (corrected.address, corrected.operator) == ("某路一号", "王医生")


def test_what_a_start_finds_is_told_in_sentences_and_once(site: Site) -> None:
    history(site)
    mark_damaged(site.folder / "state" / "outbox.db")
    run = site.cli("outbox", "verify")
    assert run.returncode == 0
    assert run.stderr.count("E3129") == run.stderr.count("队列文件曾损坏") == 1
    assert "1. 检查磁盘健康" in run.stderr
    assert site.cli("outbox", "verify").stderr == ""


def test_only_what_waits_has_a_next_time(site: Site) -> None:
    with owned(site) as own:
        record = put(own, verification())
        claim = own.outbox.claim(own.clock.now())
        assert claim is not None
        own.outbox.settle(claim, SettleLater(own.clock.now(), "E4101", "later", unknown=False))
        assert own.outbox.administration.row(record).next_attempt_at is not None
        deliver(own)
        assert own.outbox.administration.row(record).next_attempt_at is None


def test_help_shows_every_state_and_a_whole_example_in_either_language(site: Site) -> None:
    for lang, state, example in (
        ("zh", "parked 被拒", "例：kiosk-agent outbox amend ID --set cardEndDate=长期"),
        ("en", "only this state", "such as: kiosk-agent outbox amend ID --set sexCode=2"),
    ):
        assert state in " ".join(site.cli("outbox", "list", "--help", "--lang", lang).stdout.split())
        assert example in site.cli("outbox", "amend", "--help", "--lang", lang).stdout


def test_giving_up_asks_wants_a_reason_and_spares_failed_verifications(site: Site, tmp_path: Path) -> None:
    ids = history(site)
    status, screen = typed(
        site, ["outbox", "discard", ids["held"], "--lang", "en"], ["tested the kiosk", "n"]
    )
    assert (status, "nothing was changed" in screen) == (130, True)
    status, screen = typed(site, ["outbox", "discard", "f" * 32], [])
    assert (status, "E3110" in screen, "原因" in screen) == (2, True, False)
    status, screen = typed(site, ["outbox", "discard", ids["delivered"]], [])
    assert (status, "的状态是“已送达”" in screen, "原因" in screen) == (2, True, False)
    assert answered(site, "outbox", "show", ids["held"])["state"] == "held"
    refused(site, "E3126", "outbox", "discard", ids["held"], "--yes", "--reason", "  ")
    status, screen = typed(
        site, ["outbox", "discard", ids["held"], "--lang", "en"], ["tested the kiosk", "y"]
    )
    assert status == 0, screen
    shown = answered(site, "outbox", "show", ids["held"])
    assert (shown["state"], shown["closed_why"]) == ("discarded", "tested the kiosk")
    assert shown["closed_by"].startswith(USER)
    refused(site, "E3120", "outbox", "discard", ids["failed"], "--yes", "--reason", "x")
    word = tmp_path / "word"
    word.write_text("a long enough passphrase\n")
    export = (
        "outbox",
        "export",
        str(tmp_path / "one"),
        "--id",
        ids["failed"],
        "--passphrase-file",
        str(word),
    )
    assert answered(site, *export)["exported"] == 1
    assert (
        answered(site, "outbox", "discard", ids["failed"], "--yes", "--reason", "x")["state"] == "discarded"
    )
    stats = answered(site, "outbox", "stats")
    assert (stats["discarded"], stats["accepted"], stats["difference"]) == (2, 5, 0)


def test_a_failed_verification_is_not_purged_before_it_arrived(site: Site) -> None:
    with owned(site) as own:
        first = put(own, verification())
        deliver(own)
        kept = put(own, failed(verification()))
    status, screen = typed(site, ["outbox", "purge", "--lang", "en"], ["n"])
    assert (status, "nothing was changed" in screen) == (130, True), screen
    assert answered(site, "outbox", "purge", "--yes")["erased"] == 1
    assert answered(site, "outbox", "purge", "--yes")["erased"] == 0
    assert answered(site, "outbox", "show", first)["person"] is None
    assert answered(site, "outbox", "show", kept)["person"]["result"] == "failed"


@pytest.mark.parametrize("hours", [-1, 3, 23, 25, 24 * 400])
def test_a_purge_erases_what_was_finished_whatever_the_clock_said_then(site: Site, hours: int) -> None:
    """The clock was put back by hand since: what was finished lies in the future."""
    with owned(site) as own:
        record = put(own, verification())
        deliver(own)
        at = own.clock.now() + timedelta(hours=hours)
    with closing(sqlite3.connect(Path(load(site.config).state_dir) / "outbox.db")) as connection:
        connection.execute("UPDATE record SET finished_at = ?", (int(at.timestamp() * 1000),))
        connection.commit()
    assert answered(site, "outbox", "purge", "--yes")["erased"] == 1
    assert answered(site, "outbox", "show", record)["person"] is None


def test_verify_reads_everything_and_a_mended_record_returns(site: Site) -> None:
    with owned(site) as own:
        ids = [put(own, verification()) for _ in range(5)]
    state = Path(load(site.config).state_dir)
    assert answered(site, "outbox", "verify") == {
        "ok": True,
        "checked": 5,
        "faults": [],
        "tables": None,
        "difference": 0,
    }
    shutil.copy(state / "outbox.db", state / "whole")
    damage_body(state, "picture:camera")
    rotten = site.cli("outbox", "verify", "--json")
    assert rotten.returncode == 1
    assert [fault["code"] for fault in json.loads(rotten.stdout)["faults"]] == ["E7101"]
    with owned(site) as own:
        own.outbox.administration.set_aside(ids[0], "E7101")
    refused(site, "E7101", "outbox", "retry", ids[0])
    assert answered(site, "outbox", "stats")["quarantined"] == 1
    damage_body(state, "picture:camera")  # the same bit again: whole
    assert answered(site, "outbox", "retry", ids[0])["state"] == "ready"
    assert site.cli("outbox", "verify").returncode == 0


def test_a_copy_on_another_machine_sends_nothing_until_adopted(site: Site) -> None:
    state = Path(load(site.config).state_dir)
    with owned(site) as own:
        put(own, verification())
        own.outbox.set_setting("machine", json.dumps({"machine_id": "another", "devices": ["x"]}))
    # Without a daemon and without becoming the owner, too.
    assert "E3122" in site.cli("status").stdout
    assert answered(site, "outbox", "stats")["copied"] is True
    with site.platform(), site.daemon() as daemon:
        wait_for("the copy is told", lambda: "[E3122]" in site.log())
        refused_by_daemon = answered(site, "outbox", "stats")
        assert (refused_by_daemon["copied"], refused_by_daemon["delivered"]) == (True, 0)
        assert answered(site, "outbox", "adopt", "--yes") == {"adopted": True}
        assert daemon.terminate(5) == 0
    assert not site.accepted()
    with site.platform(), site.daemon() as daemon:
        wait_for("the adopted record is delivered", lambda: len(site.accepted()) == 1)
        assert daemon.terminate(5) == 0
    assert [line["who"].split("/")[0] for line in trail(site) if line["what"] == "outbox.adopted"] == [USER]
    assert state.is_dir()


def test_what_is_being_sent_cannot_be_touched_and_says_try_later(tmp_path: Path) -> None:
    site = Site(tmp_path, {"platform": {"register": "never"}})
    with owned(site) as own:
        record = put(own, verification())
    with site.platform("delay=60"), site.daemon() as daemon:
        wait_for("the record is being sent", lambda: answered(site, "outbox", "stats")["sending"] == 1)
        for verb in (["retry"], ["discard", "--yes", "--reason", "x"], ["amend", "--set", "operationUser=x"]):
            run = site.cli("outbox", verb[0], record, *verb[1:])
            assert run.returncode == 75
            assert "E3115" in run.stderr
        assert daemon.terminate(5) == 0


REACHABLE = """
set -e
work=$(mktemp -d) blocked=$1; shift
if [ "$blocked" != none ]; then
  count=0
  for path in "$@"; do [ "$path" = -- ] && break; mkdir "$work/$count"; mount --rbind "$path" "$work/$count"; count=$((count + 1)); done
  mount -t tmpfs -o mode=755 none "$blocked"
  count=0
  for path in "$@"; do [ "$path" = -- ] && break; mkdir -p "$path"; mount --rbind "$work/$count" "$path"; count=$((count + 1)); done
fi
while [ "$1" != -- ]; do shift; done; shift
exec "$@"
"""


def reachable(arguments: list[str]) -> list[str]:
    """Return the command that runs `python -m agent ...` where every account can read the interpreter.

    The service's account can on a kiosk; here the interpreter may lie below root's own folder.
    """
    needed = [Path(sys.base_prefix), Path(sys.prefix), Path(__file__).parent.parent]
    closed = [above for path in needed for above in reversed(path.parents) if not above.stat().st_mode & 1]
    blocked = closed[0] if closed else None
    below = [str(path) for path in needed if blocked in path.parents]
    script = ["unshare", "--mount", "sh", "-c", REACHABLE, "sh", str(blocked or "none"), *below]
    return [*script, "--", sys.executable, "-m", "agent", *arguments]


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the owner of files needs root")
@pytest.mark.needs_root
def test_root_leaves_no_file_behind_that_would_lock_the_daemon_out(site: Site) -> None:
    history(site)
    state = Path(load(site.config).state_dir)
    for path in [state, *state.rglob("*")]:
        os.chown(path, 65534, 65534)
    open_way(site.folder)
    for verb in (["outbox", "stats"], ["outbox", "purge", "--yes"], ["keys", "rotate"], ["outbox", "verify"]):
        run = subprocess.run(
            reachable([*verb, "--config", str(site.config)]), capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stdout + run.stderr
    assert {path.stat().st_uid for path in state.rglob("*")} == {65534}


def test_nothing_that_a_command_writes_is_for_other_eyes(site: Site) -> None:
    assert site.cli("keys", "rotate").returncode == 0
    written = list(Path(load(site.config).state_dir).rglob("*"))
    assert len(written) > 3
    assert [path.name for path in written if path.stat().st_mode & 0o077] == []


def test_commands_at_the_same_time_wait_for_each_other(site: Site) -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: site.cli("keys", "rotate", "--json"), range(4)))
    assert [run.returncode for run in runs] == [0, 0, 0, 0], [run.stderr for run in runs]
    assert sorted(json.loads(run.stdout)["epoch"] for run in runs) == [2, 3, 4, 5]
