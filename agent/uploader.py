"""The loop to the platform: claim one record, render, sign, send, judge, settle. One record at a time.

Order of things that must not change: the claim and its attempt row are committed before a byte is
sent, and the receipt before the record counts as delivered. Kill the process between any two steps and
the record goes out - once, or, when only the answer was lost, again with the same request id.

A refusal is not believed to be the record's fault until another record was accepted after it: a wrong
clock or secret refuses everybody, and must not empty the queue into the parked pile.
"""

from __future__ import annotations

import json
import random
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from agent import backoff, logs
from agent.audit import Audit
from agent.backoff import Bucket
from agent.board import Board
from agent.breaker import Breaker
from agent.catalogue import AgentError
from agent.clock import Clock
from agent.config.schema import Config, Conventions
from agent.heartbeat import Heartbeat
from agent.hmpt.client import PlatformClient
from agent.outbox import (
    Claim,
    Outbox,
    SettleDelivered,
    SettleHeld,
    SettleLater,
    Settlement,
    SettleParked,
)
from agent.records import Delivered, Hold, Outcome, PictureKind, PlatformDown, Refused, Unknown

log = logs.get(__name__)

#: A quiet queue is looked at this often, should a wake-up ever be missed.
IDLE_S = 1.0
#: Records that may leave without waiting for the drain rate: today's desk is never slowed by it.
BURST = 5
#: How long the answer of a hanging send may take beyond its own limits before the loop counts as hung.
SEND_GRACE_S = 30.0

#: Our own configuration keeps every record from being sent: the secret does not fit a convention.
LANE_FAULTS = frozenset({"E7401", "E3122"})

_BREAKER = "breaker"


@dataclass(frozen=True)
class Parts:
    """What the uploader works with."""

    config: Callable[[], Config]
    client: PlatformClient
    outbox: Outbox
    audit: Audit
    board: Board
    clock: Clock
    rng: random.Random
    pseudonym: Callable[[str], str]


@dataclass
class _Suspects:
    """Refused records, and whether anybody else was accepted since: who else is refused decides."""

    refused: dict[str, int] = field(default_factory=dict)  # record -> successes seen at its first refusal
    successes: int = 0

    def judge(self, record: str) -> bool:
        """Return whether the refusal is this record's own: others passed since it was first refused."""
        first = self.refused.setdefault(record, self.successes)
        return self.successes > first

    def accepted(self, record: str) -> None:
        """Note that a record was accepted."""
        self.successes += 1
        self.refused.pop(record, None)


@dataclass(frozen=True)
class _Rates:
    """How fast records may leave, and how many of them may be second tries."""

    drain_per_minute: int
    budget_per_hour: int
    pace: Bucket
    retries: Bucket

    @classmethod
    def of(cls, config: Config, now: float) -> _Rates:
        """Return full buckets for the configured rates."""
        drain, budget = config.platform.drain_per_minute, config.platform.retry_budget_per_hour
        pace = Bucket.full(drain / 60, BURST, now)
        return cls(drain, budget, pace, Bucket.full(budget / 3600, max(BURST, budget / 6), now))

    def under(self, config: Config, now: float) -> _Rates:
        """Return these rates, or fresh ones after the configured rates changed."""
        configured = (config.platform.drain_per_minute, config.platform.retry_budget_per_hour)
        return self if configured == (self.drain_per_minute, self.budget_per_hour) else _Rates.of(config, now)

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next record may leave."""
        return max(self.pace.wait_s(now), self.retries.wait_s(now))

    def taken(self, now: float, *, again: bool) -> _Rates:
        """Return the rates after a record left."""
        retries = self.retries.taken(now) if again else self.retries
        return replace(self, pace=self.pace.taken(now), retries=retries)


class Uploader:
    """Delivers what waits. One thread; `wake` may be called from any."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._wake, self._changed = threading.Event(), threading.Event()
        self._breaker = Breaker.from_json(parts.outbox.setting(_BREAKER))
        self._suspects = _Suspects()
        self._rates = _Rates.of(parts.config(), parts.clock.monotonic())

    def wake(self) -> None:
        """Say that a record was kept."""
        self._wake.set()

    def reconsider(self) -> None:
        """Say that the configuration changed: whatever waits may be tried at once."""
        self._changed.set()
        self._wake.set()

    def run(self, heartbeat: Heartbeat, stop: threading.Event) -> None:
        """Deliver until `stop` is set."""
        # Should an earlier run of this loop have died over a record, nobody else is sending it now.
        self._parts.outbox.return_abandoned()
        self._post()
        while not stop.is_set():
            heartbeat.beat()
            wait_s = self._turn(heartbeat, stop)
            if wait_s > 0 and not stop.is_set():
                self._wake.wait(min(wait_s, IDLE_S))
            self._wake.clear()

    def _turn(self, heartbeat: Heartbeat, stop: threading.Event) -> float:
        """Do one thing that is due. Return the seconds that nothing can be done."""
        parts = self._parts
        if self._changed.is_set():
            self._changed.clear()
            parts.outbox.make_due()
            self._lane(Breaker())
        self._rates = self._rates.under(parts.config(), parts.clock.monotonic())
        wait_s = max(self._breaker.wait_s(parts.clock.now()), self._rates.wait_s(parts.clock.monotonic()))
        if wait_s > 0:
            return wait_s
        limits = parts.config().platform
        with heartbeat.silence(limits.connect_timeout_s + limits.answer_timeout_s + SEND_GRACE_S):
            try:
                return self._next(stop)
            except AgentError as error:
                if error.code not in LANE_FAULTS:
                    raise
                parts.outbox.return_abandoned()
                self._lane_failed(error.code, None, "", **error.facts)
        return 0.0

    def _next(self, stop: threading.Event) -> float:
        """Register, or send the next record. Return the seconds that nothing is to be done."""
        outbox = self._parts.outbox
        if not self._registered():
            self._register(stop)
            return 0.0
        claim = outbox.claim(self._parts.clock.now())
        if claim is None:
            return IDLE_S
        with outbox.guarded(claim.id):
            self._deliver(claim, stop)
        return 0.0

    # --- registration -------------------------------------------------------------------------------

    def _registration(self) -> str:
        """Return the name under which this device's registration with this platform is remembered."""
        config = self._parts.config()
        return f"registered:{config.platform.base_url}:{config.device.machine_code}:{config.device.device_no}"

    def _registered(self) -> bool:
        if self._parts.config().platform.register_ == "never":
            return True
        return self._parts.outbox.setting(self._registration()) is not None

    def _register(self, stop: threading.Event) -> None:
        parts = self._parts
        outcome = parts.client.register(parts.config().device, uuid.uuid4().hex, stop)
        if isinstance(outcome, Delivered):
            stamp = {"at": parts.clock.now().isoformat(), "exception": outcome.receipt.exception_code}
            parts.outbox.set_setting(self._registration(), json.dumps(stamp))
            parts.audit.append("device.registered", who="uploader", target=parts.config().device.device_no)
            logs.say(log, "I5001", device=parts.config().device.device_no)
            parts.board.event("I5001", device=parts.config().device.device_no)
            self._lane(self._breaker.succeeded())
        elif not stop.is_set():
            # Registration carries no record, so any failure of it is the lane's affair.
            retry_after_s = outcome.retry_after_s if isinstance(outcome, PlatformDown) else None
            self._lane_failed(outcome.code, retry_after_s, _detail(outcome))

    # --- one record ---------------------------------------------------------------------------------

    def _deliver(self, claim: Claim, stop: threading.Event) -> None:
        parts = self._parts
        self._rates = self._rates.taken(parts.clock.monotonic(), again=claim.attempts > 1)
        conventions = self._conventions(claim)
        pictures = _pictures(claim)
        problems = parts.client.problems(claim.verification, pictures, conventions)
        if problems:
            named = ", ".join(f"{problem.field}: {problem.reason}" for problem in problems)
            self._settle(claim, SettleHeld({Hold.FIELD: named}))
            logs.say(log, "W3002", record=claim.id, problems=named)
            parts.board.event("W3002", record=claim.id, problems=named)
            return
        prepared = parts.client.prepare(claim.verification, pictures, conventions)
        parts.outbox.note_attempt(
            claim,
            request_id=prepared.request_id,
            conventions_fingerprint=prepared.conventions_fingerprint,
            conventions_json=conventions.model_dump_json(),
            sm3_hex=prepared.sm3_hex,
            length=prepared.length,
        )
        cipher = "SM4" if parts.config().platform.encrypt else "-"
        parts.board.event("I5002", record=claim.id, cipher=cipher, length=prepared.length)
        outcome = parts.client.send(prepared, stop)
        self._settle(claim, self._judged(claim, outcome))

    def _conventions(self, claim: Claim) -> Conventions:
        """Return today's conventions, or those of the attempt whose answer is still unknown."""
        if claim.kept_conventions is not None:
            return Conventions.model_validate_json(claim.kept_conventions)
        return self._parts.config().platform.conventions

    def _judged(self, claim: Claim, outcome: Outcome) -> Settlement:
        match outcome:
            case Delivered(receipt):
                self._accepted(claim, receipt.request_id)
                return SettleDelivered(receipt)
            case PlatformDown(code, detail, retry_after_s):
                self._lane_failed(code, retry_after_s, detail)
                return SettleLater(self._parts.clock.now(), code, detail, unknown=None)
            case Unknown(code, detail):
                self._lane(self._breaker.unknown(self._parts.clock.now(), code, self._parts.rng))
                logs.say(log, code, record=claim.id, detail=detail)
                self._parts.board.event(code, record=claim.id, detail=detail)
                return self._later(claim, code, detail, unknown=True)
            case Refused():
                return self._refused(claim, outcome)

    def _accepted(self, claim: Claim, request_id: str) -> None:
        self._suspects.accepted(claim.id)
        self._lane(self._breaker.succeeded())
        person = self._parts.pseudonym(claim.verification.number)
        logs.say(log, "I5003", record=claim.id, request=request_id, person=person, attempts=claim.attempts)
        self._parts.board.event("I5003", record=claim.id, request=request_id)

    def _refused(self, claim: Claim, refusal: Refused) -> Settlement:
        detail = f"{refusal.platform_code} {refusal.exception_code or '-'} {refusal.message}"
        if self._suspects.judge(claim.id):
            self._suspects.refused.pop(claim.id, None)
            logs.say(log, "E5101", record=claim.id, detail=detail)
            self._parts.board.event("E5101", record=claim.id, detail=detail)
            return SettleParked("E5101", detail)
        if len(self._suspects.refused) > 1 or self._suspects.successes == 0:
            self._lane_failed("E5102", None, detail)
        return self._later(claim, refusal.code, detail, unknown=False)

    def _later(self, claim: Claim, code: str, detail: str, *, unknown: bool) -> SettleLater:
        wait_s = backoff.full_jitter(claim.attempts, backoff.RECORD_CAP_S, self._parts.rng)
        due = self._parts.clock.now() + timedelta(seconds=wait_s)
        return SettleLater(due, code, detail, unknown=unknown)

    def _settle(self, claim: Claim, settlement: Settlement) -> None:
        self._parts.outbox.settle(claim, settlement)
        if isinstance(settlement, SettleDelivered):
            self._parts.audit.append("record.delivered", who="uploader", target=claim.id)
        self._post()

    # --- the lane -----------------------------------------------------------------------------------

    def _lane_failed(self, code: str, retry_after_s: float | None, detail: str, **facts: str) -> None:
        now = self._parts.clock.now()
        told_before = self._breaker.code == code
        self._lane(self._breaker.failed(now, code, retry_after_s, self._parts.rng))
        if not told_before:
            logs.say(log, code, detail=detail, **facts)
            self._parts.board.event(code, detail=detail, **facts)

    def _lane(self, breaker: Breaker) -> None:
        if breaker != self._breaker:
            self._breaker = breaker
            self._parts.outbox.set_setting(_BREAKER, breaker.to_json())
            self._post()

    def _post(self) -> None:
        until = self._breaker.open_until
        self._parts.board.post(
            "platform",
            state="ok" if self._breaker.closed else "waiting",
            code=self._breaker.code,
            next_try=until.isoformat() if until else None,
            registered=self._registered(),
        )


def _pictures(claim: Claim) -> dict[PictureKind, bytes]:
    """Return the pictures that are sent; the raw photo block is not one of them."""
    wanted = (PictureKind.CARD, PictureKind.CAMERA, PictureKind.FINGER)
    found = {kind: claim.picture(kind) for kind in wanted}
    return {kind: picture for kind, picture in found.items() if picture is not None}


def _detail(outcome: Outcome) -> str:
    match outcome:
        case Unknown(_, detail) | PlatformDown(_, detail, _):
            return detail
        case Refused(_, platform_code, exception_code, message):
            return f"{platform_code} {exception_code or '-'} {message}"
        case Delivered():
            return ""
