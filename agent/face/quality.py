"""Is this frame fit for a comparison? Gates first, each with a reason; then a rank among what is left.

Ranks come from the picture alone, never from the similarity: taking the frame that matches best would
raise false accepts with every frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.face.detector import Face

#: A second face counts from this score and this share of the main face's area: a queue is no company.
OTHER_SCORE, OTHER_AREA = 0.7, 0.25
MIN_EYE_PX = 60.0
MAX_ROLL_DEG, MAX_YAW = 15.0, 0.22
DARK, BRIGHT, BURNT_SHARE = 40.0, 215.0, 0.10
MIN_SHARPNESS = 0.7
#: Reasons that no deadline relaxes: there is nobody, or nobody knows which of them.
HARD = frozenset({"no_face", "several_people"})


@dataclass(frozen=True)
class Judged:
    """What the gates say of one frame: `reason` is "" when it may be compared."""

    reason: str
    face: Face | None = None
    rank: float = 0.0


def main_face(faces: Sequence[Face]) -> Judged:
    """Return the one face, or why there is not one."""
    if not faces:
        return Judged("no_face")
    largest = max(faces, key=lambda face: face.area)
    others = [face for face in faces if face is not largest and face.score >= OTHER_SCORE]
    if any(face.area >= OTHER_AREA * largest.area for face in others):
        return Judged("several_people", largest)
    return Judged("", largest)


def judge(faces: Sequence[Face], aligned: NDArray[np.uint8] | None) -> Judged:
    """Return the verdict of all gates on one frame, given its faces and the main one's aligned crop."""
    found = main_face(faces)
    if found.reason or found.face is None or aligned is None:
        return found
    face, grey = found.face, _grey(aligned)
    sharp = sharpness(grey)
    return Judged(_soft_reason(face, grey, sharp), face, sharp * min(face.eye_distance, 120.0))


def _soft_reason(face: Face, grey: NDArray[np.float64], sharp: float) -> str:
    checks = (
        ("too_far", face.eye_distance < MIN_EYE_PX),
        ("turned", abs(face.roll_deg) > MAX_ROLL_DEG or abs(face.yaw) > MAX_YAW),
        ("dark", float(grey.mean()) < DARK),
        ("over_exposed", float(grey.mean()) > BRIGHT or float((grey >= 250).mean()) > BURNT_SHARE),
        ("blurred", sharp < MIN_SHARPNESS),
    )
    return next((reason for reason, failed in checks if failed), "")


def _grey(aligned: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the inner part of the crop, where face is and background is not."""
    inner = aligned[14:98, 16:96].astype(np.float64)
    grey: NDArray[np.float64] = inner @ np.array([0.114, 0.587, 0.299])
    return grey


def sharpness(grey: NDArray[np.float64]) -> float:
    """Return min(mean Gx^2, mean Gy^2) / variance: blind to brightness, nearly to noise, not to motion."""
    import cv2

    variance = float(grey.var())
    if variance < 1e-6:
        return 0.0
    energies = [
        float((cv2.Sobel(grey, cv2.CV_64F, dx, dy, ksize=3) ** 2).mean()) for dx, dy in ((1, 0), (0, 1))
    ]
    return min(energies) / variance
