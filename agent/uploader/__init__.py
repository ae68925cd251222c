"""The loop to the platform, and what it decides by.

`loop` claims, sends and settles; `lane` is the way to the platform as it stands, `settling` what becomes of a
record by what came back. `judgement` (whose fault is a refusal), `breaker`, `backoff` and `rates` are pure;
`making` makes a body, `ahead` the next ones while one is being sent; `registration` is the device's own life
with the platform.
"""

from __future__ import annotations

from agent.uploader.loop import Uploader
from agent.uploader.parts import Parts

__all__ = ["Parts", "Uploader"]
