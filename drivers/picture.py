"""What a decoder made must be a picture of the card's 102 x 126, and show something."""

from __future__ import annotations

import struct
from collections.abc import Callable

from drivers.errors import PhotoError

WIDTH, HEIGHT = 102, 126


def fault(picture: bytes, one_colour: Callable[[bytes], bool]) -> str | None:
    """Return what is wrong with a BMP, PNG or JPEG as the card's photograph, None when nothing is.

    `one_colour` looks into what is compressed: no library does that here. PhotoError for no whole picture.
    """
    size = dimensions(picture)
    if size is None:
        return "its picture cannot be read"
    if size != (WIDTH, HEIGHT):
        return f"its picture is {size[0]}x{size[1]}, not {WIDTH}x{HEIGHT}"
    try:
        flat = _one_colour(picture) if _plain_bmp(picture) else one_colour(picture)
    except PhotoError:
        return "its picture cannot be read"
    return "its picture is all of one colour" if flat else None


def dimensions(picture: bytes) -> tuple[int, int] | None:
    """Return width and height by the file's own head, None for one that has none."""
    try:
        if picture.startswith(b"BM"):
            width, height = struct.unpack_from("<ii", picture, 18)
            return width, abs(height)
        if picture.startswith(b"\x89PNG"):
            width, height = struct.unpack_from(">II", picture, 16)
            return width, height
        return _jpeg(picture)
    except (struct.error, IndexError):
        return None


def _jpeg(picture: bytes) -> tuple[int, int] | None:
    at = 2
    while at < len(picture):
        marker, size = picture[at + 1], struct.unpack_from(">H", picture, at + 2)[0]
        # SOF0..SOF15 without DHT, JPG and DAC, which share their range.
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack_from(">HH", picture, at + 5)
            return width, height
        at += 2 + size
    return None


def _plain_bmp(picture: bytes) -> bool:
    """Return whether a picture's pixels lie open: a BMP of 24 bits."""
    return picture.startswith(b"BM") and picture[28:30] == b"\x18\0"


def _one_colour(picture: bytes) -> bool:
    start, stride = struct.unpack_from("<I", picture, 10)[0], (WIDTH * 3 + 3) // 4 * 4
    line = picture[start : start + 3] * WIDTH
    return all(
        picture[row : row + WIDTH * 3] == line for row in range(start, start + stride * HEIGHT, stride)
    )
