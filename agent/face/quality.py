"""Is this frame fit for a comparison? Gates first, each with a reason; then a rank among what is left.

Ranks come from the picture alone, never from the similarity: taking the frame that matches best would
raise false accepts with every frame. Measures follow the list of ISO/IEC 29794-5 as far as five landmarks
and a crop can tell; the limits are those of a desk, not of a passport office.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.face import align
from agent.face.detector import Face

#: A second face counts from this score and this share of the main face's area: a queue is no company.
OTHER_SCORE, OTHER_AREA = 0.7, 0.25
MIN_EYE_PX = 60.0
MAX_ROLL_DEG, MAX_YAW = 15.0, 0.22
#: Where between eyes and mouth the nose may stand: a head thrown back or hung down is turned as well.
MIN_PITCH, MAX_PITCH = 0.35, 0.82
#: How much of the aligned crop may lie outside of the frame.
MAX_OUTSIDE = 0.10
_GRID = np.linspace(0, align.SIDE - 1, 12)
DARK, BRIGHT, BURNT_SHARE = 40.0, 215.0, 0.10
MIN_SHARPNESS = 0.7
#: Reasons that no deadline relaxes: there is nobody, or nobody knows which of them.
HARD = frozenset({"no_face", "several_people"})
#: Beyond these a frame does not get better.
_ENOUGH_EYE_PX, _ENOUGH_SHARPNESS, _MIDDLE_GREY = 120.0, 2.0, 120.0


@dataclass(frozen=True)
class Quality:
    """What was measured of one face on one frame."""

    eye_px: float  # between the eyes, in the frame
    roll_deg: float
    yaw: float  # nose off the middle of the eyes, in eye distances
    pitch: float  # nose between eyes (0) and mouth (1)
    outside: float  # share of the aligned crop beyond the frame
    brightness: float  # mean grey of the aligned crop, 0..255
    burnt: float  # share of the crop at 250 and above
    sharpness: float

    @property
    def rank(self) -> float:
        """Return a product of soft terms, 0..1: sharpness, size, frontal pose, exposure."""
        frontal = (1 - min(abs(self.yaw) / 0.5, 0.9)) * (1 - min(abs(self.roll_deg) / 45, 0.9))
        exposed = 1 - min(abs(self.brightness - _MIDDLE_GREY) / 160, 0.9)
        sharp = min(self.sharpness, _ENOUGH_SHARPNESS) / _ENOUGH_SHARPNESS
        return sharp * min(self.eye_px, _ENOUGH_EYE_PX) / _ENOUGH_EYE_PX * frontal * exposed


@dataclass(frozen=True)
class Judged:
    """What the gates say of one frame: `reason` is "" when it may be compared."""

    reason: str
    face: Face | None = None
    quality: Quality | None = None
    failed: tuple[str, ...] = ()  # every gate that stopped it

    @property
    def rank(self) -> float:
        """Return how good the frame is, for choosing among good ones."""
        return 0.0 if self.quality is None else self.quality.rank


def main_face(faces: Sequence[Face]) -> Judged:
    """Return the one face, or why there is not one."""
    if not faces:
        return _stopped(("no_face",))
    largest = max(faces, key=lambda face: face.area)
    others = [face for face in faces if face is not largest and face.score >= OTHER_SCORE]
    if any(face.area >= OTHER_AREA * largest.area for face in others):
        return _stopped(("several_people",), largest)
    return Judged("", largest)


def judge(found: Judged, measured: Quality) -> Judged:
    """Return the verdict of every gate on the one face of a frame."""
    gates = (
        ("too_far", measured.eye_px < MIN_EYE_PX),
        ("off_frame", measured.outside > MAX_OUTSIDE),
        ("turned", _turned(measured)),
        ("dark", measured.brightness < DARK),
        ("over_exposed", measured.brightness > BRIGHT or measured.burnt > BURNT_SHARE),
        ("blurred", measured.sharpness < MIN_SHARPNESS),
    )
    failed = found.failed + tuple(reason for reason, stopped in gates if stopped)
    return _stopped(failed, found.face, measured)


def _stopped(failed: tuple[str, ...], face: Face | None = None, measured: Quality | None = None) -> Judged:
    return Judged(failed[0] if failed else "", face, measured, failed)


def _turned(measured: Quality) -> bool:
    level = abs(measured.roll_deg) <= MAX_ROLL_DEG and abs(measured.yaw) <= MAX_YAW
    return not (level and MIN_PITCH <= measured.pitch <= MAX_PITCH)


def measure(face: Face, aligned: NDArray[np.uint8], frame: tuple[int, int]) -> Quality:
    """Measure a face, given its aligned 112x112 crop and the frame's (height, width)."""
    grey = _grey(aligned)
    return Quality(
        eye_px=face.eye_distance,
        roll_deg=face.roll_deg,
        yaw=face.yaw,
        pitch=face.pitch,
        outside=_outside(face, frame),
        brightness=float(grey.mean()),
        burnt=float((grey >= 250).mean()),
        sharpness=sharpness(grey),
    )


def _outside(face: Face, frame: tuple[int, int]) -> float:
    """Return how much of the aligned crop lies beyond the frame. (The detector's box never does.)"""
    matrix = align.similarity(face.landmarks)
    points = np.stack(np.meshgrid(_GRID, _GRID), -1).reshape(-1, 2)
    x, y = (np.linalg.inv(matrix[:, :2]) @ (points - matrix[:, 2]).T).round(6)
    inside = (x >= 0) & (x < frame[1]) & (y >= 0) & (y < frame[0])
    return 1.0 - float(inside.mean())


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
