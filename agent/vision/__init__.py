"""Camera and face engine in a child process: a hanging driver or a crash in OpenCV costs one attempt.

`Vision` is the parent's side. The two speak length-prefixed messages over the child's standard input and
output; pictures and the camera's password never touch a disk, a command line or the environment.
"""

from __future__ import annotations

from agent.vision.process import CameraState, EngineState, Observation, Vision

__all__ = ["CameraState", "EngineState", "Observation", "Vision"]
