"""A recorded transcript in the place of a reader: answers as that reader did, in its time.

Commands need not come in the recorded number: a command is answered by its next occurrence, over
whatever lies between unless that is a reading; after the last one its answer stays the same. A command that
was never recorded meets silence. A line opened anew goes on where the one before it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drivers.errors import ReaderError, ReaderMissing, ReaderUnplugged
from drivers.transcript import Entry, parse

#: An exchange with more than this in its answer read a card: it is never passed over.
_READING_BYTES = 64
MAX_BYTES = 16 * 2**20


@dataclass
class _Exchange:
    sent: bytes
    at: float
    answers: list[Entry] = field(default_factory=list)

    @property
    def reads(self) -> bool:
        return sum(len(answer.data) for answer in self.answers) > _READING_BYTES


class Tape:
    """A transcript and how far it has been played."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._exchanges = _exchanges(entries)
        self._next = 0

    def following(self, command: bytes) -> _Exchange | None:
        """Return the exchange that a command begins, None for one that was never recorded."""
        for at in range(self._next, len(self._exchanges)):
            exchange = self._exchanges[at]
            if exchange.sent == command:
                self._next = at + 1
                return exchange
            if exchange.reads:
                break
        before = (one for one in reversed(self._exchanges[: self._next]) if one.sent == command)
        return next(before, None)


#: By file and the time of its last change: one that was written anew is played from its beginning.
Tapes = MutableMapping[tuple[Path, int], Tape]


class ReplayTransport:
    """Plays one tape."""

    def __init__(
        self,
        tape: Tape,
        name: str = "replay",
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name = name
        self._monotonic, self._sleep = monotonic, sleep
        self._tape = tape
        self._open = True
        self._pending: list[tuple[float, bytes]] = []

    def read(self, timeout_s: float) -> bytes:
        """Return what is due within `timeout_s`, b"" for nothing."""
        self._check()
        now = self._monotonic()
        if self._pending and self._pending[0][0] <= now + timeout_s:
            due, data = self._pending.pop(0)
            self._sleep(max(0.0, due - now))
            return data
        self._sleep(timeout_s)
        return b""

    def write(self, data: bytes) -> None:
        """Take a command; its recorded answers come in their recorded time from now."""
        self._check()
        exchange = self._tape.following(data)
        if exchange is not None:
            now = self._monotonic()
            self._pending += [(now + one.at - exchange.at, one.data) for one in exchange.answers]
            self._pending.sort(key=lambda pending: pending[0])

    def close(self) -> None:
        """End the replay."""
        self._open = False

    def _check(self) -> None:
        if not self._open:
            raise ReaderUnplugged(port=self._name)


def _exchanges(entries: Sequence[Entry]) -> list[_Exchange]:
    found: list[_Exchange] = []
    for entry in entries:
        if entry.sent:
            found.append(_Exchange(entry.data, entry.at))
        elif found:
            found[-1].answers.append(entry)
    return found


def open_replay(path: Path, tapes: Tapes) -> ReplayTransport:
    """Open a transcript where it stands. ReaderError: missing, or E1116 with the line that is none of one."""
    try:
        status = path.stat()
        if status.st_size > MAX_BYTES:
            raise ReaderError("E1116", path=path, reason=f"more than {MAX_BYTES} bytes")
        played = (path, status.st_mtime_ns)
        if played not in tapes:
            tapes[played] = Tape(parse(path.read_text("utf-8")))
        return ReplayTransport(tapes[played], f"replay:{path}")
    except OSError as error:
        raise ReaderMissing(port=f"replay:{path}") from error
    except ValueError as error:
        raise ReaderError("E1116", path=path, reason=str(error)) from None
