"""Finding faces with YuNet, on a copy small enough to be quick and large enough to see."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_SCORE = 0.6
#: YuNet sees faces of some 10 to 300 px best, and time grows with area.
MAX_WIDTH = 640
#: The chip's picture is enlarged and given a border: a face that touches the edge is often missed.
SMALL_WIDTH, ENLARGE, BORDER = 300, 2, 32


@dataclass(frozen=True)
class Face:
    """One face in the coordinates of the picture it was found in."""

    box: tuple[float, float, float, float]  # x, y, width, height
    landmarks: NDArray[np.float64] = field(repr=False)  # (5, 2), the person's right eye first
    score: float

    @property
    def area(self) -> float:
        """Return the box's area in square pixels."""
        return self.box[2] * self.box[3]

    @property
    def eye_distance(self) -> float:
        """Return the distance between the eyes in pixels."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))

    @property
    def roll_deg(self) -> float:
        """Return the angle of the line between the eyes."""
        across, down = self.landmarks[1] - self.landmarks[0]
        return math.degrees(math.atan2(down, across))

    @property
    def yaw(self) -> float:
        """Return how far the nose is off the middle of the eyes, in eye distances; 0 is straight ahead."""
        middle = (self.landmarks[0] + self.landmarks[1]) / 2
        along = (self.landmarks[1] - self.landmarks[0]) / max(self.eye_distance, 1e-6)
        return float((self.landmarks[2] - middle) @ along) / max(self.eye_distance, 1e-6)

    @property
    def pitch(self) -> float:
        """Return where the nose stands between eyes (0) and mouth (1)."""
        eyes = (self.landmarks[0] + self.landmarks[1]) / 2
        down = (self.landmarks[3] + self.landmarks[4]) / 2 - eyes
        return float((self.landmarks[2] - eyes) @ down) / max(float(down @ down), 1e-6)


class Detector:
    """A loaded YuNet. Not for several threads."""

    def __init__(self, model: Path) -> None:
        import cv2

        self._model = cv2.FaceDetectorYN.create(str(model), "", (320, 320), MIN_SCORE)

    def faces(self, image: NDArray[np.uint8]) -> list[Face]:
        """Return every face of a BGR picture."""
        import cv2

        height, width = image.shape[:2]
        if width < SMALL_WIDTH:
            large = cv2.resize(image, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
            bordered = cv2.copyMakeBorder(large, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
            return self._found(bordered, 1 / ENLARGE, -BORDER / ENLARGE)
        scale = min(1.0, MAX_WIDTH / width)
        size = (round(width * scale), round(height * scale))
        copy = image if scale == 1.0 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return self._found(copy, 1 / scale, 0.0)

    def _found(self, image: Any, factor: float, shift: float) -> list[Face]:
        """Return the faces of the copy, in the original's coordinates: copy * factor + shift."""
        self._model.setInputSize((image.shape[1], image.shape[0]))
        _, rows = self._model.detect(image)
        return [] if rows is None else [_face(row, factor, shift) for row in rows]


def _face(row: Any, factor: float, shift: float) -> Face:
    x, y, width, height = (float(value) for value in row[:4])
    landmarks = np.asarray(row[4:14], np.float64).reshape(5, 2) * factor + shift
    box = (x * factor + shift, y * factor + shift, width * factor, height * factor)
    return Face(box, landmarks, float(row[14]))
