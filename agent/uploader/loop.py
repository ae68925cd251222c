"""The loop to the platform: claim one record, render, sign, send, judge, settle. One record at a time.

Order of things that must not change: the claim and its attempt row are committed before a byte is
sent, and the receipt before the record counts as delivered. Kill the process between any two steps and
the record goes out - once, or, when only the answer was lost, again with the same request id.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from agent import inservice, logs
from agent.audit import Audit
from agent.board import Board
from agent.catalogue import AgentError
from agent.clock import Clock, Trust
from agent.config.schema import Config
from agent.heartbeat import Heartbeat
from agent.hmpt.client import PlatformClient
from agent.outbox import (
    Claim,
    Outbox,
    SettleBack,
    SettleDelivered,
    SettleHeld,
    SettleLater,
    Settlement,
    SettleParked,
    SettleWithheld,
)
from agent.records import Delivered, Hold, Outcome, PlatformDown, Refused, Unknown
from agent.uploader import backoff, memory, wording
from agent.uploader.ahead import Ahead, Made
from agent.uploader.breaker import Breaker
from agent.uploader.judgement import Case, Failure, Judgement, Ruling, Verdict
from agent.uploader.making import Maker, Smaller, device_name
from agent.uploader.rates import Rates
from agent.uploader.registration import refusal_code, register, registered, to_be_registered
from agent.uploader.timekeeping import Timekeeping
from agent.vision.pictures import PASSING

log = logs.get(__name__)

#: A quiet queue is looked at this often, should a wake-up ever be missed.
IDLE_S = 1.0
#: How long the answer of a hanging send may take beyond its own limits before the loop counts as hung.
SEND_GRACE_S = 30.0

#: Faults of ours, not of the record: the secret does not fit a convention, a picture cannot be made smaller.
LANE_FAULTS = frozenset({"E7401", "E3122"}) | PASSING


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
    smaller: Smaller
    trust: Callable[[], Trust] = lambda: Trust.NTP


class Uploader:
    """Delivers what waits. One thread; `wake` and `reconsider` may be called from any."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._wake, self._changed = threading.Event(), threading.Event()
        self._breaker = Breaker.from_json(parts.outbox.setting(memory.breaker_name(parts.config())))
        self._judgement = Judgement.from_json(parts.outbox.setting(memory.judgement_name(parts.config())))
        self._devices: dict[str, Breaker] = {}
        self._rates = Rates.of(parts.config(), parts.clock.monotonic())
        self._times = Timekeeping(parts.client, parts.clock)
        self._maker = Maker(parts.client, lambda: self._judgement.good, parts.smaller)
        self._ahead = Ahead(
            self._maker.make, lambda most: parts.outbox.upcoming(parts.clock.now(), most), parts.outbox.peek
        )

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
        self._tell_waiting()
        self._tell_unconfirmed()
        try:
            while not stop.is_set():
                heartbeat.beat()
                wait_s = self._turn(heartbeat, stop)
                if wait_s > 0 and not stop.is_set():
                    self._wake.wait(min(wait_s, IDLE_S))
                self._wake.clear()
        finally:
            self._ahead.drop(wait=True)

    def _tell_waiting(self) -> None:
        """Say again why the lane waited when the daemon stopped: it may wait for long yet."""
        if code := self._breaker.code:
            told = memory.last_told(self._parts.outbox, self._parts.config(), code)
            self._parts.board.event(code, **told)

    def _tell_unconfirmed(self) -> None:
        """Say that this device is out of service, or never confirmed as registered: records may not count."""
        config = self._parts.config()
        if inservice.out_of_service(self._parts.outbox, config.device) is not None:
            self._tell(inservice.CODE, device=config.device.device_no)
        elif config.platform.register_ == "never" and registered(self._parts.outbox, config) is None:
            self._tell("W5112", device=config.device.device_no)

    def _turn(self, heartbeat: Heartbeat, stop: threading.Event) -> float:
        """Do one thing that is due. Return the seconds that nothing can be done."""
        parts = self._parts
        if self._changed.is_set():
            self._changed.clear()
            self._start_afresh()
        trust = parts.trust()
        if not self._may_sign(trust):
            return IDLE_S
        self._rates = self._rates.under(parts.config(), parts.clock.monotonic())
        wait_s = max(self._breaker.wait_s(parts.clock.now()), self._rates.wait_s(parts.clock.monotonic()))
        if wait_s > 0:
            return wait_s
        limits = parts.config().platform
        with heartbeat.silence(limits.connect_timeout_s + limits.answer_timeout_s + SEND_GRACE_S):
            try:
                if not trust.believed and self._asks_time(stop):
                    return 0.0
                return self._next(stop)
            except AgentError as error:
                if error.code not in LANE_FAULTS:
                    raise
                parts.outbox.return_abandoned()
                self._lane_failed(error.code, None, "", **error.facts)
        return 0.0

    def _may_sign(self, trust: Trust) -> bool:
        """Return whether the clock is fit to sign with; when it is not, somebody hears of it once."""
        if self._times.turned(trust):
            self._post()  # first, so that whoever hears of it finds the board saying so
            if self._times.code:
                now = self._parts.clock.now().isoformat(timespec="seconds")
                self._tell(self._times.code, state=trust.value, now=now)
        return trust.may_sign

    def _asks_time(self, stop: threading.Event) -> bool:
        """Ask the platform what time it is, if that is due. Return whether that failed."""
        if to_be_registered(self._parts.outbox, self._parts.config()):
            return False  # registering is the next thing done, and tells the time as well
        down = self._times.ask(stop)
        if down is not None and not stop.is_set():
            self._lane_failed(down.code, None, down.detail)
        self._tell_skew()
        return down is not None

    def _tell_skew(self) -> None:
        """Say once that the two clocks differ, and again when they no longer did in between."""
        skew = self._times.newly_skewed()
        if skew is not None:
            self._tell("W7508", skew=skew)

    def _start_afresh(self) -> None:
        """The configuration changed: what failed under the old one says nothing of the new one."""
        self._parts.outbox.make_due()
        self._devices.clear()
        self._remember(self._judgement.forgiven())
        self._lane(Breaker())

    def _next(self, stop: threading.Event) -> float:
        """Register, or send the next record. Return the seconds that nothing is to be done."""
        parts = self._parts
        if to_be_registered(parts.outbox, parts.config()):
            self._register(stop)
            return 0.0
        claim = parts.outbox.claim(parts.clock.now())
        if claim is None:
            return IDLE_S
        if inservice.out_of_service(parts.outbox, claim.verification) is not None:
            parts.outbox.settle(claim, SettleWithheld({Hold.DEVICE: inservice.CODE}))
            return 0.0
        waiting = self._devices.get(device_name(claim.verification))
        if waiting is not None and waiting.wait_s(parts.clock.now()) > 0 and waiting.open_until is not None:
            parts.outbox.settle(claim, SettleBack(waiting.open_until))
            return 0.0
        with parts.outbox.guarded(claim.id):
            self._deliver(claim, stop)
        return 0.0

    def _register(self, stop: threading.Event) -> None:
        parts = self._parts
        outcome = register(
            parts.client, parts.config(), parts.outbox, parts.audit, parts.clock, board=parts.board, stop=stop
        )
        if isinstance(outcome, Delivered):
            self._lane(self._breaker.succeeded())
            self._post()
        elif not stop.is_set():
            # Registration carries no record, so any failure of it is the lane's affair.
            retry_after_s = outcome.retry_after_s if isinstance(outcome, PlatformDown) else None
            skew_s = parts.client.skew_s
            skew = "-" if skew_s is None else f"{round(skew_s):+d}"
            self._lane_failed(
                refusal_code(outcome, skew_s), retry_after_s, wording.detail(outcome), skew=skew
            )

    # --- one record ---------------------------------------------------------------------------------

    def _deliver(self, claim: Claim, stop: threading.Event) -> None:
        parts, config = self._parts, self._parts.config()
        self._rates = self._rates.taken(parts.clock.monotonic(), again=claim.attempts > 1)
        made = self._ahead.take(claim, config) or self._maker.make(claim, config)
        if made.prepared is None:
            self._hold(claim, made)
            return
        prepared = made.prepared
        parts.outbox.note_attempt(
            claim,
            request_id=prepared.request_id,
            conventions_fingerprint=prepared.conventions_fingerprint,
            conventions_json=made.conventions.model_dump_json(),
            sm3_hex=prepared.sm3_hex,
            length=prepared.length,
        )
        cipher = "SM4" if config.platform.encrypt else "-"
        parts.board.event("I5002", record=claim.id, cipher=cipher, length=prepared.length)
        self._ahead.begin(config, claim)
        outcome = parts.client.send(prepared, stop)
        self._tell_skew()
        case = Case(
            record=claim.id,
            device=device_name(claim.verification),
            own_device=claim.verification.device_no == config.device.device_no,
            length=prepared.length,
            shrunk=claim.too_large > 0,
            unknown_before=claim.unknown,
            skew_s=parts.client.skew_s,
        )
        self._settle(claim, self._judged(claim, case, prepared.conventions_fingerprint, outcome))

    def _hold(self, claim: Claim, made: Made) -> None:
        named = "; ".join(problem.told("en") for problem in made.problems)
        self._settle(claim, SettleHeld({Hold.FIELD: named}))
        self._tell("W3002", record=claim.id, problems=named)

    def _judged(self, claim: Claim, case: Case, mark: str, outcome: Outcome) -> Settlement:
        match outcome:
            case Delivered(receipt):
                self._accepted(claim, case, mark, receipt.request_id)
                return SettleDelivered(receipt)
            case PlatformDown(code, detail, retry_after_s):
                return self._down(claim, case, code, detail, retry_after_s)
            case Unknown(code, detail):
                return self._unknown(claim, case, mark, code, detail)
            case Refused():
                return self._refused(claim, case, mark, outcome)

    def _accepted(self, claim: Claim, case: Case, mark: str, request_id: str) -> None:
        self._remember(self._judgement.accepted(case, mark))
        self._devices.pop(case.device, None)
        self._lane(self._breaker.succeeded())
        person = self._parts.pseudonym(claim.verification.number)
        logs.say(log, "I5003", record=claim.id, request=request_id, person=person, attempts=claim.attempts)
        self._parts.board.event("I5003", record=claim.id, request=request_id)

    def _down(
        self, claim: Claim, case: Case, code: str, detail: str, retry_after_s: float | None
    ) -> Settlement:
        if code in wording.FAILURES:
            judgement, ruling = self._judgement.failed(case, wording.FAILURES[code])
            self._remember(judgement)
            if ruling.verdict is not Verdict.LANE:
                # It alone breaks the connection, while others pass: it keeps out of their way.
                self._tell(ruling.code or code, record=claim.id, detail=detail)
                return self._ruled(claim, replace(ruling, code=ruling.code or code), detail, unknown=None)
        self._lane_failed(code, retry_after_s, detail)
        return SettleLater(self._parts.clock.now(), code, detail, unknown=None)

    def _unknown(self, claim: Claim, case: Case, mark: str, code: str, detail: str) -> Settlement:
        now, rng = self._parts.clock.now(), self._parts.rng
        first = self._judgement.commissioning(mark)
        judgement, ruling = self._judgement.failed(case, wording.FAILURES.get(code, Failure.LOST))
        self._remember(judgement)
        self._tell(code, record=claim.id, detail=detail)
        if ruling.verdict is Verdict.LANE:
            self._lane_failed(ruling.code, None, **wording.facts(case, detail))
        elif first:
            self._lane(self._breaker.failed(now, code, None, rng))
        else:
            self._lane(self._breaker.unknown(now, code, rng))
        if ruling.verdict is Verdict.PARK:
            self._tell(ruling.code, record=claim.id, detail=detail)
        return self._ruled(claim, replace(ruling, code=ruling.code or code), detail, unknown=True)

    def _refused(self, claim: Claim, case: Case, mark: str, refusal: Refused) -> Settlement:
        detail = wording.detail(refusal)
        judgement, ruling = self._judgement.refused(case, refusal.about, mark)
        self._remember(judgement)
        facts = wording.facts(case, detail)
        match ruling.verdict:
            case Verdict.LANE:
                self._lane_failed(ruling.code, None, **facts)
            case Verdict.DEVICE:
                self._device_waits(case, ruling.code, detail)
            case Verdict.PARK:
                odd = self._maker.oddities(claim, self._parts.config())
                detail = "; ".join([detail, *odd])
                self._tell(ruling.code, **{**facts, "detail": detail}, record=claim.id)
            case Verdict.LATER | Verdict.SMALLER:
                self._tell(ruling.code, **facts, record=claim.id)
        return self._ruled(claim, ruling, detail, unknown=False)

    def _ruled(self, claim: Claim, ruling: Ruling, detail: str, *, unknown: bool | None) -> Settlement:
        """Return the settlement that a ruling asks for."""
        now = self._parts.clock.now()
        if ruling.verdict is Verdict.PARK:
            return SettleParked(ruling.code, detail)
        if ruling.verdict is Verdict.SMALLER:
            return SettleLater(now, ruling.code, detail, unknown=unknown)
        # A lane that stops is no fault of the record: it waits no longer than the lane may.
        lane = ruling.verdict is Verdict.LANE
        cap = backoff.PLATFORM_CAP_S if lane else backoff.RECORD_CAP_S
        wait_s = backoff.full_jitter(claim.attempts, cap, self._parts.rng)
        return SettleLater(now + timedelta(seconds=wait_s), ruling.code, detail, unknown=unknown)

    def _settle(self, claim: Claim, settlement: Settlement) -> None:
        self._parts.outbox.settle(claim, settlement)
        if isinstance(settlement, SettleDelivered):
            self._parts.audit.append("record.delivered", who="uploader", target=claim.id)
        self._post()

    # --- the lane -----------------------------------------------------------------------------------

    def _device_waits(self, case: Case, code: str, detail: str) -> None:
        """Let a device that is not this one wait, and its records with it; ours are not held up by it."""
        before = self._devices.get(case.device, Breaker())
        self._devices[case.device] = before.failed(self._parts.clock.now(), code, None, self._parts.rng)
        if before.closed:
            self._tell(code, detail=detail, device=case.device, record=case.record)

    def _lane_failed(self, code: str, retry_after_s: float | None, detail: str, **facts: str) -> None:
        now: datetime = self._parts.clock.now()
        told_before = self._breaker.code == code
        self._lane(self._breaker.failed(now, code, retry_after_s, self._parts.rng))
        if not told_before:
            self._tell(code, detail=detail, **facts)

    def _tell(self, code: str, **facts: str) -> None:
        logs.say(log, code, **facts)
        self._parts.board.event(code, **facts)
        memory.keep_told(self._parts.outbox, self._parts.config(), code, facts)

    def _lane(self, breaker: Breaker) -> None:
        if breaker != self._breaker:
            self._breaker = breaker
            if not breaker.closed:
                self._ahead.drop()  # nobody's data lie in memory for as long as the platform is away
            name = memory.breaker_name(self._parts.config())
            self._parts.outbox.set_setting(name, breaker.to_json())
            self._post()

    def _remember(self, judgement: Judgement) -> None:
        if judgement != self._judgement:
            self._judgement = judgement
            name = memory.judgement_name(self._parts.config())
            self._parts.outbox.set_setting(name, judgement.to_json())

    def _post(self) -> None:
        until, skew_s = self._breaker.open_until, self._parts.client.skew_s
        config = self._parts.config()
        self._parts.board.post(
            "platform",
            state="ok" if self._breaker.closed and not self._times.code else "waiting",
            code=self._times.code or self._breaker.code,
            next_try=until.isoformat() if until else None,
            registered=registered(self._parts.outbox, config) is not None,
            proven=self._judgement.proven == self._maker.mark(config),
            skew_s=None if skew_s is None else round(skew_s, 1) + 0.0,
            devices=sorted(self._devices),
        )
