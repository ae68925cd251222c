"""Made-up verifications, and an outbox in a folder."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path

from agent.outbox import Ballast, Outbox, SealKeys
from agent.records import FaceResult, FaceVerdict, PictureKind, Receipt, Verification
from drivers.card import CardKind

START = datetime(2026, 3, 1, 1, 0, tzinfo=timezone.utc)
SEAL_KEY = b"s" * 64
SEAL_KEYS = SealKeys.derived(SEAL_KEY)
NAME, NUMBER = "测试韦某某", "45010219900101004X"
PICTURES = {
    PictureKind.CAMERA: b"\xff\xd8camera picture" * 50,
    PictureKind.CARD: b"\xff\xd8card picture" * 20,
}


class HandClock:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def verification(record: str | None = None, *, at: datetime = START, number: str = NUMBER) -> Verification:
    """Return a complete verification of a made-up person."""
    return Verification(
        id=record or uuid.uuid4().hex,
        verified_at=at,
        face=FaceVerdict(FaceResult.PASSED, cosine=0.71, score=0.95, threshold=0.45, frames=3),
        card_kind=CardKind.RESIDENT,
        device_no="0000777",
        machine_code="SIM-0000777",
        name=NAME,
        number=number,
        sex_code="2",
        nation_code="08",
        birth="19900101",
        address="广西测试市测试路一号",
        issuer="测试市公安局",
        valid_from="20200101",
        valid_until="20400101",
        operator="测试员",
    )


def open_outbox(folder: Path, clock: HandClock | None = None, max_bytes: int = 2**30) -> Outbox:
    """Open the outbox of a folder."""
    return Outbox.open(folder, SEAL_KEYS, clock or HandClock(), max_bytes, ballast=Ballast(folder, 2**20))


def receipt(request_id: str) -> Receipt:
    """Return what the platform said when it took a record."""
    return Receipt(request_id, 1718091794408, 200, "00000", "ok", signed=True)


def damage_body(folder: Path, kind: str = "facts") -> None:
    """Flip one bit in the first body of a kind."""
    connection = sqlite3.connect(folder / "outbox.db")
    (sealed,) = connection.execute("SELECT sealed FROM body WHERE kind = ? ORDER BY seq", (kind,)).fetchone()
    changed = bytearray(sealed)
    changed[len(changed) // 2] ^= 1
    connection.execute(
        "UPDATE body SET sealed = ? WHERE seq = (SELECT min(seq) FROM body WHERE kind = ?)",
        (bytes(changed), kind),
    )
    connection.commit()
    connection.close()


def on_a_file_system(folder: Path, options: str, script: str) -> str:
    """Run a script whose first argument is a small file system of its own."""
    command = (
        f"mount -t tmpfs -o {options} none '{folder}' && exec '{sys.executable}' -c \"$SCRIPT\" '{folder}'"
    )
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "SCRIPT": script},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout
