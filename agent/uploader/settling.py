"""From what came back to what becomes of the record: whose fault, who hears of it, when it goes again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from agent import logs
from agent.outbox import Claim, SettleDelivered, SettleLater, Settlement, SettleParked
from agent.records import Delivered, Outcome, PlatformDown, Receipt, Refused, Unknown
from agent.uploader import backoff, wording
from agent.uploader.judgement import Case, Failure, Ruling, Verdict
from agent.uploader.lane import Lane
from agent.uploader.parts import Parts

log = logs.get(__name__)


class Settling:
    """For one thread. `oddities`: what of a refused record the platform's tables leave in doubt."""

    def __init__(self, parts: Parts, lane: Lane, oddities: Callable[[Claim], list[str]]) -> None:
        self._parts, self._lane, self._oddities = parts, lane, oddities

    def settlement(self, claim: Claim, case: Case, mark: str, outcome: Outcome) -> Settlement:
        """Return what becomes of a record that was sent under the conventions `mark`."""
        match outcome:
            case Delivered(receipt):
                return self._delivered(claim, case, mark, receipt)
            case PlatformDown(code, detail, retry_after_s):
                return self._down(claim, case, code, detail, retry_after_s)
            case Unknown(code, detail):
                return self._unknown(claim, case, mark, code, detail)
            case Refused():
                return self._refused(claim, case, mark, outcome)

    def _delivered(self, claim: Claim, case: Case, mark: str, receipt: Receipt) -> Settlement:
        self._lane.accepted(case, mark)
        person, request = self._parts.pseudonym(claim.verification.number), receipt.request_id
        logs.say(log, "I5003", record=claim.id, request=request, person=person, attempts=claim.attempts)
        self._parts.board.event("I5003", record=claim.id, request=request)
        return SettleDelivered(receipt)

    def _down(
        self, claim: Claim, case: Case, code: str, detail: str, retry_after_s: float | None
    ) -> Settlement:
        if code in wording.FAILURES:
            judgement, ruling = self._lane.judgement.failed(case, wording.FAILURES[code])
            self._lane.remember(judgement)
            if ruling.verdict is not Verdict.LANE:
                # It alone breaks the connection, while others pass: it keeps out of their way.
                named = replace(ruling, code=ruling.code or code)
                self._lane.tell(named.code, record=claim.id, detail=detail)
                return self._ruled(claim, named, detail, unknown=None)
        self._lane.failed(code, retry_after_s, detail)
        return SettleLater(self._parts.clock.now(), code, detail, unknown=None)

    def _unknown(self, claim: Claim, case: Case, mark: str, code: str, detail: str) -> Settlement:
        first = self._lane.judgement.commissioning(mark)
        judgement, ruling = self._lane.judgement.failed(case, wording.FAILURES.get(code, Failure.LOST))
        self._lane.remember(judgement)
        self._lane.tell(code, record=claim.id, detail=detail)
        if ruling.verdict is Verdict.LANE:
            self._lane.failed(ruling.code, None, **wording.facts(case, detail))
        else:
            self._lane.lost(code, first=first)
        if ruling.verdict is Verdict.PARK:
            self._lane.tell(ruling.code, record=claim.id, detail=detail)
        return self._ruled(claim, replace(ruling, code=ruling.code or code), detail, unknown=True)

    def _refused(self, claim: Claim, case: Case, mark: str, refusal: Refused) -> Settlement:
        detail = wording.detail(refusal)
        judgement, ruling = self._lane.judgement.refused(case, refusal.about, mark)
        self._lane.remember(judgement)
        facts = wording.facts(case, detail)
        match ruling.verdict:
            case Verdict.LANE:
                self._lane.failed(ruling.code, None, **facts)
            case Verdict.DEVICE:
                self._lane.device_failed(case, ruling.code, detail)
            case Verdict.PARK:
                detail = "; ".join([detail, *self._oddities(claim)])
                self._lane.tell(ruling.code, **{**facts, "detail": detail}, record=claim.id)
            case Verdict.LATER | Verdict.SMALLER:
                self._lane.tell(ruling.code, **facts, record=claim.id)
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
