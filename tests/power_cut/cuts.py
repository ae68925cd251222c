"""Every state of the disk that a power cut may leave: from the journal of one run."""

from __future__ import annotations

import hashlib
import os
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_HEAD = struct.Struct("<cIIQI")
SECTOR = 512
#: Which calls change names, not contents: a journalling file system replays them in their order.
_NAMES = frozenset("cur")


@dataclass(frozen=True)
class Op:
    """One journaled call: c create, w write, t truncate, s sync, u unlink, r rename, m the program's mark."""

    kind: str
    path: str
    other: str
    offset: int
    data: bytes


def journal(path: Path) -> list[Op]:
    """Return what a run did."""
    raw, at, ops = path.read_bytes(), 0, []
    while at < len(raw):
        kind, first, second, offset, size = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        one, two = raw[at : at + first].decode(), raw[at + first : at + first + second].decode()
        at += first + second
        data = raw[at : at + size]
        at += size
        ops.append(Op(kind.decode(), one, two, offset, data))
    return ops


@dataclass
class Disk:
    """What surely is on the disk, and what may or may not be: changes that nothing has synced yet."""

    names: dict[str, int] = field(default_factory=dict)
    contents: dict[int, bytearray] = field(default_factory=dict)
    unsynced: list[tuple[Op, int]] = field(default_factory=list)
    _live: dict[str, int] = field(default_factory=dict)
    _digests: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, state_dir: Path) -> Disk:
        """Return a disk that holds a folder's files below `state_dir`, all of them synced."""
        disk = cls()
        for number, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
            disk.names[str(state_dir / path.relative_to(folder))] = number
            disk.contents[number] = bytearray(path.read_bytes())
        disk._live = dict(disk.names)
        return disk

    def apply(self, op: Op) -> None:
        """Do what the process did."""
        if op.kind == "s":
            self._sync(op.path)
            return
        if op.kind == "c" or op.path not in self._live:
            self._live[op.path] = max([-1, *self.contents]) + 1
            self.contents[self._live[op.path]] = bytearray()
        inode = self._live[op.path]
        self.unsynced.append((op, inode))
        if op.kind == "u":
            del self._live[op.path]
        if op.kind == "r":
            self._live[op.other] = self._live.pop(op.path)

    def _sync(self, path: str) -> None:
        """A file's sync makes its content durable, a folder's the names in it; neither does the other."""
        inode = self._live.get(path)
        left = []
        for op, target in self.unsynced:
            if op.kind not in _NAMES and target == inode:
                write(self.contents[target], op)
                self._digests.pop(target, None)
            elif op.kind in _NAMES and os.path.dirname(op.path) == path:
                name(self.names, op, target)
            else:
                left.append((op, target))
        self.unsynced = left

    def cut(self, rng: random.Random) -> Image:
        """Return one possible state after a power cut at this moment; it holds until the next `apply`."""
        names, contents = dict(self.names), dict(self.contents)
        touched: set[int] = set()
        renamed = [entry for entry in self.unsynced if entry[0].kind in _NAMES]
        for op, inode in renamed[: rng.randint(0, len(renamed))]:
            name(names, op, inode)
        fate = rng.choice(("none", "all", "some", "torn"))
        for op, inode in self.unsynced:
            if op.kind in _NAMES or fate == "none" or (fate == "some" and rng.random() < 0.5):
                continue
            if inode not in touched:
                contents[inode] = bytearray(contents[inode])
                touched.add(inode)
            write(contents[inode], op, rng if fate == "torn" else None)
        return Image(
            {path: contents[inode] for path, inode in names.items()},
            {path: self._digest(inode) for path, inode in names.items() if inode not in touched},
        )

    def _digest(self, inode: int) -> bytes:
        """Return the digest of what is on the disk for sure: most files rest while one is written."""
        if inode not in self._digests:
            self._digests[inode] = hashlib.sha256(self.contents[inode]).digest()
        return self._digests[inode]


@dataclass(frozen=True)
class Image:
    """The files of a disk after one cut, and the digests of those that rest."""

    files: dict[str, bytearray]
    _known: dict[str, bytes]

    @property
    def digest(self) -> bytes:
        """Return the digest over every name and every byte."""
        whole = hashlib.sha256()
        for path, content in sorted(self.files.items()):
            whole.update(hashlib.sha256(path.encode()).digest())
            whole.update(self._known.get(path) or hashlib.sha256(content).digest())
        return whole.digest()

    def write(self, state_dir: Path, folder: Path) -> None:
        """Write the files of a state directory into another, fresh one."""
        made: set[str] = set()
        for path, content in self.files.items():
            target = f"{folder}/{os.path.relpath(path, state_dir)}"
            if (parent := os.path.dirname(target)) not in made:
                os.makedirs(parent, exist_ok=True)
                made.add(parent)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(descriptor, content)
            os.close(descriptor)


def name(names: dict[str, int], op: Op, inode: int) -> None:
    """Carry out a change of a name."""
    if op.kind == "c":
        names[op.path] = inode
    elif op.kind == "u":
        names.pop(op.path, None)
    elif names.get(op.path) == inode:
        names[op.other] = names.pop(op.path)


def write(content: bytearray, op: Op, torn: random.Random | None = None) -> None:
    """Carry out a write or a truncation; `torn`: each sector of it arrives or does not."""
    if op.kind == "t":
        if torn is None or torn.random() < 0.5:
            del content[op.offset :]
            content.extend(bytes(op.offset - len(content)))
        return
    end = op.offset + len(op.data)
    if torn is None:
        content.extend(bytes(max(0, end - len(content))))
        content[op.offset : end] = op.data
        return
    for start in range(0, len(op.data), SECTOR):
        if torn.random() < 0.5:
            part = op.data[start : start + SECTOR]
            at = op.offset + start
            content.extend(bytes(max(0, at + len(part) - len(content))))
            content[at : at + len(part)] = part


def replayed(disk: Disk, ops: list[Op], places: list[int]) -> Iterator[tuple[int, list[bytes]]]:
    """Bring the disk to each place in ascending order, and yield it with the marks made since the last one."""
    done = 0
    for place in places:
        marks = []
        for op in ops[done:place]:
            if op.kind == "m":
                marks.append(op.data)
            else:
                disk.apply(op)
        done = max(done, place)
        yield place, marks
