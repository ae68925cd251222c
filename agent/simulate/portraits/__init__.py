"""Two public-domain portraits, and how a kiosk's camera would see their owners. See PROVENANCE.md.

The live picture is made from the same portrait: mirrored, turned, blurred and darkened. So a passed
comparison in the demo shows the way of a record and says nothing about accuracy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

NAMES = ("collins", "hopper")
_WIDTH, _HEIGHT = 1280, 720
#: The head fills about half of the picture's height: eyes about 110 px apart.
_SIZE = 620
_TURN_DEG = 4.0
_BLUR_SIGMA = 1.2
_GAIN = 0.8


def path(name: str) -> Path:
    """Return the file of a portrait."""
    if name not in NAMES:
        raise ValueError(f"no portrait {name!r}; there are {', '.join(NAMES)}")
    return Path(__file__).with_name(f"{name}.jpg")


def live(name: str) -> Any:
    """Return a 720p BGR picture of the person before the camera."""
    import cv2
    import numpy as np

    portrait = cv2.imread(str(path(name)), cv2.IMREAD_COLOR)
    if portrait is None:
        raise ValueError(f"{path(name)} is no picture")
    height, width = portrait.shape[:2]
    scale = _SIZE / height
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), _TURN_DEG, scale)
    turn[:, 2] += (_WIDTH / 2 - width / 2, _HEIGHT / 2 - height / 2)
    scene = cv2.warpAffine(
        cv2.flip(portrait, 1),
        turn,
        (_WIDTH, _HEIGHT),
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(120, 120, 120),
    )
    seen = cv2.GaussianBlur(scene, (0, 0), _BLUR_SIGMA)
    return np.clip(seen.astype(np.float32) * _GAIN, 0, 255).astype(np.uint8)
