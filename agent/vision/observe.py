"""One attempt in the vision process: from a card's picture and a live camera to a picture and a verdict.

Only frames taken after the card was presented count. Good frames - all gates passed, at least 300 ms
apart - are averaged; a comparison below the threshold is repeated with fresh ones. When time runs out the
best of what there was is used, but never a frame without exactly one face.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from agent import images
from agent.config.schema import Face, Images
from agent.face import quality
from agent.face.engine import Embedding, FaceEngine, not_verified
from agent.records import FaceResult, FaceVerdict
from agent.vision.camera import LiveCamera
from drivers.camera import Frame
from drivers.errors import PhotoError

#: Detection at most five times a second.
LOOK_EVERY_S = 0.2
#: Adjacent frames tell the same; these are different enough for the mean to gain.
APART_S = 0.3
FRAMES = 3
#: A camera that is down is not waited for as long as one that shows nobody.
CAMERA_PATIENCE_S = 2.0


@dataclass
class Take:
    """The frames of one attempt."""

    best: Frame | None = None  # what is sent: the best good frame
    rank: float = -1.0
    fallback: Frame | None = None  # one face, but not all gates passed
    fallback_embedding: Embedding | None = None
    last: Frame | None = None
    reason: str = "camera_missing"
    embeddings: list[Embedding] = field(default_factory=list)
    taken_at: float = 0.0


@dataclass(frozen=True)
class Result:
    """What one attempt brought. `camera` is the frame to send, None when there was none at all."""

    verdict: FaceVerdict
    camera: Frame | None
    card: NDArray[np.uint8] | None
    reason: str


class Observer:
    """Carries out attempts, one at a time. `abandoned` says that a newer one has come."""

    def __init__(
        self, camera: LiveCamera, engine: FaceEngine | None, face: Face, abandoned: Callable[[], bool]
    ) -> None:
        self._camera = camera
        self._engine = engine
        self._face = face
        self._abandoned = abandoned

    def observe(self, card_picture: bytes, presented_at: float, limit_s: float) -> Result:
        """Return picture and verdict for one card."""
        card = _decoded(card_picture)
        known = None if self._engine is None or card is None else self._engine.card(card)
        deadline = time.monotonic() + limit_s
        since, verdict, tries = presented_at, None, 0
        take = Take()
        while tries < self._face.attempts:
            take = self._collect(take, since, deadline)
            if known is None or self._engine is None or not take.embeddings:
                break
            tries += 1
            verdict = replace(
                self._engine.verdict(known, take.embeddings, self._face.threshold), attempts=tries
            )
            if verdict.result is FaceResult.PASSED or time.monotonic() >= deadline or self._abandoned():
                break
            since = take.taken_at
            take.embeddings = []
        return self._result(take, card, known, verdict)

    def _collect(self, take: Take, since: float, deadline: float) -> Take:
        """Look until three good frames are there, or time is up."""
        first_look = time.monotonic()
        while len(take.embeddings) < FRAMES and not self._abandoned():
            left = deadline - time.monotonic()
            frame = self._camera.after(since, min(max(left, 0.0), LOOK_EVERY_S * 2))
            if frame is not None:
                since = frame.at + (APART_S if self._look(take, frame) else LOOK_EVERY_S)
            if left <= 0:
                break
            if frame is None and not self._camera.up and time.monotonic() - first_look > CAMERA_PATIENCE_S:
                break
            if self._engine is None and take.last is not None:
                break
        if not take.embeddings and take.fallback_embedding is not None:
            take.best, take.embeddings = take.fallback, [take.fallback_embedding]
        return take

    def _look(self, take: Take, frame: Frame) -> bool:
        """Judge one frame. Return whether it is a good one."""
        take.last, take.taken_at = frame, frame.at
        if self._engine is None:
            take.reason = ""
            return True
        judged = self._engine.look(frame.image)
        take.reason = judged.reason
        if judged.face is None or judged.reason in quality.HARD:
            return False
        embedding = self._engine.embed(frame.image, judged.face)
        if judged.reason:
            take.fallback, take.fallback_embedding = frame, embedding
            return False
        take.embeddings.append(embedding)
        if judged.rank > take.rank:
            take.best, take.rank = frame, judged.rank
        return True

    def _result(
        self, take: Take, card: NDArray[np.uint8] | None, known: Embedding | None, verdict: FaceVerdict | None
    ) -> Result:
        frame = take.best or take.last
        if verdict is None:
            verdict = not_verified(self._why_not(take, card, known))
        return Result(verdict, frame, card, take.reason)

    def _why_not(self, take: Take, card: NDArray[np.uint8] | None, known: Embedding | None) -> str:
        if card is None:
            return "photo_undecoded"
        if self._engine is None:
            return "engine_none" if self._face.engine == "none" else "engine_missing"
        return "card_no_face" if known is None else take.reason


def _decoded(picture: bytes) -> NDArray[np.uint8] | None:
    if not picture:
        return None
    try:
        return images.decode(picture)
    except PhotoError:
        return None


def encoded(picture: NDArray[np.uint8] | None, limits: Images) -> bytes:
    """Return a picture as it will be sent, b"" for none."""
    if picture is None:
        return b""
    return images.encode(picture, limits.target_bytes, limits.max_base64_chars // 4 * 3)
