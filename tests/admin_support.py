"""A site whose outbox already has a history, and a person at a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from e2e_support import PATIENCE_S, Site
from hmpt_support import PICTURES
from outbox_support import NUMBER, receipt, verification

from agent.clock import SystemClock
from agent.config import load
from agent.outbox import SettleDelivered, SettleHeld, SettleParked
from agent.ownership import Ownership, owning
from agent.records import FaceResult, Hold, Verification

PASSPHRASE = "correct horse battery"


def open_way(folder: Path) -> None:
    """Let every user reach `folder`: pytest keeps the folders above it to itself."""
    mine = [path for path in (folder, *folder.parents) if path.is_relative_to(tempfile.gettempdir())]
    for path in mine[:-1]:
        path.chmod(0o755)


@contextmanager
def owned(site: Site) -> Iterator[Ownership]:
    """Own a site's state directory, as the daemon would."""
    with owning(load(site.config), SystemClock()) as own:
        yield own


def put(own: Ownership, one: Verification) -> str:
    """Keep a record as the station does, audit line included."""
    own.outbox.put(one, PICTURES, person=own.pseudonyms.full(one.number), holds={})
    own.audit.append("record.accepted", who="station", target=one.id)
    return one.id


def deliver(own: Ownership) -> str:
    """Deliver the next due record. Return its id."""
    claim = own.outbox.claim(own.clock.now())
    assert claim is not None
    noted = {"conventions_fingerprint": "f", "conventions_json": "{}", "sm3_hex": "00" * 32, "length": 10}
    own.outbox.note_attempt(claim, request_id=claim.id, **noted)  # type: ignore[arg-type]
    own.outbox.settle(claim, SettleDelivered(receipt(claim.id)))
    own.audit.append("record.delivered", who="uploader", target=claim.id)
    return claim.id


def failed(one: Verification) -> Verification:
    """Return the same verification with the comparison failed."""
    return replace(one, face=replace(one.face, result=FaceResult.FAILED, score=0.1))


def history(site: Site) -> dict[str, str]:
    """Leave a record in each state that a person meets. Return state or kind -> id."""
    ids = {}
    with owned(site) as own:
        ids["delivered"] = put(own, verification(number=NUMBER))
        deliver(own)
        for name in ("parked", "held", "failed"):
            one = verification(number=f"4501021990010100{len(ids)}X")
            ids[name] = put(own, failed(one) if name == "failed" else one)
            claim = own.outbox.claim(own.clock.now())
            assert claim is not None
            held = SettleHeld({Hold.FIELD: "operationUser: 12 chars, at most 10"})
            own.outbox.settle(claim, held if name == "held" else SettleParked("E5101", "A2301"))
        ids["ready"] = put(own, verification(number="45010219900101009X"))
    return ids


def answered(site: Site, *arguments: str) -> Any:
    """Run a verb with --json and return what it printed."""
    run = site.cli(*arguments, "--json")
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(run.stdout)


def refused(site: Site, code: str, *arguments: str) -> str:
    """Run a verb that must be refused under a code. Return what it said."""
    run = site.cli(*arguments)
    assert run.returncode != 0
    assert code in run.stderr, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    return run.stderr


def typed(site: Site, arguments: Sequence[str], answers: Sequence[str]) -> tuple[int, str]:
    """Run a verb at a real terminal and answer its questions. Return exit status and screen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", *arguments, "--config", str(site.config)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    screen = b""
    waiting = list(answers)
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while piece := os.read(ours, 4096):
            screen += piece
            # A question ends without a line end; what it asks for is typed then, and not before.
            if waiting and re.search(rb"[:?] ?(\[.*\]: ?)?$", screen):
                os.write(ours, waiting.pop(0).encode() + b"\n")
    os.close(ours)
    return process.wait(PATIENCE_S), screen.decode("utf-8")


def trail(site: Site) -> list[dict[str, Any]]:
    """Return the audit trail."""
    lines = Path(load(site.config).state_dir, "audit.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def secret_file(folder: Path, text: str = PASSPHRASE) -> str:
    """Leave a passphrase in a file. Return its path."""
    path = folder / "passphrase"
    path.write_text(text + "\n", "utf-8")
    return str(path)
