"""Rows out of a damaged SQLite file, page by page, without trusting any tree in it.

Source: the database and WAL file formats as published with SQLite (sqlite.org/fileformat2.html, sections
1.6, 2 and 4). Every leaf page that the pointer map does not call free is read on its own, so that a broken
root or interior page costs nothing, and a broken leaf costs its own rows only. Numbers from the file are
bounded before they are used; what does not parse is skipped.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Value = int | float | str | bytes | None

TABLE_LEAF, INDEX_LEAF, INDEX_INTERIOR = 0x0D, 0x0A, 0x02
_CELLS_AT = {TABLE_LEAF: 8, INDEX_LEAF: 8, INDEX_INTERIOR: 12}
_MAGIC = b"SQLite format 3\0"
_FREE_PAGE = 2  # in the pointer map
_WAL_HEADER, _FRAME_HEADER = struct.Struct(">8I"), struct.Struct(">6I")
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


@dataclass(frozen=True)
class RawRow:
    """One row: `rowid` is None in an index or a table WITHOUT ROWID."""

    rowid: int | None
    values: tuple[Value, ...]


class _Unreadable(Exception):
    """This page or cell makes no sense."""


def sound_header(path: Path) -> bool:
    """Return whether a file begins like a database of SQLite's, or is not there yet.

    SQLite itself takes a rotten version number for a file that it may only read.
    """
    try:
        with path.open("rb") as file:
            header = file.read(24)
    except FileNotFoundError:
        return True
    versions = {header[18:19], header[19:20]}
    fractions = header[21:24] == bytes([64, 32, 32])
    return not header or (header[:16] == _MAGIC and fractions and versions <= {b"\x01", b"\x02"})


class PageFile:
    """A database file under its write-ahead log's committed frames; only ever read."""

    def __init__(self, path: Path, wal: Path, page_size: int) -> None:
        self._size = page_size
        self._file = path.open("rb")
        self._wal = wal.open("rb") if wal.exists() else None
        self._frames = {} if self._wal is None else _committed_frames(wal.read_bytes(), page_size)
        in_file = path.stat().st_size // page_size
        self._pages = max([in_file, *self._frames])

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        if self._wal is not None:
            self._wal.close()

    def rows(self) -> Iterator[RawRow]:
        """Yield every row of every page in use that can be made sense of."""
        for number in range(1, self._pages + 1):
            if self._is_free(number):
                continue
            page = self._page(number)
            start = 100 if number == 1 else 0
            kind = page[start] if len(page) > start else 0
            if kind in _CELLS_AT:
                yield from self._cells(page, start, kind)

    def _page(self, number: int) -> bytes:
        at = self._frames.get(number)
        if at is not None and self._wal is not None:
            self._wal.seek(at)
            return self._wal.read(self._size)
        self._file.seek((number - 1) * self._size)
        return self._file.read(self._size)

    def _is_free(self, number: int) -> bool:
        """Ask the pointer map of an auto_vacuum database what a page is for."""
        entries = self._size // 5
        mapped_by = (number - 2) // (entries + 1) * (entries + 1) + 2 if number > 1 else 0
        if number <= 2 or mapped_by == number:
            return number != 1  # page 2 and its like hold the map itself
        at = 5 * (number - mapped_by - 1)
        return self._page(mapped_by)[at : at + 1] == bytes([_FREE_PAGE])

    def _cells(self, page: bytes, start: int, kind: int) -> Iterator[RawRow]:
        (count,) = struct.unpack_from(">H", page, start + 3)
        first = start + _CELLS_AT[kind]
        for position in range(first, min(first + 2 * count, self._size - 1), 2):
            (at,) = struct.unpack_from(">H", page, position)
            try:
                yield self._cell(page, at, kind)
            except (_Unreadable, IndexError, struct.error, UnicodeDecodeError):
                continue

    def _cell(self, page: bytes, at: int, kind: int) -> RawRow:
        rowid = None
        if kind == INDEX_INTERIOR:
            at += 4  # the page of the left child
        length, at = _varint(page, at)
        if kind == TABLE_LEAF:
            rowid, at = _varint(page, at)
        return RawRow(rowid, _record(self._payload(page, at, length, table=kind == TABLE_LEAF)))

    def _payload(self, page: bytes, at: int, length: int, *, table: bool) -> bytes:
        usable = self._size
        if length > self._pages * usable:
            raise _Unreadable
        most = usable - 35 if table else (usable - 12) * 64 // 255 - 23
        if length <= most:
            return page[at : at + length]
        least = (usable - 12) * 32 // 255 - 23
        local = least + (length - least) % (usable - 4)
        local = local if local <= most else least
        payload = bytearray(page[at : at + local])
        (following,) = struct.unpack_from(">I", page, at + local)
        while len(payload) < length:
            if not 1 < following <= self._pages:
                raise _Unreadable
            part = self._page(following)
            (following,) = struct.unpack_from(">I", part, 0)
            payload += part[4 : 4 + length - len(payload)]
        return bytes(payload)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a variable-length integer and where the next thing begins."""
    value = 0
    for position in range(at, at + 8):
        value = value << 7 | data[position] & 0x7F
        if data[position] < 0x80:
            return value, position + 1
    return value << 8 | data[at + 8], at + 9


def _record(payload: bytes) -> tuple[Value, ...]:
    """Return the columns of a payload."""
    header, at = _varint(payload, 0)
    types = []
    while at < header:
        serial, at = _varint(payload, at)
        types.append(serial)
    values: list[Value] = []
    for serial in types:
        size = _size_of(serial)
        if at + size > len(payload):
            raise _Unreadable
        values.append(_value(serial, payload[at : at + size]))
        at += size
    return tuple(values)


def _size_of(serial: int) -> int:
    if serial >= 12:
        return (serial - 12) // 2
    if serial in {10, 11}:
        raise _Unreadable
    return 8 if serial == 7 else _INTEGER_BYTES.get(serial, 0)


def _value(serial: int, data: bytes) -> Value:
    if serial >= 12:
        return data if serial % 2 == 0 else data.decode("utf-8")
    if serial == 7:
        return float(struct.unpack(">d", data)[0])
    if serial in {8, 9}:
        return serial - 8
    return None if serial == 0 else int.from_bytes(data, "big", signed=True)


def _committed_frames(wal: bytes, page_size: int) -> dict[int, int]:
    """Return page number -> where its newest committed content begins in the log.

    The running checksum ends the log where a power cut tore it, as it does for SQLite.
    """
    if len(wal) < _WAL_HEADER.size:
        return {}
    magic, _, size, _, salt1, salt2, *header_sum = _WAL_HEADER.unpack_from(wal)
    order = ">" if magic & 1 else "<"
    running = _checksum(wal[:24], (0, 0), order)
    if magic & ~1 != 0x377F0682 or size != page_size or running != tuple(header_sum):
        return {}
    committed: dict[int, int] = {}
    pending: dict[int, int] = {}
    for at in itertools.count(_WAL_HEADER.size, _FRAME_HEADER.size + page_size):
        content = at + _FRAME_HEADER.size
        if content + page_size > len(wal):
            break
        number, commit, *salts_and_sum = _FRAME_HEADER.unpack_from(wal, at)
        running = _checksum(wal[at : at + 8], running, order)
        running = _checksum(wal[content : content + page_size], running, order)
        if salts_and_sum != [salt1, salt2, *running]:
            break
        pending[number] = content
        if commit:
            committed.update(pending)
            pending.clear()
            committed = {page: place for page, place in committed.items() if page <= commit}
    return committed


def _checksum(data: bytes, start: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for left, right in zip(words[::2], words[1::2], strict=True):
        first = (first + left + second) & 0xFFFFFFFF
        second = (second + right + first) & 0xFFFFFFFF
    return first, second
