"""The outbox against a model, whatever happens in whatever order: the balance holds after every step."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from outbox_support import HandClock, receipt, verification

from agent.balance import WAITING
from agent.catalogue import AgentError
from agent.outbox import (
    Ballast,
    Claim,
    Outbox,
    SealKeys,
    SettleDelivered,
    SettleHeld,
    SettleLater,
    SettleParked,
    store,
)
from agent.outbox.followups import Person
from agent.records import FaceResult, Hold, PictureKind, Supplement

PERSONS = st.sampled_from(["p1", "p2", "p3"])
KEYS = [b"first key", b"second key", b"third key"]


class Model(RuleBasedStateMachine):
    """`states` is what the outbox must say of every record; `supplements` what was added to each."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.clock = HandClock()
        self.key = 0
        self.states: dict[str, str] = {}
        self.persons: dict[str, str] = {}
        self.failed: set[str] = set()
        self.exported: set[str] = set()
        self.supplements: dict[str, list[str]] = {}
        self.erased: set[str] = set()
        self.gone = 0
        self.gone_on = {"superseded": 0, "moved": 0}
        self.claim: Claim | None = None
        self.outbox = self._opened()

    def _opened(self) -> Outbox:
        keys = SealKeys.derived(KEYS[self.key])
        outbox = Outbox.open(self.folder, keys, self.clock, 2**30, ballast=Ballast(self.folder, 4096))
        assert outbox.recounted == {}
        return outbox

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.outbox.close()
            shutil.rmtree(self.folder)

    def _some(self, *states: str) -> list[str]:
        return [record for record, state in self.states.items() if state in states]

    # --- the desk -----------------------------------------------------------------------------------

    @rule(
        person=PERSONS,
        held=st.booleans(),
        failed=st.booleans(),
        twice=st.booleans(),
        size=st.integers(0, 40_000),
    )
    def put(self, person: str, held: bool, failed: bool, twice: bool, size: int) -> None:
        one = verification(at=self.clock.now())
        if failed:
            one = replace(one, face=replace(one.face, result=FaceResult.FAILED))
            self.failed.add(one.id)
        holds = {Hold.OPERATOR: "operationUser"} if held else {}
        for _ in range(1 + twice):
            self.outbox.put(one, {PictureKind.CAMERA: bytes(size)}, person=person, holds=holds)
        self.states[one.id] = "held" if held else "ready"
        self.persons[one.id] = person

    @rule()
    def put_on_a_full_disk(self) -> None:
        with mock.patch.object(store, "free_bytes", return_value=0):
            self._refused(lambda: self.outbox.put(verification(), {}, person="p", holds={}), "E3102")

    # --- the platform -------------------------------------------------------------------------------

    @precondition(lambda self: self.claim is None)
    @rule()
    def take(self) -> None:
        self.claim = self.outbox.claim(self.clock.now())
        if self.claim is not None:
            assert self.states[self.claim.id] == "ready"
            assert self.claim.verification.operator == (self.supplements.get(self.claim.id) or ["测试员"])[-1]
            self.states[self.claim.id] = "sending"

    @precondition(lambda self: self.claim is not None)
    @rule()
    def note(self) -> None:
        assert self.claim is not None
        self.outbox.note_attempt(
            self.claim,
            request_id=self.claim.id,
            conventions_fingerprint="ab" * 8,
            conventions_json="{}",
            sm3_hex="00" * 32,
            length=1,
        )

    @precondition(lambda self: self.claim is not None)
    @rule(fate=st.sampled_from(["delivered", "later", "held", "parked"]), wait=st.integers(-100, 10**7))
    def settle(self, fate: str, wait: int) -> None:
        assert self.claim is not None
        claim, self.claim = self.claim, None
        if fate == "delivered":
            self.claim = claim
            self.note()
            self.claim = None
            self.outbox.settle(claim, SettleDelivered(receipt(claim.id)))
        elif fate == "later":
            due = self.clock.now() + timedelta(seconds=wait)
            self.outbox.settle(claim, SettleLater(due, "E4101", "", unknown=True))
        elif fate == "held":
            self.outbox.settle(claim, SettleHeld({Hold.NATION: "nation"}))
        else:
            self.outbox.settle(claim, SettleParked("E5101", "refused"))
        self.states[claim.id] = "ready" if fate == "later" else fate
        self._refused(lambda: self.outbox.settle(claim, SettleParked("E5101", "again")), "E3112")

    # --- people -------------------------------------------------------------------------------------

    @rule(data=st.data(), value=st.sampled_from(["甲", "乙"]))
    def supplement(self, data: st.DataObject, value: str) -> None:
        record = self._drawn(data, "held", "parked")
        if record is not None:
            self.outbox.supplement(record, Supplement("operator", value, "it", self.clock.now()))
            self.supplements.setdefault(record, []).append(value)

    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        record = self._drawn(data, "held")
        if record is not None:
            self.outbox.rehold(record, {})
            self.states[record] = "ready"

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        record = self._drawn(data, "parked", "ready")
        if record is not None:
            self.outbox.administration.retry(record)
            self.states[record] = "ready"

    @rule(data=st.data(), held=st.booleans())
    def amend(self, data: st.DataObject, held: bool) -> None:
        record = self._drawn(data, "parked", "held")
        if record is None:
            return
        lacking = {Hold.FIELD: "x"} if held else {}
        new, state = self.outbox.administration.amend(
            record, lambda _: {"address": "别处"}, lambda *_: lacking, "it"
        )
        assert self.outbox.verification(new).address == "别处"
        assert self.outbox.verification(record).address != "别处" or record in self.supplements
        self.states |= {record: "discarded", new: state}
        self.gone_on["superseded"] += 1
        self.persons[new] = self.persons[record]
        self.supplements[new] = self.supplements.get(record, [])[-1:]
        if record in self.failed:
            self.failed.add(new)

    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        record = self._drawn(data, "ready", "held", "parked")
        if record is None:
            return
        discard = self.outbox.administration.discard
        if record in self.failed and record not in self.exported:
            self._refused(lambda: discard(record, "it", "why"), "E3120")
        else:
            discard(record, "it", "why")
            self.states[record] = "discarded"

    @rule(data=st.data(), move=st.booleans())
    def export(self, data: st.DataObject, move: bool) -> None:
        record = self._drawn(data, "ready", "held", "parked")
        if record is None:
            return
        assert self.outbox.administration.export_entry(record)
        self.outbox.administration.note_exported([record])
        self.exported.add(record)
        if move:
            self.outbox.administration.hand_over(record, "it", "export.bin")
            self.states[record] = "discarded"
            self.gone_on["moved"] += 1

    @precondition(lambda self: self.claim is not None)
    @rule()
    def administration_of_what_is_being_sent_is_refused(self) -> None:
        assert self.claim is not None
        record = self.claim.id
        self._refused(lambda: self.outbox.administration.retry(record), "E3115")
        self._refused(lambda: self.outbox.administration.discard(record, "it", "why"), "E3115")

    # --- time, disk, keys, power --------------------------------------------------------------------

    @rule(seconds=st.integers(-(10**6), 10**6))
    def clock_jumps(self, seconds: int) -> None:
        self.clock.seconds += seconds

    @rule(hours=st.integers(0, 100))
    def keep_house(self, hours: int) -> None:
        self.outbox.upkeep.erase(timedelta(hours=hours))
        self.gone += self.outbox.upkeep.expire(timedelta(hours=hours + 50))
        self.outbox.upkeep.give_back()
        self.outbox.upkeep.checkpoint()
        assert self.outbox.upkeep.scrub(10**6) == []
        there = self.outbox.upkeep.ids()
        for record in list(self.states):
            if record not in there:
                assert self.states.pop(record) in {"delivered", "discarded"}

    @rule()
    def rotate(self) -> None:
        self.outbox.administration.rotate()

    @rule(key=st.integers(0, 2))
    def replace_key(self, key: int) -> None:
        self.outbox.administration.rewrap(KEYS[key])
        self.key = key

    @rule()
    def crash(self) -> None:
        self.outbox.close()
        for verb in self._verbs():
            self._refused(verb, "E3105")
        self.outbox = self._opened()
        if self.claim is not None:
            self.states[self.claim.id] = "ready"
            self.claim = None

    def _verbs(self) -> list[Callable[[], object]]:
        """Return what may still be asked of an outbox that somebody has just closed."""
        outbox, record = self.outbox, next(iter(self.states), "none")
        mark = Supplement("operator", "x", "it", self.clock.now())
        return [
            lambda: outbox.put(verification(), {PictureKind.CAMERA: b"x"}, person="p", holds={}),
            lambda: outbox.claim(self.clock.now()),
            lambda: outbox.supplement(record, mark),
            lambda: outbox.add_picture(record, PictureKind.CARD, b"x"),
            lambda: outbox.followups.add(record, "refused", Person("x", "x")),
            lambda: outbox.open_attempt("a"),
            lambda: outbox.upkeep.erase(timedelta()),
            outbox.administration.rotate,
            lambda: outbox.administration.discard(record, "it", "why"),
            lambda: outbox.administration.export_entry(record),
            lambda: next(outbox.administration.check()),
            outbox.counts,
            outbox.accepting,
            outbox.room,
        ]

    # --- what must always hold ----------------------------------------------------------------------

    @invariant()
    def it_balances(self) -> None:
        if not hasattr(self, "outbox"):
            return
        counts = self.outbox.counts()
        assert counts.difference == 0
        assert counts.accepted == len(self.states) + self.gone
        assert counts.quarantined == 0
        assert {"superseded": counts.superseded, "moved": counts.moved} == self.gone_on
        assert counts.waiting == counts.accepted - counts.delivered - counts.discarded
        waits = [record for record, state in self.states.items() if state in WAITING]
        assert counts.waiting == len(waits)
        assert (counts.oldest_waiting is None) == (not waits)
        rows = {row.id: row.state for row in self.outbox.administration.list_records(None, 10_000)}
        assert rows == self.states

    def _drawn(self, data: st.DataObject, *states: str) -> str | None:
        there = self._some(*states)
        return data.draw(st.sampled_from(there)) if there else None

    def _refused(self, deed: Callable[[], object], code: str) -> None:
        with pytest.raises(AgentError) as refused:
            deed()
        assert refused.value.code == code


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
