"""What an attempt consists of: photo, pictures and comparison, aside; then the record, durable at once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta

from agent import logs
from agent.audit import Audit
from agent.board import Board
from agent.clock import Clock, Uptime
from agent.config.schema import Config
from agent.outbox import Outbox
from agent.records import FaceResult, Hold, PictureKind
from agent.station import events
from agent.station.flow import KEPT, KEPT_HELD, KEPT_UNDECODED
from agent.station.loan import Loan
from agent.verify import reasons_to_hold, verify
from agent.vision.process import Observation, Vision
from drivers.card import CardRecord
from drivers.errors import CodedError, PhotoError
from drivers.photo import PhotoDecoder
from drivers.sdt.reader import SdtReader

log = logs.get(__name__)

#: How long the woman is asked to look at the camera, each try.
LOOK_S = 8.0

COMPARED = {FaceResult.PASSED: "I2001", FaceResult.FAILED: "I2003", FaceResult.NOT_VERIFIED: "I2004"}
#: What the registrar's list and the journal say of a record that did not pass.
TOLD = {FaceResult.FAILED: "W2001", FaceResult.NOT_VERIFIED: "W2002"}


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
    uptime: Callable[[], Uptime | None]  # this moment, where the clock cannot be trusted
    record_kept: Callable[[], None]  # wakes the uploader
    operator: Callable[[], str | None]  # who operates the desk now
    loan: Loan = field(default_factory=Loan)  # where whoever tests the reader asks for a card


class Work:
    """Carries out the long effects of the flow."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def look(self, presented: events.Presented, since: float) -> events.DeskEvent:
        """Decode the card's photo, take pictures, compare. Runs beside the loop, which watches the reader.

        AgentError E2301 to E2303 of the vision process.
        """
        parts, attempt = self._parts, presented.attempt
        parts.board.event("I1004", attempt=attempt, kind=presented.card.kind.value)
        picture = self._decoded(presented.card)
        observation = parts.vision.observe(picture, since, LOOK_S)
        verdict = observation.verdict
        parts.board.event(
            COMPARED[verdict.result],
            attempt=attempt,
            score="-" if verdict.score is None else verdict.score,
            reason=verdict.reason or observation.reason or "-",
        )
        return events.Looked(attempt, observation)

    def _decoded(self, card: CardRecord) -> bytes | None:
        """Return the chip's picture, or None: then the record is held and completes when a decoder works."""
        board = self._parts.board
        try:
            picture = self._parts.decoder.decode(card.photo_block)
        except PhotoError as error:
            logs.say_error(log, error)
            board.event(error.code, **error.facts)
            board.post("decoder", state="down", code=error.code, facts=dict(error.facts))
            return None
        board.post("decoder", state="ok")
        return picture

    def keep(self, presented: events.Presented, observation: Observation) -> events.Kept | events.NotKept:
        """Make the record and put it into the outbox."""
        parts, card, attempt = self._parts, presented.card, presented.attempt
        config = parts.config()
        age, uptime = self._age(observation), parts.uptime()
        if uptime is not None:
            uptime = replace(uptime, monotonic_s=uptime.monotonic_s - age.total_seconds())
        verification = verify(
            card,
            observation.verdict,
            record_id=attempt,
            verified_at=parts.clock.now() - age,
            uptime=uptime,
            operator=parts.operator(),
            device=config.device,
        )
        pictures = _pictures(card, observation)
        holds = reasons_to_hold(verification, pictures, config.platform.conventions.substitutes)
        try:
            parts.outbox.put(verification, pictures, person=parts.pseudonyms.full(card.number), holds=holds)
        except CodedError as error:
            logs.say_error(log, error, attempt=attempt)
            parts.board.event(error.code, **error.facts)
            return events.NotKept(attempt, error.code)
        # What waits for the clock alone is nobody's work at the desk.
        holds = {hold: missing for hold, missing in holds.items() if hold is not Hold.CLOCK}
        self._told_kept(attempt, card, observation, holds=len(holds))
        # The same whatever the result: the screen stands where the woman and the queue behind her see it.
        return events.Kept(attempt, _kept(holds))

    def _told_kept(self, attempt: str, card: CardRecord, observation: Observation, *, holds: int) -> None:
        parts, result = self._parts, observation.verdict.result
        person = parts.pseudonyms.of(card.number)
        name = result.name.lower()
        self.noted(lambda: parts.audit.append("record.accepted", who="station", target=attempt, result=name))
        logs.say(log, KEPT_HELD if holds else KEPT, record=attempt, person=person, holds=holds)
        parts.board.event(KEPT, record=attempt, person=person)
        if result is not FaceResult.PASSED:
            logs.say(log, TOLD[result], record=attempt, person=person)
            parts.board.event(TOLD[result], record=attempt)
        score = observation.verdict.score
        parts.board.post("last", state=name, record=attempt, score=score, held=holds > 0)
        parts.record_kept()

    def _age(self, observation: Observation) -> timedelta:
        taken_at = observation.taken_at_monotonic
        if taken_at is None:
            return timedelta()
        return timedelta(seconds=max(0.0, self._parts.clock.monotonic() - taken_at))

    def noted(self, note: Callable[[], None]) -> None:
        """Write what is not the record itself: if that fails IT is told, and the desk goes on."""
        try:
            note()
        except CodedError as error:
            logs.say_error(log, error)
            self._parts.board.event(error.code, **error.facts)


def _kept(holds: Collection[Hold]) -> str:
    """Return the sentence for a record that is kept: a decoder that does not work is IT's to mend."""
    if Hold.CARD_PICTURE in holds:
        return KEPT_UNDECODED
    return KEPT_HELD if holds else KEPT


def _pictures(card: CardRecord, observation: Observation) -> dict[PictureKind, bytes]:
    found = {
        PictureKind.CAMERA: observation.camera_jpeg,
        PictureKind.CARD: observation.card_jpeg,
        PictureKind.PHOTO_BLOCK: card.photo_block,
    }
    return {kind: picture for kind, picture in found.items() if picture}
