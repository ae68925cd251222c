"""The segments of a JPEG file (ITU-T T.81, annex B), as far as is needed to tell and to strip. Pure.

FF D8 | FF marker, length, content ... | FF DA, scan header, entropy-coded data ... | FF D9
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_SOI, _SOS, _COMMENT = 0xD8, 0xDA, 0xFE
_BASELINE = 0xC0
#: Start-of-frame markers; C4, C8 and CC are tables and reserved.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: APP0 (JFIF) and APP14 (Adobe) say how the colours are meant; the other APPn describe, locate and preview.
_APPS, _COLOUR_APPS = frozenset(range(0xE0, 0xF0)), frozenset({0xE0, 0xEE})
_EXIF, _ORIENTATION = b"Exif\0\0", 0x0112


@dataclass(frozen=True)
class Segment:
    """One segment ahead of the first scan: its marker, its content, and where it lies with its marker."""

    marker: int
    content: bytes
    start: int
    end: int


def is_whole(data: bytes) -> bool:
    """Return whether `data` is a whole JPEG by its first and last marker."""
    return data.startswith(b"\xff\xd8\xff") and data.endswith(b"\xff\xd9")


def segments(data: bytes) -> Iterator[Segment]:
    """Yield what lies ahead of the scan, the scan's own header last; ends early where it makes no sense."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield Segment(marker, data[at + 4 : end], at, end)
        if marker == _SOS:
            return
        at = end


def size(data: bytes) -> tuple[int, int] | None:
    """Return width and height that a JPEG announces, None where none is found."""
    for segment in segments(data):
        if segment.marker in _FRAMES and len(segment.content) >= 5:
            content = segment.content
            return int.from_bytes(content[3:5], "big"), int.from_bytes(content[1:3], "big")
    return None


def without_metadata(data: bytes) -> bytes | None:
    """Return a JPEG with nothing in it but its picture; None when its pixels must be encoded anew for that.

    Anew: progressive or otherwise not baseline, four colours, or turned by an orientation tag.
    """
    kept, scan, frames = [data[:2]], None, 0
    for segment in segments(data):
        if segment.marker in _FRAMES:
            frames += 1
            if segment.marker != _BASELINE or segment.content[5:6] not in {b"\x01", b"\x03"}:
                return None
        if segment.marker == 0xE1 and orientation(segment.content) not in {None, 1}:
            return None
        if segment.marker == _SOS:
            scan = segment.start
        elif segment.marker != _COMMENT and (segment.marker not in _APPS or segment.marker in _COLOUR_APPS):
            kept.append(data[segment.start : segment.end])
    if scan is None or frames != 1:
        return None
    return b"".join([*kept, data[scan:]])


def orientation(app1: bytes) -> int | None:
    """Return the orientation tag of an APP1 segment (Exif, TIFF 6.0 section 2), None where there is none."""
    if not app1.startswith(_EXIF):
        return None
    tiff = app1[len(_EXIF) :]
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None:
        return None

    def number(at: int, length: int) -> int:
        return int.from_bytes(tiff[at : at + length], order)  # type: ignore[arg-type]  # one of the two words

    first = number(4, 4)
    for index in range(number(first, 2)):
        entry = first + 2 + 12 * index
        if entry + 12 > len(tiff):
            return None
        if number(entry, 2) == _ORIENTATION:
            return number(entry + 8, 2)
    return None
