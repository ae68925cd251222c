"""The loop to the platform: claim one record, render, sign, send, judge, settle. One record at a time.

Order of things that must not change: the claim and its attempt row are committed before a byte is
sent, and the receipt before the record counts as delivered. Kill the process between any two steps and
the record goes out - once, or, when only the answer was lost, again with the same request id.
"""

from __future__ import annotations

import threading

from agent import inservice
from agent.catalogue import AgentError
from agent.clock import Trust
from agent.heartbeat import Heartbeat
from agent.outbox import Claim, SettleBack, SettleDelivered, SettleHeld, Settlement, SettleWithheld
from agent.records import Delivered, Hold, PlatformDown
from agent.uploader import wording
from agent.uploader.ahead import Ahead, Made
from agent.uploader.judgement import Case
from agent.uploader.lane import Lane
from agent.uploader.making import Maker, device_name
from agent.uploader.parts import Parts
from agent.uploader.rates import Rates
from agent.uploader.registration import refusal_code, register, to_be_registered
from agent.uploader.settling import Settling
from agent.uploader.timekeeping import Timekeeping
from agent.vision.pictures import PASSING

#: A quiet queue is looked at this often, should a wake-up ever be missed.
IDLE_S = 1.0
#: How long the answer of a hanging send may take beyond its own limits before the loop counts as hung.
SEND_GRACE_S = 30.0

#: Faults of ours, not of the record: the secret does not fit a convention, a picture cannot be made smaller.
LANE_FAULTS = frozenset({"E7401", "E3122"}) | PASSING


class Uploader:
    """Delivers what waits. One thread; `wake` and `reconsider` may be called from any."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._wake, self._changed = threading.Event(), threading.Event()
        self._rates = Rates.of(parts.config(), parts.clock.monotonic())
        self._times = Timekeeping(parts.client, parts.clock)
        self._lane = Lane(parts, self._times)
        self._maker = Maker(parts.client, lambda: self._lane.judgement.good, parts.smaller)
        self._settling = Settling(
            parts, self._lane, lambda claim: self._maker.oddities(claim, parts.config())
        )
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
        self._lane.post()
        self._lane.tell_what_lasts()
        try:
            while not stop.is_set():
                heartbeat.beat()
                wait_s = self._turn(heartbeat, stop)
                if wait_s > 0 and not stop.is_set():
                    self._wake.wait(min(wait_s, IDLE_S))
                self._wake.clear()
        finally:
            self._ahead.drop(wait=True)

    def _turn(self, heartbeat: Heartbeat, stop: threading.Event) -> float:
        """Do one thing that is due. Return the seconds that nothing can be done."""
        parts = self._parts
        if self._changed.is_set():
            self._changed.clear()
            parts.outbox.make_due()
            self._lane.start_afresh()
        closed_s = self._lane.wait_s(parts.clock.now())
        if closed_s > 0:
            self._ahead.drop()  # nobody's data lie in memory for as long as the platform is away
        trust = parts.trust()
        if not self._may_sign(trust):
            return IDLE_S
        self._rates = self._rates.under(parts.config(), parts.clock.monotonic())
        wait_s = max(closed_s, self._rates.wait_s(parts.clock.monotonic()))
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
                self._lane.failed(error.code, None, "", **error.facts)
        return 0.0

    def _may_sign(self, trust: Trust) -> bool:
        """Return whether the clock is fit to sign with; when it is not, somebody hears of it once."""
        if self._times.turned(trust):
            self._lane.post()  # first, so that whoever hears of it finds the board saying so
            if self._times.code:
                now = self._parts.clock.now().isoformat(timespec="seconds")
                self._lane.tell(self._times.code, state=trust.value, now=now)
        return trust.may_sign

    def _asks_time(self, stop: threading.Event) -> bool:
        """Ask the platform what time it is, if that is due. Return whether that failed."""
        if to_be_registered(self._parts.outbox, self._parts.config()):
            return False  # registering is the next thing done, and tells the time as well
        down = self._times.ask(stop)
        if down is not None and not stop.is_set():
            self._lane.failed(down.code, None, down.detail)
        self._tell_skew()
        return down is not None

    def _tell_skew(self) -> None:
        """Say once that the two clocks differ, and again when they no longer did in between."""
        skew = self._times.newly_skewed()
        if skew is not None:
            self._lane.tell("W7508", skew=skew)

    def _next(self, stop: threading.Event) -> float:
        """Register, or send the next record. Return the seconds that nothing is to be done."""
        parts = self._parts
        if to_be_registered(parts.outbox, parts.config()):
            self._register(stop)
            return 0.0
        claim = parts.outbox.claim(parts.clock.now())
        if claim is None:
            self._lane.nothing_to_send(stop)
            return IDLE_S
        if inservice.out_of_service(parts.outbox, claim.verification) is not None:
            parts.outbox.settle(claim, SettleWithheld({Hold.DEVICE: inservice.CODE}))
            return 0.0
        until = self._lane.waits_until(claim.verification, parts.clock.now())
        if until is not None:
            parts.outbox.settle(claim, SettleBack(until))
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
            self._lane.succeeded()
            self._lane.post()
        elif not stop.is_set():
            # Registration carries no record, so any failure of it is the lane's affair.
            retry_after_s = outcome.retry_after_s if isinstance(outcome, PlatformDown) else None
            skew_s = parts.client.skew_s
            skew = "-" if skew_s is None else f"{round(skew_s):+d}"
            self._lane.failed(
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
        mark = prepared.conventions_fingerprint
        self._settle(claim, self._settling.settlement(claim, case, mark, outcome))

    def _hold(self, claim: Claim, made: Made) -> None:
        named = "; ".join(problem.told("en") for problem in made.problems)
        self._settle(claim, SettleHeld({Hold.FIELD: named}))
        self._lane.tell("W3002", record=claim.id, problems=named)

    def _settle(self, claim: Claim, settlement: Settlement) -> None:
        self._parts.outbox.settle(claim, settlement)
        if isinstance(settlement, SettleDelivered):
            self._parts.audit.append("record.delivered", who="uploader", target=claim.id)
        self._lane.post()
