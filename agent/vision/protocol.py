"""Messages between the daemon and its vision process. Bytes in, messages out; no input or output.

    | header length, 4 bytes big-endian | header: JSON | blobs, one after the other |

The header names the message and the blobs with their lengths.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

#: Frames count from the card's presentation on, and for so long, over all tries of an attempt: a later one
#: may show anybody.
WINDOW_S = 20.0
_LENGTH = 4
#: A header is some hundred bytes; a message at most two large JPEGs and a bitmap.
MAX_HEADER = 64 * 1024
MAX_BLOBS = 32 * 2**20


class BrokenStream(Exception):
    """The other side sent what no message can be: it must be started anew."""


@dataclass(frozen=True)
class Message:
    """One message: a kind, small JSON values, and blobs by name."""

    kind: str
    values: dict[str, Any] = field(default_factory=dict, repr=False)
    blobs: dict[str, bytes] = field(default_factory=dict, repr=False)

    def encoded(self) -> bytes:
        """Return the bytes on the wire."""
        sizes = {name: len(blob) for name, blob in self.blobs.items()}
        header = json.dumps({"kind": self.kind, "values": self.values, "blobs": sizes}).encode()
        return len(header).to_bytes(_LENGTH, "big") + header + b"".join(self.blobs.values())


class Decoder:
    """Takes bytes as they come and gives whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that `data` completes. BrokenStream for something that is none."""
        self._buffer += data
        found = []
        while (message := self._next()) is not None:
            found.append(message)
        return found

    def _next(self) -> Message | None:
        if len(self._buffer) < _LENGTH:
            return None
        size = int.from_bytes(self._buffer[:_LENGTH], "big")
        if size > MAX_HEADER:
            raise BrokenStream(f"a header of {size} bytes")
        if len(self._buffer) < _LENGTH + size:
            return None
        header = _header(bytes(self._buffer[_LENGTH : _LENGTH + size]))
        sizes: dict[str, int] = header["blobs"]
        if sum(sizes.values()) > MAX_BLOBS or min(sizes.values(), default=0) < 0:
            raise BrokenStream("blobs too large")
        end = _LENGTH + size + sum(sizes.values())
        if len(self._buffer) < end:
            return None
        at, blobs = _LENGTH + size, {}
        for name, length in sizes.items():
            blobs[name] = bytes(self._buffer[at : at + length])
            at += length
        del self._buffer[:end]
        return Message(header["kind"], header["values"], blobs)


def _header(raw: bytes) -> dict[str, Any]:
    try:
        header = json.loads(raw)
        sizes = header["blobs"]
        well = isinstance(header["kind"], str) and isinstance(header["values"], dict)
        well = well and all(type(size) is int for size in sizes.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BrokenStream("no header") from None
    if not well:
        raise BrokenStream("no header")
    found: dict[str, Any] = header
    return found
