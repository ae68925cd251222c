"""Frames on the wire: bytes in, frames or garbage out. No input, no output, no clock.

    host -> reader   AA AA AA 96 69 | Len1 Len2 | CMD PARA     | data | CHK
    reader -> host   AA AA AA 96 69 | Len1 Len2 | SW1 SW2 SW3  | data | CHK

Len is big-endian and counts everything behind itself, CHK included. CHK makes the XOR from Len1 to CHK
zero. What goes wrong in the field: noise before a frame, a byte lost or doubled within the preamble or
the body, a reply cut off by an unplugged cable, two replies in one read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from operator import xor

PREAMBLE = bytes.fromhex("AAAAAA9669")
#: What is searched for: readers lose or double a leading AA, the rest of the preamble is distinctive.
_SYNC = bytes.fromhex("AA9669")
_LENGTH_BYTES = 2
#: SW1 SW2 SW3 and CHK: the shortest reply.
MIN_LENGTH = 4
#: The longest reply of the standard is 2,314 (0x090A, text, photo and two fingers) behind its length; the
#: cap leaves room for a vendor's few bytes and keeps a false start from swallowing seconds of line.
MAX_LENGTH = 4096
#: Whatever arrives beyond one longest frame with its head is certainly not one.
MAX_BUFFER = len(PREAMBLE) + _LENGTH_BYTES + MAX_LENGTH


@dataclass(frozen=True)
class Frame:
    """One whole reply with a right checksum."""

    status: bytes  # SW1 SW2 SW3
    data: bytes = field(default=b"", repr=False)

    @property
    def code(self) -> int:
        """Return SW3, the byte that says what became of the command."""
        return self.status[2]


@dataclass(frozen=True)
class Garbage:
    """Bytes that are no frame, and why."""

    data: bytes = field(repr=False)
    reason: str  # noise | checksum | length | silence


def checksum(body: bytes) -> int:
    """Return the XOR of all bytes from Len1 on."""
    return reduce(xor, body, 0)


def encode_command(command: int, parameter: int, data: bytes = b"") -> bytes:
    """Return a command as it goes out. ValueError for data that no length field can count."""
    length = 2 + len(data) + 1
    if length > MAX_LENGTH:
        raise ValueError(f"a command of {length} bytes is longer than {MAX_LENGTH}")
    body = length.to_bytes(_LENGTH_BYTES, "big") + bytes((command, parameter)) + data
    return PREAMBLE + body + bytes((checksum(body),))


def encode_reply(status: bytes, data: bytes = b"") -> bytes:
    """Return a reply as a reader sends it, for decoder programs that want a whole one."""
    body = (len(status) + len(data) + 1).to_bytes(_LENGTH_BYTES, "big") + status + data
    return PREAMBLE + body + bytes((checksum(body),))


class FrameDecoder:
    """Finds frames in a stream. "Not enough yet", "a frame" and "garbage" are three different answers."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Return how many bytes wait for more; never above MAX_BUFFER."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame | Garbage]:
        """Take bytes as they come and return what they complete. Never raises."""
        found: list[Frame | Garbage] = []
        # In slices, so that the cap holds whatever the size of one read.
        for start in range(0, len(data), MAX_LENGTH):
            self._buffer += data[start : start + MAX_LENGTH]
            while (item := self._next()) is not None:
                found.append(item)
        return found

    def idle(self) -> list[Frame | Garbage]:
        """Say that the line has been silent: a frame begun will not be completed any more.

        The false start gives way one byte at a time, so that a true frame behind it is still found.
        """
        found: list[Frame | Garbage] = []
        while self._buffer:
            found.append(self._drop(1, "silence"))
            while (item := self._next()) is not None:
                found.append(item)
        return found

    def _next(self) -> Frame | Garbage | None:
        """Return the next frame or piece of garbage, None when more bytes are needed."""
        at = self._buffer.find(_SYNC)
        if at < 0:
            # All but what could be the beginning of a preamble is noise.
            keep = _preamble_tail(self._buffer)
            return self._drop(len(self._buffer) - keep, "noise") if len(self._buffer) > keep else None
        start = _preamble_start(self._buffer, at)
        if start > 0:
            return self._drop(start, "noise")
        return self._frame(at + len(_SYNC))

    def _frame(self, body: int) -> Frame | Garbage | None:
        """Return the frame whose length field is at `body`."""
        if len(self._buffer) < body + _LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[body : body + _LENGTH_BYTES], "big")
        if not MIN_LENGTH <= length <= MAX_LENGTH:
            return self._drop(1, "length")
        end = body + _LENGTH_BYTES + length
        if len(self._buffer) < end:
            return None
        content = bytes(self._buffer[body:end])
        if checksum(content) != 0:
            return self._drop(1, "checksum")
        del self._buffer[:end]
        return Frame(content[2:5], content[5:-1])

    def _drop(self, count: int, reason: str) -> Garbage:
        dropped = bytes(self._buffer[:count])
        del self._buffer[:count]
        return Garbage(dropped, reason)


def _preamble_start(buffer: bytearray, sync: int) -> int:
    """Return where the preamble around a sync begins: up to three AA belong to it, more are noise."""
    start = sync
    while start > 0 and sync - start < 3 and buffer[start - 1] == 0xAA:
        start -= 1
    return start


def _preamble_tail(buffer: bytearray) -> int:
    """Return how many bytes at the end could be the beginning of a preamble."""
    if buffer.endswith(b"\xaa\x96"):
        tail, rest = 1, buffer[:-1]
    else:
        tail, rest = 0, buffer
    count = 0
    while count < 4 and count < len(rest) and rest[-1 - count] == 0xAA:
        count += 1
    return tail + count
