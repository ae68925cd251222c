"""How bytes travel in HID reports: the pure part of every HID transport.

    raw       64-byte reports; a frame is cut into them and the last one filled up with zeros
    envelope  64-byte packets, MR-300 and kin, known from one vendor's program only:
              host -> reader   88 | number, 2 | length, 2 LE | B1 | bytes | sum, 2 LE | zeros
              reader -> host   AA | number, 2 | length, 2 LE | result | counter, 2 | <= 54 bytes | sum, 2 LE
              length counts what lies between itself and the sum; sum adds up everything from length on

Another vendor's way is another class with `wrap` and `unwrap`, and a row in `drivers.models`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from drivers.errors import ReaderProtocolError

REPORT_BYTES = 64


class Framing(Protocol):
    """One way of putting bytes into reports. Reports are without their id."""

    def wrap(self, data: bytes) -> list[bytes]:
        """Return the reports that carry `data`."""
        ...

    def unwrap(self, report: bytes) -> bytes:
        """Return what a report carries, b"" for filling or what is none of ours. Never raises."""
        ...


class RawFraming:
    """Bytes as they are."""

    def wrap(self, data: bytes) -> list[bytes]:
        """Return 64-byte reports, the last one filled up with zeros."""
        return [
            data[start : start + REPORT_BYTES].ljust(REPORT_BYTES, b"\0")
            for start in range(0, len(data), REPORT_BYTES)
        ]

    def unwrap(self, report: bytes) -> bytes:
        """Return the report; one of zeros alone is filling."""
        return report if any(report) else b""


class EnvelopeFraming:
    """The numbered and summed packets of the MR-300."""

    _REQUEST, _REPLY, _IDCARD = 0x88, 0xAA, 0xB1
    #: Flag, number, length, command or result.
    _HEAD = 6
    _COUNTER = 2
    _SUM = 2

    def wrap(self, data: bytes) -> list[bytes]:
        """Return the one packet. ValueError for more than a command ever has."""
        body = (len(data) + 1).to_bytes(2, "little") + bytes((self._IDCARD,)) + data
        packet = bytes((self._REQUEST, 0, 0)) + body + _sum16(body)
        if len(packet) > REPORT_BYTES:
            raise ValueError(f"{len(data)} bytes do not fit into one packet")
        return [packet.ljust(REPORT_BYTES, b"\0")]

    def unwrap(self, report: bytes) -> bytes:
        """Return the bytes of a whole packet; of a spoilt one nothing, so that the frame stays incomplete."""
        if len(report) < self._HEAD or report[0] != self._REPLY:
            return b""
        end = 5 + int.from_bytes(report[3:5], "little")
        start = self._HEAD + self._COUNTER
        if not start <= end <= len(report) - self._SUM or _sum16(report[3:end]) != report[end : end + 2]:
            return b""
        return report[start:end]


def _sum16(data: bytes) -> bytes:
    return (sum(data) & 0xFFFF).to_bytes(2, "little")


# --- report descriptors -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Reports:
    """The reports to speak through: payload bytes each way, and their id, None where there is none."""

    input_bytes: int
    output_bytes: int
    report_id: int | None = None

    def sent(self, payload: bytes) -> bytes:
        """Return a report as Linux wants it written: its id first, 0 where there is none."""
        return bytes((self.report_id or 0,)) + payload.ljust(self.output_bytes, b"\0")

    def received(self, report: bytes) -> bytes:
        """Return a report's payload, b"" for a report of another id."""
        if self.report_id is None:
            return report
        return report[1:] if report[:1] == bytes((self.report_id,)) else b""


#: What readers without a readable descriptor are taken for.
PLAIN = Reports(REPORT_BYTES, REPORT_BYTES)

_INPUT, _OUTPUT = 8, 9
_MAIN, _GLOBAL = 0, 1
_SIZE, _ID, _COUNT, _PUSH, _POP = 7, 8, 9, 10, 11
_LONG_ITEM = 0xFE


def parse_report_descriptor(descriptor: bytes) -> Reports:
    """Return the reports of a HID report descriptor (USB HID 1.11, section 6.2.2) that carry most bytes.

    ReaderProtocolError when none goes both ways: then it is no reader's interface.
    """
    bits: dict[tuple[int, int], int] = {}  # (main tag, report id) -> bits
    state, kept = {_SIZE: 0, _ID: 0, _COUNT: 0}, []
    for kind, tag, value in _items(descriptor):
        if kind == _GLOBAL and tag in state:
            state[tag] = value
        elif kind == _GLOBAL and tag == _PUSH:
            kept.append(dict(state))
        elif kind == _GLOBAL and tag == _POP and kept:
            state = kept.pop()
        elif kind == _MAIN and tag in {_INPUT, _OUTPUT}:
            key = (tag, state[_ID])
            bits[key] = bits.get(key, 0) + state[_SIZE] * state[_COUNT]
    both = [report for tag, report in bits if tag == _INPUT and (_OUTPUT, report) in bits]
    best = max(both, key=lambda report: bits[_INPUT, report], default=None)
    if best is None or not bits[_INPUT, best] or not bits[_OUTPUT, best]:
        raise ReaderProtocolError(expected="reports in both directions", received=f"{len(bits)} reports")
    return Reports(-(-bits[_INPUT, best] // 8), -(-bits[_OUTPUT, best] // 8), best or None)


def _items(descriptor: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield type, tag and value of each short item; long ones are passed over."""
    at = 0
    while at < len(descriptor):
        prefix = descriptor[at]
        if prefix == _LONG_ITEM:
            at += 3 + (descriptor[at + 1] if at + 1 < len(descriptor) else 0)
            continue
        size = (0, 1, 2, 4)[prefix & 3]
        yield prefix >> 2 & 3, prefix >> 4, int.from_bytes(descriptor[at + 1 : at + 1 + size], "little")
        at += 1 + size
