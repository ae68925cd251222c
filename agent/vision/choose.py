"""Which frames of an attempt are compared: the best ones, apart in time, of one and the same face.

Quality ranks, similarity to the card never does. What the frames must agree with is each other: should
somebody else step before the camera in between, no mean of two people is ever made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.face.quality import Quality
from agent.face.recogniser import Embedding
from drivers.camera import Frame

Encode = Callable[[NDArray[np.uint8]], bytes]

#: How many frames are averaged.
FRAMES = 3
#: Adjacent frames tell the same; these are different enough for the mean to gain.
APART_S = 0.3
#: Cosine between two embeddings below which they are not taken for the same face.
AGREE = 0.6
#: Candidates kept: beyond that the worst goes.
KEPT = 6


class Shot:
    """A frame that may be sent: its pixels, and from `jpeg` on only the picture that would be sent of it.

    Whichever candidate proves to be of the right face may be sent, so none can be dropped before its time;
    but a frame of 1080p is 6 MB, and its JPEG less than a tenth. It is encoded once, from the camera's own
    pixels and as what is sent always was: sooner or later makes the same bytes. (As PNG, without loss, a
    frame takes twenty times as long and more than half its room.)
    """

    def __init__(self, frame: Frame, encode: Encode) -> None:
        self.at = frame.at
        self._encode = encode
        self._image: NDArray[np.uint8] | None = frame.image
        self._jpeg = b""

    def jpeg(self) -> bytes:
        """Return the picture as it is sent; the pixels are let go. AgentError E2501 when it does not fit."""
        if self._image is not None:
            self._jpeg, self._image = self._encode(self._image), None
        return self._jpeg


@dataclass(eq=False)
class Candidate:
    """A frame with one face: picture to send, crop to embed when that is first needed."""

    shot: Shot
    crop: NDArray[np.uint8] = field(repr=False)
    quality: Quality
    reason: str  # the gate that it did not pass, "" for a good one
    embedding: Embedding | None = field(default=None, repr=False)

    @property
    def at(self) -> float:
        """Return when it was taken, in monotonic seconds."""
        return self.shot.at

    @property
    def order(self) -> tuple[bool, float]:
        """Return what ranks it: a good one before any other, then quality."""
        return self.reason == "", self.quality.rank


@dataclass(frozen=True)
class Choice:
    """The frames to compare, the best first."""

    frames: tuple[Candidate, ...]
    disagreed: bool = False  # there were others, of another face


def choose(candidates: Sequence[Candidate], embed: Callable[[Candidate], Embedding]) -> Choice:
    """Return up to FRAMES agreeing candidates: the first full group by rank, else the largest."""
    ranked = sorted(candidates, key=lambda one: one.order, reverse=True)
    largest = Choice(())
    disagreed = False
    for seed in ranked:
        group, refused = _around(seed, ranked, embed)
        disagreed = disagreed or refused
        if len(group) > len(largest.frames):
            largest = Choice(tuple(group))
        if len(group) == FRAMES:
            break
    return Choice(largest.frames, disagreed)


def _around(
    seed: Candidate, ranked: Sequence[Candidate], embed: Callable[[Candidate], Embedding]
) -> tuple[list[Candidate], bool]:
    """Return the group that grows from a seed, and whether some frame was refused for its face."""
    group, refused = [seed], False
    for one in ranked:
        if len(group) == FRAMES:
            break
        if any(abs(one.at - other.at) < APART_S for other in group):
            continue
        if all(float(embed(one) @ embed(other)) >= AGREE for other in group):
            group.append(one)
        else:
            refused = True
    return group, refused


def keep(candidates: list[Candidate], one: Candidate) -> None:
    """Add a candidate; the worst leaves when there are too many, the newest never.

    Only the best one keeps its pixels: nearly always it is the one that is sent, and encoded for that alone.
    """
    if len(candidates) >= KEPT:
        candidates.remove(min(candidates, key=lambda other: other.order))
    candidates.append(one)
    best = max(candidates, key=lambda other: other.order)
    for other in candidates:
        if other is not best:
            other.shot.jpeg()
