"""The card's own picture: 102x126 and about a kilobyte, or a kiosk program's JPEG of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: From here on blocks are what one sees. Measured on two portraits at 102x126: 1.0 to 1.3 down to 2.4 KB,
#: 1.5 to 2.0 at 1.2 KB and less with headers, where smoothing begins to gain.
BLOCKY = 1.7
#: On LFW as 1 KB pictures it takes false rejects from 23 to 19 %; on a good picture it would cost.
DEBLOCK_SIGMA = 0.8
_BLOCK = 8


def prepared(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture as it is to be compared: smoothed where it is blocky, else as it came."""
    if blockiness(picture) < BLOCKY:
        return picture
    import cv2

    smooth: NDArray[np.uint8] = cv2.GaussianBlur(picture, (0, 0), DEBLOCK_SIGMA)  # type: ignore[assignment]  # OpenCV's stubs widen the dtype
    return smooth


def blockiness(picture: NDArray[np.uint8]) -> float:
    """Return how much steeper the picture is at the borders of 8x8 blocks than elsewhere; 1 is not at all."""
    grey = picture.astype(np.float64).mean(2)
    steps = [np.abs(np.diff(grey, axis=axis)).mean(1 - axis) for axis in (0, 1)]
    borders = np.concatenate([step[_BLOCK - 1 :: _BLOCK] for step in steps])
    inside = np.concatenate([np.delete(step, np.s_[_BLOCK - 1 :: _BLOCK]) for step in steps])
    return float(borders.mean() / max(inside.mean(), 1e-6)) if borders.size else 1.0


def simulated(picture: NDArray[np.uint8], size: int, eyes: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return what a chip of `size` bytes would hold of a portrait: 102x126, JPEG, and back again.

    `eyes`: landmarks, the two eyes first. The crop follows GA 461-2004 scaled to the chip: 25 px between the
    eyes, their line at half height.
    """
    import cv2

    right, left = eyes[0], eyes[1]
    scale = 25.0 / max(float(np.linalg.norm(left - right)), 1e-6)
    middle = (right + left) / 2
    place = np.array([[scale, 0, 51 - scale * middle[0]], [0, scale, 63 - scale * middle[1]]])
    # Area averaging before the warp: a plain warp of a large picture would alias.
    shrink = min(1.0, scale * 2)
    small = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    place[:, :2] /= shrink
    cropped = cv2.warpAffine(small, place, (102, 126), borderMode=cv2.BORDER_REPLICATE)
    return _squeezed(np.asarray(cropped, np.uint8), size)


def _squeezed(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return the picture after the best JPEG of at most `size` bytes, or after the worst where none fits."""
    import cv2

    low, high, best = 1, 95, 1
    while low <= high:
        quality = (low + high) // 2
        if len(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]) <= size:
            best, low = quality, quality + 1
        else:
            high = quality - 1
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, best])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
