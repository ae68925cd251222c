"""The audit trail: who did what to which record, when, with what result - chained by HMAC-SM3.

One JSON line an event. Each line's `mac` covers the line before it, so that a line changed, removed or
inserted shows. A line torn by a power cut is set aside and reported, and the chain goes on from the last
whole one. No line names a person of whom a card was read.

The chain runs through several files (`files.py`). Each but the first begins with a line `trail.continued`
that says after which line it comes and how many events of each kind came before; what is deleted because
its time is over is named by a line `trail.pruned`, so that a file taken away by somebody else shows.
"""

from __future__ import annotations

import errno
import hmac
import json
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

from agent import logs, sm
from agent.audit.files import TrailFiles
from agent.catalogue import AgentError
from agent.clock import Clock

log = logs.get(__name__)

#: What the first line of a trail is chained to.
GENESIS = "0" * 64
#: A file of the trail is closed at this size: some ten days of a busy desk, read in a tenth of a second.
FILE_BYTES = 4 * 2**20
CONTINUED, PRUNED = "trail.continued", "trail.pruned"


@dataclass(frozen=True)
class Head:
    """The end of a trail: number and `mac` of its last line. Whoever knows it notices when lines are gone."""

    seq: int
    mac: str


@dataclass(frozen=True)
class Report:
    """What a check has found: `broken_at` is the number of the first line that does not fit.

    `next` is where to go on reading, in the file of the line after `head`, None at the end; `head` the last
    line that fits.
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
        self._files = TrailFiles(path)
        self._key = key
        self._clock = clock
        self._relief = relief
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._last, self._sequence, self._first = GENESIS, 0, 1
        try:
            self._files.recover()
            self._set_torn_tail_aside()
            self._descriptor = self._opened()
        except OSError as error:
            raise AgentError("E3301", path=path, reason=error.strerror) from error
        for position, line in enumerate(_lines(path)):
            self._last, self._sequence = str(line.get("mac")), int(line.get("seq", 0))
            if position == 0:
                self._first = self._sequence
                self._counts.update(_counted_before(line))
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
            self._append(what, {"who": who, "object": target, "result": result, **facts}, durable=durable)
            if os.fstat(self._descriptor).st_size >= FILE_BYTES:
                self._continue()

    def _append(self, what: str, fields: Mapping[str, Any], *, durable: bool) -> None:
        encoded, mac = self._chained(what, fields)
        self._write(encoded, durable=durable)
        self._last, self._sequence = mac, self._sequence + 1
        self._counts[what] += 1

    def _chained(self, what: str, fields: Mapping[str, Any]) -> tuple[bytes, str]:
        """Return the next line and its `mac`."""
        line = {
            "seq": self._sequence + 1,
            "at": self._clock.now().isoformat(),
            "who": fields["who"],
            "what": what,
            **{name: value for name, value in fields.items() if name != "who"},
        }
        mac = self._mac(self._last, line)
        return _encoded({**line, "mac": mac}) + b"\n", mac

    def _continue(self) -> None:
        """Close the file and go on in another one. Where the disk does not allow it, this one goes on."""
        before = {"after": self._last, "counts": dict(self._counts)}
        encoded, mac = self._chained(
            CONTINUED, {"who": "service", "object": "audit", "result": "ok", **before}
        )
        try:
            os.fdatasync(self._descriptor)
            self._files.begin_next(self._first, encoded)
            opened = self._opened()
        except OSError as error:
            logs.say(log, "E3303", path=self._path, reason=error.strerror)
            return
        os.close(self._descriptor)
        self._descriptor = opened
        self._last, self._sequence = mac, self._sequence + 1
        self._first = self._sequence
        self._counts[CONTINUED] += 1

    def prune(self, before: datetime) -> int:
        """Delete the closed files all of whose lines are older. Return how many there were."""
        with self._lock:
            files = [*self._files.closed(), (self._first, self._path)]
            old = []
            for (_, path), (first, following) in pairwise(files):
                # What the next file begins with is younger than everything in this one.
                at = next(_lines(following), {}).get("at")
                if not isinstance(at, str) or datetime.fromisoformat(at) >= before:
                    break
                old.append((path, first - 1))
            if old:
                until = str(old[-1][1])
                self._append(
                    PRUNED,
                    {"who": "service", "object": "audit", "result": "ok", "until": until},
                    durable=True,
                )
            for path, _ in old:
                path.unlink()
            return len(old)

    def _opened(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

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
            return {str(line.get("object")) for line in self._all_lines() if line.get("what") in whats}

    def verify(self) -> Report:
        """Check the whole chain."""
        report = self.verify_part()
        while report.next is not None:
            report = self.verify_part(report.next, report.head)
        return report

    def verify_part(self, offset: int = 0, after: Head | None = None, size: int = 8 * 2**20) -> Report:
        """Check about `size` bytes from `offset` on, in the file of the line that follows `after`."""
        head = after or self._anchor()
        path = self._files.holding(head.seq + 1)
        with path.open("rb") as file:
            file.seek(offset)
            while file.tell() - offset < size and (raw := file.readline()):
                line = _decoded(raw)
                mac = str(line.pop("mac", ""))
                fits = hmac.compare_digest(mac, self._mac(head.mac, line)) and line.get("seq") == head.seq + 1
                if not fits:
                    return Report(head, broken_at=head.seq + 1)
                head = Head(head.seq + 1, mac)
            end = file.tell()
            if file.read(1):
                return Report(head, None, end)
        return Report(head, None, None if path == self._path else 0)

    def _anchor(self) -> Head:
        """Return the line before the oldest one that is kept: none, or the last of what its time was over."""
        oldest = next(_lines(self._files.all()[0]), {})
        seq, after = oldest.get("seq"), oldest.get("after")
        if oldest.get("what") != CONTINUED or not isinstance(seq, int) or not isinstance(after, str):
            return Head(0, GENESIS)
        pruned = self.select(1, lambda line: line.get("what") == PRUNED)
        until = int(pruned[0]["until"]) if pruned else 0
        # A file that is missing, but was never pruned, leaves a line that does not follow.
        return Head(seq - 1, after) if seq - 1 <= until else Head(until, GENESIS)

    def select(self, last: int, wanted: Callable[[dict[str, Any]], bool] = bool) -> list[dict[str, Any]]:
        """Return the last lines for which `wanted` holds, oldest first."""
        kept: deque[dict[str, Any]] = deque(maxlen=last)
        with self._lock:
            kept.extend(line for line in self._all_lines() if wanted(line))
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
        lines = _lines(self._files.holding(seq))
        return next((str(line.get("mac")) for line in lines if line.get("seq") == seq), "")

    def close(self) -> None:
        """Make everything durable and close the file."""
        with self._lock:
            os.fdatasync(self._descriptor)
            os.close(self._descriptor)

    def _mac(self, last: str, line: dict[str, Any]) -> str:
        return sm.hmac_sm3(self._key, last.encode() + _encoded(line)).hex()

    def _all_lines(self) -> Iterator[dict[str, Any]]:
        for path in self._files.all():
            yield from _lines(path)

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


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for raw in file:
            yield _decoded(raw)


def _counted_before(line: Mapping[str, Any]) -> dict[str, int]:
    """Return how many events of each kind stand in the files before the one that begins with `line`."""
    counts = line.get("counts") if line.get("what") == CONTINUED else None
    if not isinstance(counts, dict):
        return {}
    return {str(what): count for what, count in counts.items() if isinstance(count, int)}


def _decoded(raw: bytes) -> dict[str, Any]:
    """Return a line's fields; whatever is not our JSON gives none, and so breaks the chain visibly."""
    try:
        line = json.loads(raw)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}
