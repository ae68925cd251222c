"""What a daemon leaves for those who look while it is down: which configuration it ran, and how it ended.

A file of its own beside the records, so that it is written where the outbox itself was what ended the run,
and read without owning anything. It decides nothing: one that is missing, torn by a power cut or older than
what happened only tells less.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.clock import Clock, boot_id
from drivers.errors import CodedError

NAME = "last_run.json"
#: The code under which an error that nobody foresaw is told.
UNFORESEEN = "E8203"
#: Another process has the state directory: the last run that counts is that one's.
TAKEN = "E8301"


@dataclass(frozen=True)
class LastRun:
    """One run. Without an end it still goes on, or was killed, or the power failed."""

    version: str
    boot: str
    started_at: str  # ISO 8601, UTC
    config_digest: str  # of the file's bytes, as it was last taken over
    config_hash: str
    max_bytes: int
    ended_at: str | None = None
    code: str | None = None  # what ended it; None: it was asked to stop
    facts: Mapping[str, str] = field(default_factory=dict)


def digest(file: Path) -> str:
    """Return what tells this content of a file from any other; "" when it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""


def read(state_dir: Path) -> LastRun | None:
    """Return the last run that left a word, None where there is none or it is unreadable."""
    try:
        return LastRun(**json.loads((state_dir / NAME).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def refused(state_dir: Path, clock: Clock, code: str, facts: Mapping[str, str]) -> None:
    """Note that the next run was refused before it began, for something that its configuration names.

    Not beside a daemon that runs: its word stands.
    """
    last = read(state_dir)
    if last is not None and last.ended_at is not None:
        now = clock.now().isoformat(timespec="seconds")
        _write(state_dir, replace(last, ended_at=now, code=code, facts=dict(facts)))


def _write(state_dir: Path, run: LastRun) -> None:
    put(state_dir / NAME, asdict(run))


def put(file: Path, content: Mapping[str, Any]) -> None:
    """Write a file of this kind whole, where its folder is there and the disk lets it."""
    draft = file.with_name(f"{file.name}.new")
    with contextlib.suppress(OSError):
        draft.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
        os.replace(draft, file)


class Recorder:
    """Writes down one run as it goes. A disk that does not let it is told elsewhere."""

    def __init__(self, state_dir: Path, clock: Clock, version: str) -> None:
        self._state_dir = state_dir
        self._clock = clock
        self._run = LastRun(version, boot_id(), self._now(), "", "", 0)

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="seconds")

    def took(self, config_digest: str, config_hash: str, max_bytes: int) -> None:
        """Note the configuration that will be in force."""
        self._run = replace(
            self._run, config_digest=config_digest, config_hash=config_hash, max_bytes=max_bytes
        )

    def write(self) -> None:
        """Write the run down as it stands."""
        _write(self._state_dir, self._run)

    @contextmanager
    def to_the_end(self) -> Iterator[None]:
        """Write down how the block ends, unless another process turned out to own the state directory."""
        code, facts = None, {}
        try:
            yield
        except CodedError as error:
            code, facts = error.code, dict(error.facts)
            raise
        except Exception as error:
            # Noted and raised again: its kind alone, for an unknown error's text may quote anything.
            code, facts = UNFORESEEN, {"cause": type(error).__name__}
            raise
        finally:
            if code != TAKEN:
                self._run = replace(self._run, ended_at=self._now(), code=code, facts=facts)
                self.write()
