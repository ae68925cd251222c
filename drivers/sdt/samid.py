"""The security module's id: 16 bytes, little-endian u16 u16 u32 u32 u32, printed as on its label."""

from __future__ import annotations

import struct

from drivers.errors import ReaderProtocolError

_LAYOUT = struct.Struct("<HHIII")


def sam_id(data: bytes) -> str:
    """Return the printed form, 05.01-20101129-0001228293-0296863149. ReaderProtocolError for a wrong size."""
    if len(data) != _LAYOUT.size:
        raise ReaderProtocolError(expected=f"{_LAYOUT.size} bytes of SAM id", received=len(data))
    major, minor, date, number, check = _LAYOUT.unpack(data)
    return f"{major:02d}.{minor:02d}-{date:08d}-{number:010d}-{check:010d}"
