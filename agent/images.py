"""JPEG within a byte bound, and pictures back into arrays. Pictures are BGR uint8 arrays.

Measured: up to 1080p the first encoding at quality 95 nearly always fits; above, the size is nearly
log-linear in quality, so that a guided guess needs one to three encodings where bisection needs six.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agent import jpeg
from agent.catalogue import AgentError
from drivers.errors import PhotoError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

TOP_QUALITY = 95  # above it bytes double and nothing is gained that anybody sees
FACE_QUALITY = 75  # below it faces lose what a comparison needs: shrink instead
MAX_ENCODES = 4
#: A result at or above this share of the aim is good enough to stop.
NEAR_ENOUGH = 0.8
#: Aim a little lower: the guess errs by a few per cent.
AIM = 0.95
#: Larger than the largest camera (4656x3496), smaller than a decompression bomb.
MAX_PIXELS = 5000 * 4000
MIN_SIDE = 64
#: By which the pixels of a picture of one colour may differ.
LEVELS = 2


def encode(picture: Image, target: int, bound: int) -> bytes:
    """Return a baseline 4:2:0 JPEG of about `target` bytes and never more than `bound`, without metadata.

    At most four encodings: quality 95, then guesses, then smaller pictures. AgentError E2501 when even
    that does not fit.
    """
    limit = min(target, bound)
    made = _encoded(picture, TOP_QUALITY)
    quality, last = TOP_QUALITY, len(made)
    best = made if last <= bound else None
    for _ in range(MAX_ENCODES - 1):
        if last <= limit and (quality == TOP_QUALITY or last >= NEAR_ENOUGH * limit):
            break
        quality, picture = _next_try(picture, quality, last, limit)
        made = _encoded(picture, quality)
        last = len(made)
        if last <= bound and (best is None or len(best) > limit or last <= limit):
            best = made
    if best is None:
        raise AgentError("E2501", bound=bound, size=last)
    return best


def _next_try(picture: Image, quality: int, size: int, limit: int) -> tuple[int, Image]:
    """Return quality and picture whose encoding should come close to the limit."""
    # Per step of ten in quality a photograph's size changes by about a factor of 1.5.
    wanted = quality + 10 * math.log(AIM * limit / size) / math.log(1.5)
    if wanted >= FACE_QUALITY:
        return min(TOP_QUALITY, int(wanted)), picture
    at_floor = size * 1.5 ** ((FACE_QUALITY - quality) / 10)
    return FACE_QUALITY, _scaled(picture, math.sqrt(min(1.0, AIM * limit / at_floor)) * 0.97)


def _scaled(picture: Image, factor: float) -> Image:
    import cv2

    height, width = picture.shape[:2]
    size = (max(MIN_SIDE, round(width * factor)), max(MIN_SIDE, round(height * factor)))
    scaled: Image = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]  # OpenCV's stubs widen the dtype
    return scaled


def _encoded(picture: Image, quality: int) -> bytes:
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_PROGRESSIVE, 0]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    good, encoded = cv2.imencode(".jpg", picture, options)
    if not good:
        raise AgentError("E2502", reason="not encoded")
    return bytes(encoded.tobytes())


def smaller(picture: bytes, factor: float) -> bytes:
    """Return a picture of about `factor` times as many bytes, for a platform that found it too large."""
    limit = int(len(picture) * factor)
    return encode(decode(picture), limit, limit)


def accepted(picture: bytes, bound: int) -> bytes:
    """Return what another program hands in as a JPEG that may be sent, its pixels left alone if they can be.

    A whole baseline JPEG in one or three colours, upright and within the bound, only loses its metadata;
    whatever else is re-encoded. PhotoError E1303 for what is no picture, AgentError E2501 when it cannot fit.
    """
    image = decode(picture)
    bare = jpeg.without_metadata(picture) if jpeg.is_whole(picture) else None
    if bare is not None and len(bare) <= bound:
        return bare
    return encode(image, bound, bound)


def decode(data: bytes) -> Image:
    """Return the picture, upright by its EXIF tag. PhotoError E1303 for none, a part of one, or too large."""
    import cv2
    import numpy as np

    _refuse_huge(data)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise PhotoError("E1303", reason=no_picture(data))
    return image  # type: ignore[return-value]  # OpenCV's stubs widen the dtype


def no_picture(data: bytes) -> str:
    """Return the reason for what cannot be decoded."""
    return f"{len(data)} bytes are no whole picture"


def one_colour(picture: Image) -> bool:
    """Return whether a picture shows nothing. A JPEG of one colour comes back within a level or two."""
    darkest, brightest = picture.min(axis=(0, 1)), picture.max(axis=(0, 1))
    return int((brightest - darkest).max()) <= LEVELS


def _refuse_huge(data: bytes) -> None:
    """Look at the announced size before anything is allocated for it."""
    size = _announced(data)
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise PhotoError("E1303", reason=f"{size[0]}x{size[1]} is too large")


def _announced(data: bytes) -> tuple[int, int] | None:
    """Return width and height that a JPEG, PNG or BMP announces, None where they are not found."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data.startswith(b"BM") and len(data) >= 26:
        height = int.from_bytes(data[22:26], "little", signed=True)
        return int.from_bytes(data[18:22], "little", signed=True), abs(height)
    return jpeg.size(data) if data.startswith(b"\xff\xd8") else None
