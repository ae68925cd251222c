"""The loop to the platform, and what it decides by.

`loop` claims, sends and settles; `judgement` (whose fault is a refusal), `breaker`, `backoff` and `rates`
are pure; `ahead` makes the next body while one is being sent; `registration` is the device's own life
with the platform.
"""

from __future__ import annotations

from agent.uploader.loop import Parts, Uploader

__all__ = ["Parts", "Uploader"]
