"""What went over a reader's line, as text: how a misbehaving reader is sent to whoever can look into it.

    # kiosk-agent reader transcript 1
    >     0.000 AA AA AA 96 69 00 03 20 01 22    # find card
    <     0.031 AA AA AA 96 69 00 08 00 00 9F 00 00 00 00 97    # card found

`>` went to the reader, `<` came from it; seconds since the start; what does not fit on a line goes on below,
indented; # begins a comment. Pure: bytes and text, no input or output.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import xor

from drivers.sdt.commands import command_name, status_name
from drivers.sdt.frames import Frame, FrameDecoder, Garbage

TITLE = "# kiosk-agent reader transcript 1"
BLANKED = "# personal bytes are blanked: text, photograph, fingerprints, and whatever is no whole frame"
PERSONAL = "# HOLDS PERSONAL DATA: treat it like the card itself, and delete it when it has been looked at"
_PER_LINE = 32
_ENTRY = re.compile(r"^([<>])\s+(\d+\.\d+)\s+((?:[0-9A-Fa-f]{2}\s*)+)$")
_CONTINUED = re.compile(r"^\s+((?:[0-9A-Fa-f]{2}\s*)+)$")
_SYNC = b"\xaa\x96\x69"
#: Answers up to this size hold nothing of a card: status, find, select, the module's id.
_IMPERSONAL_BYTES = 16
_TEXT_BYTES, _KIND_AT = 256, 248
_WLT_HEAD = bytes.fromhex("574C66007E00")


@dataclass(frozen=True)
class Entry:
    """Bytes in one direction, in one piece."""

    at: float  # seconds since the start
    sent: bool  # by us
    data: bytes = field(repr=False)


def written(entries: Iterable[Entry], *, personal: bool, remarks: Sequence[str] = ()) -> str:
    """Return the transcript. Without `personal` every byte that could be of a card is blanked."""
    kept = list(entries) if personal else blanked(list(entries))
    head = [TITLE, PERSONAL if personal else BLANKED, *(f"# {' '.join(text.split())}" for text in remarks)]
    return "\n".join([*head, *(line for entry in kept for line in _lines(entry))]) + "\n"


def _lines(entry: Entry) -> Iterator[str]:
    mark = ">" if entry.sent else "<"
    for start in range(0, len(entry.data), _PER_LINE):
        head = f"{mark} {entry.at:9.3f} " if start == 0 else " " * 12
        comment = f"    # {_meaning(entry)}" if start == 0 and _meaning(entry) else ""
        yield head + entry.data[start : start + _PER_LINE].hex(" ").upper() + comment


def _meaning(entry: Entry) -> str:
    at = entry.data.find(_SYNC)
    body = entry.data[at + 5 :] if at >= 0 else b""
    if entry.sent:
        return command_name(body[0], body[1]) if len(body) >= 2 else ""
    return status_name(body[2]) if len(body) >= 3 else ""


def parse(text: str) -> list[Entry]:
    """Return the entries of a transcript. ValueError names the line that is none."""
    entries: list[Entry] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition("#")[0].rstrip()
        begun, continued = _ENTRY.match(content), _CONTINUED.match(content)
        if begun is not None:
            entries.append(Entry(float(begun[2]), begun[1] == ">", bytes.fromhex(begun[3])))
        elif continued is not None and entries:
            last = entries.pop()
            entries.append(Entry(last.at, last.sent, last.data + bytes.fromhex(continued[1])))
        elif content.strip():
            raise ValueError(f"line {number} is no line of a transcript")
    return entries


# --- blanking ---------------------------------------------------------------------------------------


def blanked(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries with every byte that could be of a card blanked. Sizes, times, checksums' rightness
    and what breaks the protocol stay as they are."""
    found: list[Entry] = []
    pieces: list[Entry] = []
    for entry in entries:
        if entry.sent:
            found += [*_exchange(pieces), entry]
            pieces = []
        else:
            pieces.append(entry)
    return found + _exchange(pieces)


def _exchange(pieces: list[Entry]) -> list[Entry]:
    """Blank what came in answer to one command, as one stream, and cut it up again."""
    stream = _blanked_stream(b"".join(piece.data for piece in pieces))
    cut, at = [], 0
    for piece in pieces:
        cut.append(Entry(piece.at, piece.sent, stream[at : at + len(piece.data)]))
        at += len(piece.data)
    return cut


def _blanked_stream(stream: bytes) -> bytes:
    decoder, out, spoilt = FrameDecoder(), bytearray(), bytearray()
    for item in [*decoder.feed(stream), *decoder.idle()]:
        if isinstance(item, Garbage):
            spoilt += item.data
            continue
        out += _blanked_noise(bytes(spoilt))
        spoilt.clear()
        # Up to three AA may stand before the sync; whatever is not there was dropped as noise before.
        size = (
            stream.find(_SYNC, len(out)) + len(_SYNC) + 2 + len(item.status) + len(item.data) + 1 - len(out)
        )
        out += _blanked_frame(stream[len(out) : len(out) + size], item)
    return bytes(out + _blanked_noise(bytes(spoilt)))


def _blanked_noise(data: bytes) -> bytes:
    """Keep what starts a frame, with its length and status; the rest may be a piece of a card."""
    kept = bytearray(len(data))
    for at, byte in enumerate(data):
        if byte in _SYNC:
            kept[at] = byte
    for start in re.finditer(re.escape(_SYNC), data):
        kept[start.end() : start.end() + 5] = data[start.end() : start.end() + 5]
    return bytes(kept)


def _blanked_frame(wire: bytes, frame: Frame) -> bytes:
    if len(frame.data) <= _IMPERSONAL_BYTES:
        return wire
    data = _blanked_data(frame.data)
    head = wire[: len(wire) - len(data) - 1]
    parity = wire[-1] ^ reduce(xor, frame.data, 0) ^ reduce(xor, data, 0)
    return head + data + bytes((parity,))


def _blanked_data(data: bytes) -> bytes:
    for count in (2, 3):
        sizes = [int.from_bytes(data[at : at + 2], "big") for at in range(0, 2 * count, 2)]
        if 2 * count + sum(sizes) == len(data) and sizes[0] == _TEXT_BYTES:
            text, photo = data[2 * count : 2 * count + _TEXT_BYTES], data[2 * count + _TEXT_BYTES :]
            blank = bytearray(_blanks(_TEXT_BYTES))
            blank[_KIND_AT : _KIND_AT + 2] = text[_KIND_AT : _KIND_AT + 2]
            known = _WLT_HEAD if photo.startswith(_WLT_HEAD) else b""
            return data[: 2 * count] + bytes(blank) + known + bytes(len(photo) - len(known))
    return _blanks(len(data))


def _blanks(size: int) -> bytes:
    return (b" \0" * (size // 2 + 1))[:size]
