"""The files that a trail consists of: the one that grows, and those before it, never touched again.

    audit-0000000001.jsonl  audit-0000016384.jsonl  ...  audit.jsonl

A closed file carries the number of its first line in its name. So a start reads only the last few megabytes
of a trail that covers years, and what is older than it must be kept goes a file at a time.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

_CLOSED = re.compile(r"-(\d{10})$")


@dataclass(frozen=True)
class TrailFiles:
    """The files of the trail that grows in `current`."""

    current: Path

    @property
    def _draft(self) -> Path:
        return self.current.with_suffix(".next")

    def closed(self) -> list[tuple[int, Path]]:
        """Return number of the first line and path of each closed file, oldest first."""
        found = []
        for path in self.current.parent.glob(f"{self.current.stem}-*{self.current.suffix}"):
            if named := _CLOSED.search(path.stem):
                found.append((int(named.group(1)), path))
        return sorted(found)

    def all(self) -> list[Path]:
        """Return every file, oldest first; the one that grows is last."""
        return [*(path for _, path in self.closed()), self.current]

    def holding(self, seq: int) -> Path:
        """Return the file in which line `seq` stands, by what the files say of their first lines."""
        growing = first_seq(self.current)
        files = self.closed() + ([] if growing is None else [(growing, self.current)])
        before = [path for first, path in files if first <= seq]
        return before[-1] if before else self.all()[0]

    def recover(self) -> None:
        """Finish or undo a change of files that a power cut interrupted."""
        if self.current.exists():
            self._draft.unlink(missing_ok=True)
        elif self._draft.exists():
            self._draft.replace(self.current)
            self._sync_folder()

    def begin_next(self, first: int, line: bytes) -> None:
        """Close the current file, whose first line is number `first`, and begin the next one with `line`.

        The next file is whole on the disk before the first name changes: at every moment one of the two is
        the trail's end.
        """
        descriptor = os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.current.rename(self.current.with_name(f"{self.current.stem}-{first:010}{self.current.suffix}"))
        self._draft.replace(self.current)
        self._sync_folder()

    def _sync_folder(self) -> None:
        folder = os.open(self.current.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def first_seq(path: Path) -> int | None:
    """Return the number of a file's first line, None when there is none that can be read."""
    try:
        with path.open("rb") as file:
            found = re.match(rb'\{"seq":(\d{1,18}),', file.readline(4096))
    except OSError:
        return None
    return int(found.group(1)) if found else None
