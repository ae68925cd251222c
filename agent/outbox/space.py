"""Room on the disk: the quota's alarms, the reserve, and the ballast that lets a full disk drain.

On a disk with no byte left SQLite cannot even note that a record was delivered. The ballast is a file of
really written bytes that is given up in that moment: enough for every small commit of a long drain, while
new records are refused until it stands again.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from agent import logs, room

log = logs.get(__name__)

# Named here once more: a test on a small disk makes them smaller for the outbox alone.
BALLAST_BYTES, RESERVE_BYTES = room.BALLAST_BYTES, room.RESERVE_BYTES
#: Below this nothing works reliably any more, whatever error SQLite gives it.
NOTHING_LEFT = 2**20
_STEP = 2**20


@dataclass(frozen=True)
class Room:
    """How full it is: bytes kept, the quota, bytes free on the disk, whether the ballast stands."""

    used: int
    limit: int
    free: int
    ballast: bool

    @property
    def code(self) -> str | None:
        """Return the code of the alarm that is due, None when there is room."""
        if not self.ballast and self.free < BALLAST_BYTES + RESERVE_BYTES:
            return "E3119"
        return room.alarm(self.used, self.limit)


def free_bytes(folder: Path) -> int:
    """Return what an ordinary process may still write there."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


class Ballast:
    """The file. Safe from any thread."""

    def __init__(self, state_dir: Path, size: int | None = None) -> None:
        self._folder = state_dir
        self._path = state_dir / "ballast"
        self._size = BALLAST_BYTES if size is None else size
        self._lock = threading.Lock()

    def stands(self) -> bool:
        """Return whether it is there whole."""
        try:
            return self._path.stat().st_size >= self._size
        except OSError:
            return False

    def needed(self) -> int:
        """Return the bytes that must be free for a new record, its own aside."""
        return RESERVE_BYTES + (0 if self.stands() else self._size)

    def give_up(self) -> bool:
        """Free the ballast's room. Return whether there was any."""
        with self._lock:
            try:
                self._path.unlink()
            except OSError:
                return False
        logs.say(log, "E3119", free=free_bytes(self._folder))
        return True

    def give_up_if_full(self) -> None:
        """Free the ballast's room when the disk has none: before anything else is opened."""
        if free_bytes(self._folder) < NOTHING_LEFT:
            self.give_up()

    def restore(self) -> bool:
        """Write the ballast anew once there is room for it and the reserve. Return whether it stands."""
        with self._lock:
            if self.stands():
                return True
            if free_bytes(self._folder) < 2 * self._size + RESERVE_BYTES:
                return False
            draft = self._path.with_suffix(".new")
            try:
                self._write(draft)
                draft.rename(self._path)
            except OSError:
                draft.unlink(missing_ok=True)
                return False
        return True

    def _write(self, draft: Path) -> None:
        # Random: a file system that compresses would keep zeros in no room at all.
        with draft.open("wb") as file:
            left = self._size
            while left > 0:
                left -= file.write(os.urandom(min(_STEP, left)))
            file.flush()
            os.fsync(file.fileno())
