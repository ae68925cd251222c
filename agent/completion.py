"""Held records: looks again whenever something may have changed, and completes what can be completed.

A record is completed by appended supplements, never by rewriting it: the time stays that of the pictures.
A card's picture that could not be decoded at the desk is compared as soon as it can; the late verdict is a
supplement, and a late "failed" an alarm and a case for follow-up. What only a person can supply (who was the
operator, which nation) stays held until that person does.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from agent import inservice, logs
from agent.audit import Audit
from agent.board import Board
from agent.catalogue import AgentError
from agent.clock import Clock, Uptime, signed
from agent.config.schema import Config
from agent.heartbeat import Heartbeat
from agent.operators import SignedIn
from agent.outbox import HeldRecord, Outbox
from agent.outbox.followups import Person
from agent.records import (
    FACE,
    VERIFIED_AT,
    FaceResult,
    FaceVerdict,
    Hold,
    PictureKind,
    Supplement,
    Verification,
)
from agent.verify import reasons_to_hold
from agent.vision.pictures import LIMIT_S, PASSING
from drivers.errors import PhotoError
from drivers.photo import PhotoDecoder

log = logs.get(__name__)

#: The vision process may be dead for a while; after so many rounds a record goes without its comparison.
COMPARE_ROUNDS = 20
BUSY = "E2305"
FULL = "E3102"
UNDECODED = "photo_undecoded"
#: How often held records are looked at again without anybody asking.
ROUND_S = 30.0
#: Who supplements, where no person does; the source says where the value came from.
WHO = "completion"
_CONFIG, _SIGNED_IN, _CLOCK = "configuration", "sign-in", "clock"


@dataclass(frozen=True)
class Parts:
    """What completion works with."""

    config: Callable[[], Config]
    decoder: PhotoDecoder
    encoded: Callable[[bytes, int, int], bytes]  # a decoder's picture as a JPEG: aim and bound in bytes
    outbox: Outbox
    audit: Audit
    board: Board
    clock: Clock
    record_ready: Callable[[], None]
    operator: Callable[[], SignedIn | None] = lambda: None  # who operates the desk now
    #: Card's and camera's JPEG to a verdict; AgentError while that is not possible.
    compare: Callable[[bytes, bytes], FaceVerdict] | None = None
    true_time: Callable[[Uptime], datetime | None] = lambda _moment: None


class Completion:
    """Looks at held records again. One thread; `wake` may be called from any."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._wake = threading.Event()
        self._checked_with: Config | None = None
        self._uncompared: dict[str, int] = {}  # record -> rounds that its comparison has waited

    def wake(self) -> None:
        """Say that something changed: a supplement came, the configuration was reloaded."""
        self._wake.set()

    def run(self, heartbeat: Heartbeat, stop: threading.Event) -> None:
        """Complete what can be completed until `stop` is set."""
        while not stop.is_set():
            self._wake.clear()
            self.round(heartbeat, stop)
            with heartbeat.silence(ROUND_S):
                self._wake.wait(ROUND_S)

    def round(self, heartbeat: Heartbeat, stop: threading.Event) -> None:
        """Look once at every held record; a decoder that fails on one is not tried on the next."""
        decoder_works = True
        config = self._parts.config()
        for held in self._parts.outbox.held():
            if stop.is_set():
                return
            with (
                self._parts.outbox.guarded(held.id),
                heartbeat.silence(config.reader.photo_decoder.timeout_s + 2 * LIMIT_S),
            ):
                if Hold.CARD_PICTURE in held.holds and decoder_works:
                    decoder_works = self._add_card_picture(held)
                self._look_again(held, config)
        self._checked_with = config

    def _add_card_picture(self, held: HeldRecord) -> bool:
        """Decode the kept photo block. Return whether the decoder works."""
        parts = self._parts
        block = parts.outbox.picture(held.id, PictureKind.PHOTO_BLOCK)
        if block is None:
            return True
        limits = parts.config().images
        try:
            picture = parts.decoder.decode(block)
            jpeg = parts.encoded(picture, limits.target_bytes, limits.max_base64_chars // 4 * 3)
        except PhotoError as error:
            parts.board.post("decoder", state="down", code=error.code, facts=dict(error.facts))
            return False
        except AgentError as error:
            if error.code not in PASSING:
                raise
            return False  # told where it arose; the next round looks again
        parts.board.post("decoder", state="ok")
        if self._compared(held, jpeg):
            self._add(held, jpeg)
        return True

    def _add(self, held: HeldRecord, jpeg: bytes) -> None:
        """Keep the card's picture; on a full disk a later round does."""
        try:
            self._parts.outbox.add_picture(held.id, PictureKind.CARD, jpeg)
        except AgentError as error:
            if error.code != FULL:
                raise
            log.debug("no room for a card's picture")
            return
        self._parts.audit.append("record.supplemented", who=WHO, target=held.id, field="picture:card")

    def _compared(self, held: HeldRecord, card: bytes) -> bool:
        """Make the comparison that the desk could not. Return whether the record is done with it.

        The verdict is kept before the picture: cut off in between, the record is compared again.
        """
        parts, verification = self._parts, self._parts.outbox.verification(held.id)
        camera = parts.outbox.picture(held.id, PictureKind.CAMERA)
        if parts.compare is None or camera is None or verification.face.reason != UNDECODED:
            return True
        try:
            verdict = parts.compare(card, camera)
        except AgentError as error:
            log.debug("late comparison not possible: %s", error.code)
            if error.code == BUSY:
                return False
            waited = self._uncompared[held.id] = self._uncompared.get(held.id, 0) + 1
            return waited >= COMPARE_ROUNDS
        self._uncompared.pop(held.id, None)
        value = json.dumps(verdict.to_values())
        parts.outbox.supplement(held.id, Supplement(FACE, value, WHO, parts.clock.now()))
        result = verdict.result.name.lower()
        parts.audit.append(
            "record.supplemented", who=WHO, target=held.id, field=FACE, result=result, durable=True
        )
        if verdict.result is FaceResult.FAILED:
            person = Person(verification.name, verification.number)
            parts.outbox.followups.reopen(held.id, "failed", person)
            parts.audit.append("followup.opened", who=WHO, target=held.id, reason="failed")
            logs.say(log, "W2003", record=held.id)
            parts.board.event("W2003", record=held.id)
        return True

    def _look_again(self, held: HeldRecord, config: Config) -> None:
        parts = self._parts
        operator = parts.operator()
        if Hold.OPERATOR in held.holds and operator is not None:
            self._supplement(held.id, "operator", operator.name, operator.by, _SIGNED_IN)
        elif Hold.OPERATOR in held.holds and config.operators.default is not None:
            self._supplement(held.id, "operator", config.operators.default, WHO, _CONFIG)
        verification = parts.outbox.verification(held.id)
        if Hold.CLOCK in held.holds and self._put_right(verification):
            verification = parts.outbox.verification(held.id)
        substitutes = config.platform.conventions.substitutes
        holds = dict(reasons_to_hold(verification, parts.outbox.picture_kinds(held.id), substitutes))
        if Hold.FIELD in held.holds and config is self._checked_with:
            # Rendering found this fault under this very configuration, and would find it again.
            holds[Hold.FIELD] = held.holds[Hold.FIELD]
        if inservice.out_of_service(parts.outbox, verification) is not None:
            holds[Hold.DEVICE] = inservice.CODE
        if holds == held.holds:
            return
        parts.outbox.rehold(held.id, holds)
        if not holds:
            logs.say(log, "I3003", record=held.id)
            parts.board.event("I3003", record=held.id)
            parts.record_ready()

    def _put_right(self, verification: Verification) -> bool:
        """Give a record its true time, once the clock of its boot is known; the first one stays beside it."""
        moment = verification.uptime
        true = None if moment is None else self._parts.true_time(moment)
        if true is None or verification.clock_trusted:
            return False
        off_s = (true - verification.verified_at).total_seconds()
        self._supplement(verification.id, VERIFIED_AT, true.isoformat(), WHO, _CLOCK)
        logs.say(log, "I7501", record=verification.id, seconds=signed(off_s))
        self._parts.board.event("I7501", record=verification.id, seconds=signed(off_s))
        return True

    def _supplement(self, record: str, field: str, value: str, who: str, source: str) -> None:
        parts = self._parts
        parts.outbox.supplement(record, Supplement(field, value, who, parts.clock.now()))
        parts.audit.append("record.supplemented", who=who, target=record, field=field, source=source)
