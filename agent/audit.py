"""The audit trail: who did what to which record, when, with what result - chained by HMAC-SM3.

One JSON line an event. Each line's `mac` covers the line before it, so that a line changed, removed or
inserted shows. A line torn by a power cut is set aside and reported, and the chain goes on from the last
whole one. No line names a person of whom a card was read.
"""

from __future__ import annotations

import errno
import hmac
import json
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from agent import logs, sm
from agent.catalogue import AgentError
from agent.clock import Clock

log = logs.get(__name__)

#: What the first line of a trail is chained to.
GENESIS = "0" * 64


@dataclass(frozen=True)
class Head:
    """The end of a trail: number and `mac` of its last line. Whoever knows it notices when lines are gone."""

    seq: int
    mac: str


@dataclass(frozen=True)
class Report:
    """What a check has found: `broken_at` is the number of the first line that does not fit.

    `next` is where to go on reading, None at the end; `head` the last line that fits.
    """

    head: Head
    broken_at: int | None
    next: int | None = None

    @property
    def lines(self) -> int:
        """Return how many lines were read."""
        return self.broken_at or self.head.seq


class Audit:
    """An open trail. Appending is safe from any thread."""

    def __init__(
        self, path: Path, key: bytes, clock: Clock, relief: Callable[[], bool] = lambda: False
    ) -> None:
        self._path = path
        self._key = key
        self._clock = clock
        self._relief = relief
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._last, self._sequence = GENESIS, 0
        try:
            self._set_torn_tail_aside()
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise AgentError("E3301", path=path, reason=error.strerror) from error
        for line in self._lines():
            self._last, self._sequence = str(line.get("mac")), int(line.get("seq", 0))
            self._counts[str(line.get("what"))] += 1

    def __enter__(self) -> Audit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(
        self, what: str, *, who: str, target: str, result: str = "ok", durable: bool = False, **facts: str
    ) -> None:
        """Add one event; `durable`: return when it is on the disk. AgentError E3303 when not written."""
        with self._lock:
            line: dict[str, Any] = {
                "seq": self._sequence + 1,
                "at": self._clock.now().isoformat(),
                "who": who,
                "what": what,
                "object": target,
                "result": result,
                **facts,
            }
            mac = self._mac(self._last, line)
            self._write(_encoded({**line, "mac": mac}) + b"\n", durable=durable)
            self._last, self._sequence = mac, self._sequence + 1
            self._counts[what] += 1

    def _write(self, line: bytes, *, durable: bool) -> None:
        """Write a line; on a full disk once more when the ballast has been given up."""
        try:
            self._write_whole(line, durable=durable)
        except AgentError:
            if not self._relief():
                raise
            self._write_whole(line, durable=durable)

    def _write_whole(self, line: bytes, *, durable: bool) -> None:
        """Write a whole line or none: half a line would break the chain for all that follow."""
        size = os.fstat(self._descriptor).st_size
        try:
            whole = os.write(self._descriptor, line) == len(line)
            if whole and durable:
                os.fdatasync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, size)
            raise AgentError("E3303", path=self._path, reason=error.strerror) from error
        if not whole:
            os.ftruncate(self._descriptor, size)
            raise AgentError("E3303", path=self._path, reason=os.strerror(errno.ENOSPC))

    def count(self, what: str) -> int:
        """Return how many events of this kind the trail holds."""
        with self._lock:
            return self._counts[what]

    def targets(self, whats: Sequence[str]) -> set[str]:
        """Return what the events of these kinds were done to."""
        with self._lock:
            return {str(line.get("object")) for line in self._lines() if line.get("what") in whats}

    def verify(self) -> Report:
        """Check the whole chain."""
        report = self.verify_part()
        while report.next is not None:
            report = self.verify_part(report.next, report.head)
        return report

    def verify_part(self, offset: int = 0, after: Head | None = None, size: int = 8 * 2**20) -> Report:
        """Check about `size` bytes from `offset` on, which follow the line `after`."""
        head = after or Head(0, GENESIS)
        with self._path.open("rb") as file:
            file.seek(offset)
            while file.tell() - offset < size and (raw := file.readline()):
                line = _decoded(raw)
                mac = str(line.pop("mac", ""))
                fits = hmac.compare_digest(mac, self._mac(head.mac, line)) and line.get("seq") == head.seq + 1
                if not fits:
                    return Report(head, broken_at=head.seq + 1)
                head = Head(head.seq + 1, mac)
            end = file.tell()
            return Report(head, None, end if file.read(1) else None)

    def select(self, last: int, wanted: Callable[[dict[str, Any]], bool] = bool) -> list[dict[str, Any]]:
        """Return the last lines for which `wanted` holds, oldest first."""
        kept: deque[dict[str, Any]] = deque(maxlen=last)
        with self._lock:
            kept.extend(line for line in self._lines() if wanted(line))
        return list(kept)

    def sync(self) -> Head:
        """Make everything durable. Return the head, which no power cut takes back."""
        with self._lock:
            os.fdatasync(self._descriptor)
            return Head(self._sequence, self._last)

    def lost_since(self, known: Head) -> int | None:
        """Return how many lines are missing that were there when `known` was the head, None when all stand.

        0 means that as many are there, but not those.
        """
        with self._lock:
            if self._sequence < known.seq:
                return known.seq - self._sequence
            if known.seq == 0 or self._mac_at(known.seq) == known.mac:
                return None
            return 0

    def _mac_at(self, seq: int) -> str:
        return next((str(line.get("mac")) for line in self._lines() if line.get("seq") == seq), "")

    def close(self) -> None:
        """Make everything durable and close the file."""
        with self._lock:
            os.fdatasync(self._descriptor)
            os.close(self._descriptor)

    def _mac(self, last: str, line: dict[str, Any]) -> str:
        return sm.hmac_sm3(self._key, last.encode() + _encoded(line)).hex()

    def _lines(self) -> Iterator[dict[str, Any]]:
        with self._path.open("rb") as file:
            for raw in file:
                yield _decoded(raw)

    def _set_torn_tail_aside(self) -> None:
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        torn = content[len(whole) :]
        if not torn:
            return
        with self._path.with_suffix(".torn").open("ab") as aside:
            aside.write(torn + b"\n")
        os.truncate(self._path, len(whole))
        logs.say(log, "W3302", bytes=len(torn))


def _encoded(line: dict[str, Any]) -> bytes:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode()


def _decoded(raw: bytes) -> dict[str, Any]:
    """Return a line's fields; whatever is not our JSON gives none, and so breaks the chain visibly."""
    try:
        line = json.loads(raw)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}
