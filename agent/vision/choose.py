"""Which frames of an attempt are compared: the best ones, apart in time, of one and the same face.

Quality ranks, similarity to the card never does. What the frames must agree with is each other: should
somebody else step before the camera in between, no mean of two people is ever made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agent.face.detector import Face
from agent.face.quality import Quality
from agent.face.recogniser import Embedding
from drivers.camera import Frame

#: How many frames are averaged.
FRAMES = 3
#: Adjacent frames tell the same; these are different enough for the mean to gain.
APART_S = 0.3
#: Cosine between two embeddings below which they are not taken for the same face.
AGREE = 0.6
#: Good frames kept: beyond that the worst goes. A frame of 1080p is 6 MB.
KEPT = 6


@dataclass(eq=False)
class Candidate:
    """A frame with one face; embedded when it is first needed."""

    frame: Frame
    face: Face
    quality: Quality
    reason: str  # the gate that it did not pass, "" for a good one
    embedding: Embedding | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Choice:
    """The frames to compare, the best first."""

    frames: tuple[Candidate, ...]
    disagreed: bool = False  # there were others, of another face


def choose(candidates: Sequence[Candidate], embed: Callable[[Candidate], Embedding]) -> Choice:
    """Return up to FRAMES agreeing candidates: the first full group by rank, else the largest."""
    ranked = sorted(candidates, key=lambda one: (one.reason == "", one.quality.rank), reverse=True)
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
        if any(abs(one.frame.at - other.frame.at) < APART_S for other in group):
            continue
        if all(float(embed(one) @ embed(other)) >= AGREE for other in group):
            group.append(one)
        else:
            refused = True
    return group, refused


def keep(candidates: list[Candidate], one: Candidate) -> None:
    """Add a candidate; the worst leaves when there are too many, the newest never."""
    if len(candidates) >= KEPT:
        candidates.remove(min(candidates, key=lambda other: (other.reason == "", other.quality.rank)))
    candidates.append(one)
