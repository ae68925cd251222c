"""One attempt in the vision process: from a card's picture and a live camera to a picture and a verdict.

Only frames taken after the card was presented, and at most WINDOW_S later, count. The best good frames - all
gates passed, apart in time, of one face - are averaged; a comparison below the threshold is repeated with
fresh ones. When a try's time runs out the best of what there was is used, with a flag, but never a frame
without exactly one face.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from agent import images
from agent.config.schema import Face, Images
from agent.face import engine as faces
from agent.face import quality
from agent.face.engine import Engine, not_verified
from agent.face.recogniser import Embedding
from agent.face.score import threshold_of
from agent.records import FaceResult, FaceVerdict, FrameQuality, Try
from agent.vision.camera import LiveCamera
from agent.vision.choose import APART_S, FRAMES, Candidate, Choice, Encode, Shot, choose, keep
from agent.vision.protocol import WINDOW_S
from drivers.camera import Frame
from drivers.errors import PhotoError

#: Detection at most five times a second.
LOOK_EVERY_S = 0.2
#: A camera that is down is not waited for as long as one that shows nobody.
CAMERA_PATIENCE_S = 2.0
#: Reasons of `Result` that the frames themselves do not have.
CAMERA_MISSING, DISAGREE, FEW = "camera_missing", "frames_disagree", "few_frames"
#: The camera works, but no frame came between the card and the end of its time.
TOO_LATE = "too_late"


@dataclass(frozen=True)
class Seen:
    """The newest judged frame, for whoever watches: reason "" is good; box in pixels of the frame."""

    frame: Frame
    reason: str
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class Result:
    """What one attempt brought. `camera` is the picture to send, None when there was none at all."""

    verdict: FaceVerdict
    camera: Shot | None
    card: NDArray[np.uint8] | None = field(repr=False)
    reason: str
    aborted: bool = False


@dataclass
class Take:
    """The frames of one attempt; the candidates are those of the try under way."""

    candidates: list[Candidate] = field(default_factory=list)
    best: Shot | None = None  # what is sent
    last: Frame | None = None
    reason: str = CAMERA_MISSING
    best_effort: bool = False
    tries: list[Try] = field(default_factory=list)


class Observer:
    """Carries out attempts, one at a time. `encode` makes of a frame what is sent of it.

    `abandoned`: somebody said stop; `seen` hears of each look.
    """

    def __init__(
        self,
        camera: LiveCamera,
        engine: Engine | None,
        face: Face,
        encode: Encode,
        abandoned: Callable[[], bool],
        seen: Callable[[Seen], None] = lambda seen: None,
    ) -> None:
        self._camera = camera
        self._engine = engine
        self._face = face
        self._encode = encode
        self._abandoned = abandoned
        self._seen = seen

    def observe(self, card_picture: bytes, presented_at: float, limit_s: float) -> Result:
        """Return picture and verdict for one card; `limit_s` is the time of each try."""
        card = _decoded(card_picture)
        known = None if self._engine is None or card is None else self._engine.card(card)
        last_moment = presented_at + WINDOW_S
        since, verdict, take = presented_at, None, Take()
        while len(take.tries) < self._face.attempts:
            deadline = min(time.monotonic() + limit_s, last_moment)
            choice = self._collect(take, since, deadline)
            if known is None or self._engine is None or not choice.frames:
                break
            verdict = self._compared(take, known, choice, presented_at)
            if verdict.result is FaceResult.PASSED or time.monotonic() >= last_moment or self._abandoned():
                break
            since, take.candidates = take.candidates[-1].at, []
            if take.best is not None:
                take.best.jpeg()  # a fresh try needs the room
        return self._result(take, card, known, verdict)

    def _collect(self, take: Take, since: float, deadline: float) -> Choice:
        """Look until enough good frames are there, or time is up. Return what is to be compared."""
        first_look, take.best_effort = time.monotonic(), False
        while not self._abandoned():
            left = deadline - time.monotonic()
            frame = self._camera.after(since, min(max(left, 0.0), LOOK_EVERY_S * 2))
            if frame is not None and frame.at <= deadline:
                since = frame.at + LOOK_EVERY_S
                self._look(take, frame)
                choice = self._enough(take)
                if choice is not None:
                    return choice
            if left <= 0:
                break
            if frame is None and not self._camera.up and time.monotonic() - first_look > CAMERA_PATIENCE_S:
                break
            if self._engine is None and take.last is not None:
                break
        if take.last is None and self._camera.up:
            take.reason = TOO_LATE
        return Choice(()) if self._abandoned() else self._best_effort(take)

    def _look(self, take: Take, frame: Frame) -> None:
        """Judge one frame, and keep it if there is one face on it."""
        take.last, take.reason = frame, ""
        if self._engine is None:
            self._seen(Seen(frame, "", None))
            return
        judged = self._engine.look(frame.image)
        take.reason = judged.reason
        self._seen(Seen(frame, judged.reason, None if judged.face is None else judged.face.box))
        if judged.face is not None and judged.quality is not None and judged.reason not in quality.HARD:
            crop = self._engine.crop(frame.image, judged.face)
            shot = Shot(frame, self._encode)
            keep(take.candidates, Candidate(shot, crop, judged.quality, judged.reason))

    def _enough(self, take: Take) -> Choice | None:
        """Return the good frames once there are FRAMES of one face with as many looks between as may be."""
        good = [one for one in take.candidates if not one.reason]
        if len(good) < FRAMES or good[-1].at - good[0].at < (FRAMES - 1) * APART_S:
            return None
        choice = choose(good, self._embedded)
        return choice if len(choice.frames) == FRAMES else None

    def _best_effort(self, take: Take) -> Choice:
        """Return what there was when time ran out: at worst nothing, and the reason why."""
        if not take.candidates:
            return Choice(())
        choice = choose(take.candidates, self._embedded)
        if choice.disagreed and len(choice.frames) < FRAMES - 1:
            # As many faces as frames: nobody can say whose card this is.
            take.reason = DISAGREE
            return Choice(())
        take.best_effort = True
        take.reason = choice.frames[0].reason or FEW
        return choice

    def _embedded(self, one: Candidate) -> Embedding:
        if one.embedding is None:
            if self._engine is None:
                raise ValueError("candidates without an engine")
            one.embedding = self._engine.embed_crop(one.crop)
        return one.embedding

    def _compared(self, take: Take, known: Embedding, choice: Choice, presented_at: float) -> FaceVerdict:
        """Compare the chosen frames with the card, and note the try."""
        if self._engine is None:
            raise ValueError("a comparison without an engine")
        live = [self._embedded(one) for one in choice.frames]
        verdict = faces.compare(self._engine, known, live, threshold_of(self._face))
        measured = tuple(_measured(one, presented_at) for one in choice.frames)
        take.tries.append(Try(verdict.cosine or 0.0, verdict.score or 0.0, measured))
        take.best = choice.frames[0].shot
        return replace(
            verdict, attempts=len(take.tries), tries=tuple(take.tries), best_effort=take.best_effort
        )

    def _result(
        self, take: Take, card: NDArray[np.uint8] | None, known: Embedding | None, verdict: FaceVerdict | None
    ) -> Result:
        if verdict is None:
            verdict = not_verified(self._why_not(take, card, known))
            take.best = self._best_picture(take)
        reason = take.reason if verdict.result is FaceResult.NOT_VERIFIED or verdict.best_effort else ""
        return Result(verdict, take.best, card, reason, aborted=self._abandoned())

    def _why_not(self, take: Take, card: NDArray[np.uint8] | None, known: Embedding | None) -> str:
        if card is None:
            return "photo_undecoded"
        if self._engine is None:
            return "engine_none" if self._face.engine == "none" else "engine_missing"
        return "card_no_face" if known is None else take.reason

    def _best_picture(self, take: Take) -> Shot | None:
        """Return what to send where nothing was compared: the best one of a face, else the last one."""
        if take.candidates:
            return max(take.candidates, key=lambda one: one.order).shot
        return None if take.last is None else Shot(take.last, self._encode)


def _measured(one: Candidate, presented_at: float) -> FrameQuality:
    found = one.quality
    return FrameQuality(
        after_ms=round((one.at - presented_at) * 1000),
        eye_px=round(found.eye_px, 1),
        roll_deg=round(found.roll_deg, 1),
        yaw=round(found.yaw, 3),
        pitch=round(found.pitch, 3),
        brightness=round(found.brightness, 1),
        burnt=round(found.burnt, 4),
        sharpness=round(found.sharpness, 3),
        reason=one.reason,
    )


def _decoded(picture: bytes) -> NDArray[np.uint8] | None:
    if not picture:
        return None
    try:
        return images.decode(picture)
    except PhotoError:
        return None


def encoded(picture: NDArray[np.uint8], limits: Images) -> bytes:
    """Return a picture as it will be sent."""
    return images.encode(picture, limits.target_bytes, limits.max_base64_chars // 4 * 3)
