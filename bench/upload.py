"""Draining a backlog into a sink beside what it cannot do without; the cipher; memory of the largest record.

`python -m bench.upload [RECORDS]`, or `make bench ARGS=--platform`. The drain is held against the sum, in the
same run, of (a) the same bodies, ready made, posted on one keep-alive session, (b) the library's own bulk
time for the bytes unsealed and encrypted, (c) the durable commits.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests

from agent import malloc, sm
from agent.audit import Audit
from agent.board import Board
from agent.clock import SystemClock
from agent.config.schema import Config
from agent.heartbeat import Heartbeat
from agent.hmpt import signing
from agent.hmpt.client import VERIFY, PlatformClient
from agent.hmpt.conventions import time_text
from agent.hmpt.signing import Identity
from agent.outbox import Ballast, Outbox, SealKeys
from agent.outbox.owner import connect, transaction
from agent.records import PictureKind
from agent.uploader import Parts, Uploader
from bench.queues import verification

RECORDS, PICTURE_BYTES, DISTINCT = 500, 250_000, 50
#: JPEG bytes of which base64 makes the 3,000,000 characters that the platform takes at the most.
BOUND_BYTES = 2_250_000
WALL, CIPHER, MEMORY_MB = 1.5, 0.9, 15.0
#: Records of the usual size before and after the largest one.
AROUND = 5
SECRET, CLOCK = b"Kx7pQ2mZ9sR4tV1w", SystemClock()
IDENTITY = Identity("ORG-BENCH-0001", SECRET, "ticket")
KEYS = SealKeys.derived(b"s" * 64)


def picture(size: int) -> bytes:
    """Return what passes for a JPEG; the sink does not look."""
    return b"\xff\xd8\xff" + os.urandom(size - 5) + b"\xff\xd9"


def settings(url: str) -> Config:
    """Return the configuration of a site that may send as fast as it can."""
    secret = {"file": "unused"}
    device = dict.fromkeys(("dept_id", "dept_name", "manufacturer", "register_user"), "x")
    return Config.model_validate(
        {
            "platform": {
                "base_url": url,
                "org_app_id": IDENTITY.app_id,
                "encrypt": True,
                "register": "never",
                "org_app_secret": secret,
                "authorization": secret,
                "drain_per_minute": 6000,
            },
            "device": {
                **device,
                "purchase_date": "2024-06-01",
                "machine_code": "SIM-0000777",
                "device_no": "0000777",
            },
        }
    )


@contextmanager
def sink() -> Iterator[str]:
    """Run a sink in a process of its own. Yield its address."""
    command = [sys.executable, "-m", "bench.sink"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.terminate()


def fill(folder: Path, records: int, pictures: Mapping[PictureKind, bytes]) -> None:
    """Keep so many records."""
    with Outbox.open(folder, KEYS, CLOCK, 20 * 2**30, ballast=Ballast(folder, 2**20)) as outbox:
        for _ in range(records):
            one = verification()
            outbox.put(one, pictures, person=one.id, holds={})


def drain(folder: Path, url: str, records: int) -> float:
    """Return the seconds that the real uploader takes over a backlog."""
    config, stop = settings(url), threading.Event()
    client = PlatformClient(lambda: config, IDENTITY, CLOCK)
    with (
        Outbox.open(folder, KEYS, CLOCK, 20 * 2**30, ballast=Ballast(folder, 2**20)) as outbox,
        Audit(folder / "audit.jsonl", b"k", CLOCK) as audit,
    ):
        parts = Parts(
            config=lambda: config,
            client=client,
            outbox=outbox,
            audit=audit,
            board=Board(CLOCK),
            clock=CLOCK,
            rng=random.Random(1),
            pseudonym=lambda _number: "p",
            smaller=lambda picture, _share: picture,
        )
        uploader = Uploader(parts)
        started = time.perf_counter()
        thread = threading.Thread(target=uploader.run, args=(Heartbeat("u", CLOCK), stop))
        thread.start()
        while outbox.counts().delivered < records:
            time.sleep(0.02)
        took_s = time.perf_counter() - started
        stop.set()
        uploader.wake()
        thread.join()
        client.close()
    return took_s


def posting(url: str, records: int) -> tuple[float, int, int]:
    """Return (a) for so many records, and the bytes of a plain body and of one on the wire."""
    config = settings(url)
    conventions = config.platform.conventions
    client = PlatformClient(lambda: config, IDENTITY, CLOCK)
    pictures = {kind: picture(PICTURE_BYTES) for kind in (PictureKind.CARD, PictureKind.CAMERA)}
    made = [client.prepare(verification(), pictures, conventions) for _ in range(DISTINCT)]
    bodies = [b"".join(one.body.chunks()) for one in made]
    plain = sum(len(one) * 4 // 3 for one in pictures.values()) + 600
    took_s = 0.0
    with requests.Session() as session:
        session.trust_env = False
        for number in range(records):
            now = time_text(conventions, CLOCK.now())
            headers = signing.headers(conventions, IDENTITY, made[number % DISTINCT].request_id, now)
            started = time.perf_counter()
            session.post(url + VERIFY, data=bodies[number % DISTINCT], headers=headers, timeout=60).json()
            took_s += time.perf_counter() - started
    client.close()
    return took_s, plain, len(bodies[0])


def ciphering(records: int, plain: int) -> float:
    """Return (b): seconds for SM4-GCM over what is unsealed and SM4-ECB over what is encrypted."""
    key, nonce, sealed_size = bytes(16), bytes(12), PICTURE_BYTES
    sealed = sm.sm4_gcm_seal(key, nonce, os.urandom(sealed_size), b"")
    body = os.urandom(plain - plain % sm.BLOCK)
    started = time.perf_counter()
    for _ in range(records):
        for _ in range(2):
            sm.sm4_gcm_open(key, nonce, sealed, b"")
        sm.sm4_ecb_encryptor(key).update(body)
    return time.perf_counter() - started


def committing(folder: Path, records: int) -> float:
    """Return (c): seconds for one durable commit a record, on the same disk, of one changed row."""
    connection = connect(folder / "commits.db")
    with transaction(connection, durable=True):
        connection.execute("CREATE TABLE one (value INTEGER)")
        connection.execute("INSERT INTO one VALUES (0)")
    started = time.perf_counter()
    for _ in range(records):
        with transaction(connection, durable=True):
            connection.execute("UPDATE one SET value = value + 1")
    took_s = time.perf_counter() - started
    connection.close()
    return took_s


def cipher_over_openssl() -> tuple[float, float]:
    """Return MB/s of SM4-ECB here and by `openssl speed`, over blocks of 16 KiB, best of three each."""
    encryptor, block, rates = sm.sm4_ecb_encryptor(bytes(16)), os.urandom(16384), []
    for _ in range(3):
        started, rounds = time.perf_counter(), 0
        while time.perf_counter() - started < 1.0:
            for _ in range(64):
                encryptor.update(block)
            rounds += 64
        rates.append(rounds * len(block) / (time.perf_counter() - started) / 1e6)
    command = ["openssl", "speed", "-elapsed", "-seconds", "1", "-bytes", "16384", "-evp", "sm4-ecb"]
    theirs = []
    for _ in range(3):
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = re.search(r"sm4-ecb\s+([\d.]+)k", text, re.IGNORECASE)
        theirs.append(float(found[1]) / 1000 if found else 0.0)
    return max(rates), max(theirs)


def memory_mb(folder: Path, url: str) -> float:
    """Return by how much three pictures at the bound, small ones around them, raise the uploader's peak."""
    kinds = (PictureKind.CARD, PictureKind.CAMERA, PictureKind.FINGER)
    command = [sys.executable, "-m", "bench.upload", "--memory", str(folder), url]
    small = {kind: picture(PICTURE_BYTES) for kind in kinds[:2]}
    for name in ("small", "mixed"):
        (folder / name).mkdir(parents=True)
        fill(folder / name, AROUND, small)
    fill(folder / "mixed", 1, {kind: picture(BOUND_BYTES) for kind in kinds})
    fill(folder / "mixed", AROUND, small)
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _memory_of_the_largest(folder: Path, url: str) -> None:
    """In a process of its own: drain small records, then a large one among such; print the peak in MB."""
    drain(folder / "small", url, AROUND)
    idle = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    drain(folder / "mixed", url, 2 * AROUND + 1)
    print((_status("VmHWM") - idle) / 1000)


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"{name}:\s+(\d+) kB", text)
    return int(found[1]) if found else 0


def run(folder: Path, records: int = RECORDS) -> Iterator[str]:
    """Measure, and yield the lines of docs/benchmarks.md."""
    pictures = {kind: picture(PICTURE_BYTES) for kind in (PictureKind.CARD, PictureKind.CAMERA)}
    with sink() as url:
        queue = folder / "queue"
        queue.mkdir()
        fill(queue, records, pictures)
        # Before and after, so that what else the machine does falls on both sides.
        half = records // 2
        before = _floor(folder / "before", url, half)
        wall = drain(queue, url, records)
        after = _floor(folder / "after", url, records - half)
        post, cipher, commit = (one + two for one, two in zip(before, after, strict=True))
        each = 1000 / records
        yield f"{records} records of two 250 KB pictures, ms a record: drained {wall * each:.1f};"
        yield f"  posting {post * each:.1f} + SM4 {cipher * each:.1f} + commit {commit * each:.1f}"
        yield _verdict("drain over the sum", wall / (post + cipher + commit), "<=", WALL)
        ours, theirs = cipher_over_openssl()
        yield f"SM4-ECB, 16 KiB: {ours:.0f} MB/s, openssl speed {theirs:.0f} MB/s"
        yield _verdict("cipher over openssl speed", ours / theirs, ">=", CIPHER)
        yield _verdict(
            "three pictures at the bound, MB above idle", memory_mb(folder / "large", url), "<=", MEMORY_MB
        )


def _floor(folder: Path, url: str, records: int) -> tuple[float, float, float]:
    folder.mkdir()
    post, plain, _ = posting(url, records)
    return post, ciphering(records, plain), committing(folder, records)


def _verdict(what: str, found: float, sense: str, limit: float) -> str:
    held = found >= limit if sense == ">=" else found <= limit
    return f"{'yes' if held else 'NO '} {what}: {found:.2f} ({sense} {limit})"


def main() -> None:
    """Measure and print, with the daemon's allocator."""
    malloc.give_back()
    if sys.argv[1:2] == ["--memory"]:
        _memory_of_the_largest(Path(sys.argv[2]), sys.argv[3])
        return
    records = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    with tempfile.TemporaryDirectory(prefix="bench-upload-") as folder:
        for line in run(Path(folder), records):
            print(line, flush=True)


if __name__ == "__main__":
    main()
