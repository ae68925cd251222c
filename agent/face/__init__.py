"""Faces: detection, alignment, embedding, quality, score. Pure functions on BGR uint8 arrays.

YuNet and SFace through OpenCV's dnn; the weights are found and verified, never downloaded at run time.
There is no liveness check: the staff at the desk and the physical card are the controls.
"""

from __future__ import annotations
