"""The loop at the desk: polls the reader, carries out what the flow decides, keeps what was verified.

Nothing here waits for the network. Until the outbox says that a record is durable nothing of the card
is kept but the sealed mark of an opened attempt; after it, the record no longer needs this loop.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from agent import logs
from agent.audit import Audit
from agent.board import Board
from agent.clock import Clock
from agent.config.schema import Config
from agent.heartbeat import Heartbeat
from agent.outbox import Outbox
from agent.records import FaceResult, PictureKind
from agent.station import flow
from agent.station import watch as watching
from agent.station.memory import ReaderMemory
from agent.verify import reasons_to_hold, verify
from agent.vision import Observation, Vision
from drivers.card import CardRecord
from drivers.errors import CodedError, PhotoError
from drivers.photo import PhotoDecoder
from drivers.sdt.reader import SdtReader

log = logs.get(__name__)

#: How long the woman is asked to look at the camera.
LOOK_S = 8.0
#: What a decoder and a face engine may take beyond that before the loop counts as hung.
LOOK_GRACE_S = 30.0

COMPARED = {FaceResult.PASSED: "I2001", FaceResult.FAILED: "I2003", FaceResult.NOT_VERIFIED: "I2004"}


@dataclass(frozen=True)
class Parts:
    """What the station works with; everything comes from outside, so that a test can bring its own."""

    config: Callable[[], Config]
    open_reader: Callable[[], SdtReader]
    decoder: PhotoDecoder
    vision: Vision
    outbox: Outbox
    audit: Audit
    board: Board
    clock: Clock
    pseudonyms: logs.Pseudonyms
    clock_trusted: Callable[[], bool]
    record_kept: Callable[[], None]  # wakes the uploader


class Station:
    """Drives `flow` with a real reader, camera and outbox. One thread."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._desk = flow.Desk()
        self._watch = self._fresh_watch()
        self._told: str | None = None
        self._cut_off = False
        self._full = False
        self._heartbeat: Heartbeat | None = None

    def run(self, heartbeat: Heartbeat, stop: threading.Event) -> None:
        """Serve the desk until `stop` is set."""
        self._heartbeat = heartbeat
        self._start_afresh()
        try:
            while not stop.is_set():
                heartbeat.beat()
                stop.wait(self._turn())
        finally:
            self._watch.close()

    def _start_afresh(self) -> None:
        """Forget an attempt that an earlier run of this loop died over: the woman is asked again."""
        self._cut_off = bool(self._desk.attempt)
        if self._cut_off:
            self._noted(lambda: self._parts.outbox.close_attempt(self._desk.attempt))
        self._desk = flow.Desk()
        self._watch = self._fresh_watch()

    def _fresh_watch(self) -> watching.ReaderWatch:
        parts = self._parts
        return watching.ReaderWatch(
            watching.Means(
                open_reader=parts.open_reader,
                memory=ReaderMemory(parts.outbox, parts.audit, parts.pseudonyms, parts.clock),
                monotonic=parts.clock.monotonic,
                interval_s=lambda: parts.config().reader.poll_interval_s,
                may_read=self._room,
            )
        )

    def _turn(self) -> float:
        """Look once what became of reader and card. Return the seconds until the next look."""
        for happening in self._watch.turn():
            self._take(happening)
        return self._watch.wait_s

    def _take(self, happening: watching.Happening) -> None:
        match happening:
            case watching.Up(sam_id):
                self._reader_up(sam_id)
            case watching.Down(error):
                self._reader_down(error)
            case watching.Presented(card, at):
                self._parts.outbox.clear_interrupted()
                self._cut_off = False
                self._handle(flow.CardRead(uuid.uuid4().hex, card, at))
            case watching.NotAgain(code):
                logs.say(log, code)
                self._parts.board.event(code)
                self._handle(flow.CardUnreadable(code))
            case watching.Unreadable(error):
                logs.say_error(log, error)
                self._parts.board.event(error.code, **error.facts)
                self._handle(flow.CardUnreadable(error.code))
            case watching.Lifted():
                pass

    def _reader_up(self, sam_id: str) -> None:
        self._told = None
        logs.say(log, "I1003", port=self._parts.config().reader.port)
        self._parts.board.post("reader", state="ok", sam_id=sam_id)
        interrupted = self._cut_off or bool(self._parts.outbox.interrupted())
        self._handle(flow.ReaderUp(interrupted))

    def _reader_down(self, error: CodedError) -> None:
        # The same fault of the same reader is told once, not once a second.
        if self._told != error.code:
            self._told = error.code
            logs.say_error(log, error)
            self._parts.board.event(error.code, **error.facts)
        self._parts.board.post("reader", state="down", code=error.code)
        self._handle(flow.ReaderLost(error.code))

    def _room(self) -> bool:
        """Return whether a record would be kept; if not, say so before a woman is asked to look up."""
        try:
            self._parts.outbox.accepting()
        except CodedError as error:
            if not self._full:
                logs.say_error(log, error)
                self._parts.board.event(error.code, **error.facts)
            self._full = True
            self._handle(flow.CardUnreadable(error.code))
            return False
        self._full = False
        return True

    # --- effects ------------------------------------------------------------------------------------

    def _handle(self, event: flow.DeskEvent) -> None:
        """Advance the flow, carry out its effects, and feed back what they bring, until nothing is left."""
        pending = [event]
        while pending:
            self._desk, effects = flow.advance(self._desk, pending.pop(0))
            for effect in effects:
                answer = self._perform(effect)
                if answer is not None:
                    pending.append(answer)

    def _perform(self, effect: flow.Effect) -> flow.DeskEvent | None:
        match effect:
            case flow.Show(light, code):
                self._parts.board.post("screen", state=light.value, code=code)
            case flow.OpenAttempt(attempt):
                self._noted(lambda: self._parts.outbox.open_attempt(attempt))
            case flow.CloseAttempt(attempt):
                self._noted(lambda: self._parts.outbox.close_attempt(attempt))
            case flow.Look(attempt, card, presented_at):
                return self._look(attempt, card, presented_at)
            case flow.Keep(attempt, card, observation):
                return self._keep(attempt, card, observation)
        return None

    def _noted(self, note: Callable[[], None]) -> None:
        """Write what is not the record itself: if that fails IT is told, and the desk goes on."""
        try:
            note()
        except CodedError as error:
            logs.say_error(log, error)
            self._parts.board.event(error.code, **error.facts)

    def _look(self, attempt: str, card: CardRecord, presented_at: float) -> flow.DeskEvent:
        parts = self._parts
        parts.board.event("I1004", attempt=attempt, kind=card.kind.value)
        limit = LOOK_S + LOOK_GRACE_S + parts.config().reader.photo_decoder.timeout_s
        with self._silence(limit):
            picture = self._decoded(card)
            try:
                observation = parts.vision.observe(picture, presented_at, LOOK_S)
            except CodedError as error:
                logs.say_error(log, error, attempt=attempt)
                return flow.LookFailed(attempt, error.code)
        verdict = observation.verdict
        parts.board.event(
            COMPARED[verdict.result],
            attempt=attempt,
            score="-" if verdict.score is None else verdict.score,
            reason=verdict.reason or observation.reason or "-",
        )
        return flow.Looked(attempt, observation)

    def _decoded(self, card: CardRecord) -> bytes | None:
        """Return the chip's picture, or None: then the record is held and completes when a decoder works."""
        try:
            return self._parts.decoder.decode(card.photo_block)
        except PhotoError as error:
            logs.say_error(log, error)
            self._parts.board.event(error.code, **error.facts)
            return None

    def _keep(self, attempt: str, card: CardRecord, observation: Observation) -> flow.DeskEvent:
        parts = self._parts
        config = parts.config()
        verification = verify(
            card,
            observation.verdict,
            record_id=attempt,
            verified_at=parts.clock.now() - self._age(observation),
            clock_trusted=parts.clock_trusted(),
            operator=config.operators.default,
            device=config.device,
        )
        pictures = _pictures(card, observation)
        holds = reasons_to_hold(verification, pictures, config.platform.conventions.substitutes)
        try:
            parts.outbox.put(verification, pictures, person=parts.pseudonyms.full(card.number), holds=holds)
        except CodedError as error:
            logs.say_error(log, error, attempt=attempt)
            parts.board.event(error.code, **error.facts)
            return flow.NotKept(attempt, error.code)
        self._watch.kept(card)
        self._told_kept(attempt, card, observation, holds=len(holds))
        return flow.Kept(attempt, len(holds))

    def _told_kept(self, attempt: str, card: CardRecord, observation: Observation, *, holds: int) -> None:
        parts = self._parts
        result = observation.verdict.result
        person = parts.pseudonyms.of(card.number)
        name = result.name.lower()
        self._noted(lambda: parts.audit.append("record.accepted", who="station", target=attempt, result=name))
        logs.say(log, "I3002" if holds else "I3001", record=attempt, person=person, holds=holds)
        parts.board.event("I3001", record=attempt, person=person)
        if result is not FaceResult.PASSED:
            code = "W2001" if result is FaceResult.FAILED else "W2002"
            logs.say(log, code, record=attempt, person=person)
            parts.board.event(code, record=attempt)
        parts.record_kept()

    def _age(self, observation: Observation) -> timedelta:
        taken_at = observation.taken_at_monotonic
        if taken_at is None:
            return timedelta()
        return timedelta(seconds=max(0.0, self._parts.clock.monotonic() - taken_at))

    def _silence(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        heartbeat = self._heartbeat
        return contextlib.nullcontext() if heartbeat is None else heartbeat.silence(seconds)


def _pictures(card: CardRecord, observation: Observation) -> dict[PictureKind, bytes]:
    found = {
        PictureKind.CAMERA: observation.camera_jpeg,
        PictureKind.CARD: observation.card_jpeg,
        PictureKind.PHOTO_BLOCK: card.photo_block,
    }
    return {kind: picture for kind, picture in found.items() if picture}
