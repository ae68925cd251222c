"""The floors: what the same bytes cost without any queue, measured beside each operation of one.

A shared disk is ten times slower from one minute to the next. One raw operation stands beside each measured
one, so that a neighbour hits both, and only the ratio is quoted.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from agent import sm

_BLOCK = bytes(4096)
_KEY, _NONCE = bytes(16), bytes(12)


class RawDisk:
    """One file, opened once."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "raw"
        self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o600)
        self._end = 0

    def append(self, payload: bytes) -> float:
        """Append and sync. Return the seconds: nothing durable can be put for less."""
        started = time.perf_counter()
        written = os.pwrite(self._file, payload, self._end)
        os.fdatasync(self._file)
        took = time.perf_counter() - started
        if written != len(payload):
            raise OSError("short write")
        self._end += written
        return took

    def acknowledge(self, size: int) -> float:
        """Read as many bytes, overwrite one block and sync. Return the seconds."""
        started = time.perf_counter()
        os.pread(self._file, size, self._end - size)
        os.pwrite(self._file, _BLOCK, 0)
        os.fdatasync(self._file)
        return time.perf_counter() - started

    def close(self) -> None:
        """Close and delete it."""
        os.close(self._file)
        self._path.unlink()


def seal(payload: bytes) -> float:
    """Encrypt once with SM4-GCM. Return the seconds: nothing sealed can be put for less."""
    started = time.perf_counter()
    sm.sm4_gcm_seal(_KEY, _NONCE, payload, b"")
    return time.perf_counter() - started


def bytes_written() -> int:
    """Return the bytes that this process has handed to `write` so far, whatever the kernel made of them."""
    for line in Path("/proc/self/io").read_text().splitlines():
        name, _, value = line.partition(": ")
        if name == "wchar":
            return int(value)
    raise LookupError("wchar")
