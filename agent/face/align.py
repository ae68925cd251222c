"""The similarity transform from five landmarks to the square crop that recognisers were trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 112
#: Right eye, left eye, nose, right and left corner of the mouth, as the person has them, in 112x112.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    np.float64,
)


def similarity(landmarks: NDArray[np.float64], side: int = SIDE) -> NDArray[np.float64]:
    """Return the 2x3 matrix of rotation, scale and shift that fits best in least squares (Umeyama 1991)."""
    source, target = landmarks.astype(np.float64), TEMPLATE * (side / SIDE)
    source_mean, target_mean = source.mean(0), target.mean(0)
    centred, wanted = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd(wanted.T @ centred / len(source))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    rotation = u @ np.diag(sign) @ vt
    variance = float((centred**2).sum() / len(source)) or 1.0
    scaled = rotation * float((singular * sign).sum() / variance)
    return np.hstack([scaled, (target_mean - scaled @ source_mean)[:, None]])


def crop(image: NDArray[np.uint8], landmarks: NDArray[np.float64], side: int = SIDE) -> NDArray[np.uint8]:
    """Return the aligned BGR crop, `side` pixels square."""
    import cv2

    aligned: NDArray[np.uint8] = cv2.warpAffine(image, similarity(landmarks, side), (side, side))  # type: ignore[assignment]  # OpenCV's stubs widen the dtype
    return aligned
