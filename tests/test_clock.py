"""Whose word the clock has, what survives a jump and a reboot, and that a record's time is put right once."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hmpt_support import config
from hypothesis import given
from hypothesis import strategies as st
from outbox_support import PICTURES, open_outbox, verification
from pictures_support import PICTURE_CHILD

from agent import clock as clock_module
from agent.audit import Audit
from agent.board import Board
from agent.clock import EARLIEST, MAX_BOOTS, TOLERANCE, Memory, Trust, TrustedClock, Uptime, iso_moment
from agent.completion import Completion
from agent.completion import Parts as CompletionParts
from agent.heartbeat import Heartbeat
from agent.outbox import Outbox
from agent.records import VERIFIED_AT, Hold, Supplement, Verification, supplemented

START = datetime(2026, 3, 1, 1, 0, tzinfo=timezone.utc)


@given(st.floats(-1e9, 1e9))
def test_seconds_have_a_sign_and_nothing_is_never_negative(seconds: float) -> None:
    said = clock_module.signed(seconds)
    assert said[0] in "+-"
    assert said != "-0"
    assert abs(int(said) - seconds) <= 0.5


class Machine:
    """A machine whose clock may be wrong, moved, and started again; NTP may come and go."""

    def __init__(self) -> None:
        self.true_s, self.off_s, self.up_s = 0.0, 0.0, 50.0
        self.boot, self.ntp = "boot1", False
        self.last: datetime | None = None
        self.stored: str | None = None
        self.asked = 0

    def now(self) -> datetime:
        return self.true() + timedelta(seconds=self.off_s)

    def true(self) -> datetime:
        return START + timedelta(seconds=self.true_s)

    def monotonic(self) -> float:
        return self.up_s

    def passes(self, seconds: float) -> None:
        self.true_s += seconds
        self.up_s += seconds

    def reboot(self) -> None:
        self.passes(60)
        self.boot, self.up_s = f"boot{int(self.true_s)}", 20.0

    def kernel(self) -> bool:
        self.asked += 1
        return self.ntp

    def clock(self) -> TrustedClock:
        memory = Memory(lambda: self.last, lambda: self.stored, lambda text: setattr(self, "stored", text))
        return TrustedClock(self, memory, self.kernel, self.boot)


def test_nobody_has_confirmed_it_until_somebody_has() -> None:
    machine = Machine()
    one = machine.clock()
    assert one.trust() is Trust.UNCHECKED
    one.checked(1.5, correct=False)
    assert one.trust() is Trust.PLATFORM
    assert one.trust().believed
    # The next process of this boot knows it too; the next boot does not.
    assert machine.clock().trust() is Trust.PLATFORM
    machine.reboot()
    assert machine.clock().trust() is Trust.UNCHECKED
    machine.ntp = True
    assert machine.clock().trust() is Trust.NTP


def test_a_clock_that_was_moved_since_is_not_believed() -> None:
    machine = Machine()
    one = machine.clock()
    one.checked(0.0, correct=False)
    machine.off_s = 3600
    assert one.trust() is Trust.UNCHECKED
    one.checked(-3600, correct=False)
    assert one.trust() is Trust.WRONG
    machine.off_s = 0
    one.checked(0, correct=False)
    assert one.trust() is Trust.PLATFORM


def test_an_unset_clock_and_one_before_the_last_stored_time_sign_nothing() -> None:
    machine = Machine()
    machine.ntp = True
    machine.off_s = (EARLIEST - START).total_seconds() - 1
    assert machine.clock().trust() is Trust.UNSET
    assert not Trust.UNSET.may_sign
    machine.off_s = 0
    machine.last = START + TOLERANCE + timedelta(seconds=1)
    assert machine.clock().trust() is Trust.BEHIND
    assert not Trust.BEHIND.may_sign
    machine.last = START + TOLERANCE
    assert machine.clock().trust() is Trust.NTP
    assert all(
        one.may_sign for one in (Trust.NTP, Trust.PLATFORM, Trust.PERSON, Trust.UNCHECKED, Trust.WRONG)
    )


def test_a_person_may_vouch_for_it() -> None:
    machine = Machine()
    one = machine.clock()
    one.checked(900, correct=False)
    assert one.trust() is Trust.WRONG
    one.confirmed()
    assert one.trust() is Trust.PERSON
    assert machine.clock().trust() is Trust.PERSON


def test_the_kernel_is_not_asked_at_every_card() -> None:
    machine = Machine()
    one = machine.clock()
    for _ in range(100):
        one.trust()
    assert machine.asked == 1
    machine.passes(31)
    one.trust()
    assert machine.asked == 2


moves = st.one_of(
    st.tuples(st.just("pass"), st.floats(1, 86400)),
    st.tuples(st.just("set"), st.floats(-40000, 40000)),
    st.tuples(st.just("reboot"), st.just(0.0)),
    st.tuples(st.just("ask"), st.just(0.0)),
    st.tuples(st.just("ntp"), st.just(0.0)),
)


@given(st.lists(moves, max_size=30))
def test_whatever_happens_to_the_clock_a_known_time_is_the_true_one(history: list[tuple[str, float]]) -> None:
    machine = Machine()
    one = machine.clock()
    records: list[tuple[Uptime, datetime]] = []
    for what, amount in history:
        match what:
            case "pass":
                machine.passes(amount)
            case "set":
                machine.off_s = amount
            case "reboot":
                machine.ntp = False
                machine.reboot()
                one = machine.clock()
            case "ask":
                # The platform's clock is right; ours counts only where it agrees.
                one.checked(-machine.off_s, correct=True)
            case "ntp":
                machine.ntp, machine.off_s = True, 0.0
                machine.passes(60)
                one.trust()
                machine.ntp = False
        records.append((one.uptime(), machine.true()))
        if one.trust().believed:
            assert abs((machine.now() - machine.true()).total_seconds()) <= 2 * TOLERANCE.total_seconds()
        for moment, true in records:
            known = one.at(moment)
            assert known is None or abs((known - true).total_seconds()) <= TOLERANCE.total_seconds() + 0.01


def test_only_so_many_boots_are_remembered_and_rubbish_is_forgotten() -> None:
    machine = Machine()
    for number in range(MAX_BOOTS + 20):
        machine.boot = f"b{number}"
        machine.clock().checked(0, correct=False)
    assert machine.clock().at(Uptime("b0", 1.0)) is None
    assert machine.clock().at(Uptime(f"b{MAX_BOOTS}", 1.0)) is not None
    assert machine.clock().at(Uptime("", 1.0)) is None
    for rubbish in ("[]", "{", '{"b": 1}', '{"b": [1, "unheard"]}'):
        machine.stored = rubbish
        assert machine.clock().trust() is Trust.UNCHECKED


# --- the kernel -------------------------------------------------------------------------------------


def test_the_kernel_answers_and_asking_changes_nothing() -> None:
    state = clock_module._adjtimex()
    assert state is not None
    assert clock_module.synchronised() is (state != 5)
    assert clock_module.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@pytest.mark.parametrize(("timesyncd", "timedated", "expected"), [(True, "no", True), (False, "yes", True), (False, "no", False)])  # fmt: skip
def test_where_the_sandbox_forbids_to_ask_the_kernel_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timesyncd: bool, timedated: str, expected: bool
) -> None:
    monkeypatch.setattr(clock_module, "_adjtimex", lambda: None)
    mark = tmp_path / "synchronized"
    if timesyncd:
        mark.touch()
    monkeypatch.setattr(clock_module, "_TIMESYNCD", mark)
    # A real program in timedatectl's place, as there is no bus here to ask.
    program = tmp_path / "timedatectl"
    program.write_text(f"#!/bin/sh\necho {timedated}\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert clock_module.synchronised() is expected


def test_a_kernel_that_refuses_is_told_from_one_that_is_not_synchronised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Refusing:
        @staticmethod
        def adjtimex(_buffer: object) -> int:
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_more: Refusing)
    assert clock_module._adjtimex() is None
    monkeypatch.setenv("PATH", "/nonexistent")
    assert not clock_module._timedated()


# --- a record's time --------------------------------------------------------------------------------


def untrusted(machine: Machine, one: TrustedClock) -> Verification:
    return replace(verification(at=machine.now()), clock_trusted=False, uptime=one.uptime())


def test_a_record_remembers_its_moment_and_former_versions_read_all_others() -> None:
    one = replace(verification(), clock_trusted=False, uptime=Uptime("b", 3.5))
    assert Verification.from_facts(one.to_facts()) == one
    assert "uptime" not in verification().to_facts()


def test_a_time_is_put_right_once_and_only_where_the_clock_was_not_trusted() -> None:
    right = Supplement(VERIFIED_AT, "2026-03-01T02:00:00+00:00", "clock", START)
    again = Supplement(VERIFIED_AT, "2026-03-01T05:00:00+00:00", "clock", START)
    one = replace(verification(), clock_trusted=False, uptime=Uptime("b", 3.5))
    made = supplemented(one, [right, again])
    assert made.verified_at == datetime(2026, 3, 1, 2, tzinfo=timezone.utc)
    assert made.clock_trusted
    assert supplemented(verification(), [right]).verified_at == verification().verified_at


@pytest.mark.parametrize("off_s", [-7200.0, 45.0, 86400.0 * 300])
def test_what_was_held_for_the_clock_goes_with_its_true_time(tmp_path: Path, off_s: float) -> None:
    machine = Machine()
    machine.off_s = off_s
    one = machine.clock()
    with completing(tmp_path, machine, one) as (completion, outbox):
        record, true = untrusted(machine, one), machine.true()
        outbox.put(record, PICTURES, person="p", holds={Hold.CLOCK: "verifyTime"})
        machine.passes(600)
        completion()
        assert outbox.administration.row(record.id).state == "held"
        # NTP comes, and the clock is right from here on.
        machine.ntp, machine.off_s = True, 0.0
        machine.passes(60)
        one.trust()
        completion()
        assert outbox.administration.row(record.id).state == "ready"
        sent = outbox.verification(record.id)
        assert abs((sent.verified_at - true).total_seconds()) < 0.01
        assert sent.clock_trusted
        (found,) = outbox.administration.find("p")
        assert abs((found.verified_at - sent.verified_at).total_seconds()) < 0.002, "to the millisecond"
        facts = outbox.claim(machine.now())
        assert facts is not None
        assert facts.verification == sent


def test_a_boot_that_was_never_known_waits_for_a_person(tmp_path: Path) -> None:
    machine = Machine()
    record = untrusted(machine, machine.clock())
    machine.reboot()
    machine.ntp = True
    one = machine.clock()
    assert one.trust() is Trust.NTP
    with completing(tmp_path, machine, one) as (completion, outbox):
        outbox.put(record, PICTURES, person="p", holds={Hold.CLOCK: "verifyTime"})
        completion()
        assert outbox.administration.row(record.id).state == "held"
        by_hand = Supplement(VERIFIED_AT, "2026-03-01T01:30:00+00:00", "nurse", machine.now())
        outbox.supplement(record.id, by_hand)
        completion()
        assert outbox.administration.row(record.id).state == "ready"
        (found,) = outbox.administration.find("p")
        assert found.verified_at == datetime(2026, 3, 1, 1, 30, tzinfo=timezone.utc)


class completing:  # noqa: N801 -- reads as a context
    """A completion with a real outbox, and nobody to decode pictures."""

    def __init__(self, folder: Path, machine: Machine, one: TrustedClock) -> None:
        settings = config("http://127.0.0.1:1")
        self._outbox = open_outbox(folder, machine)  # type: ignore[arg-type]  # any clock will do
        self._audit = Audit(folder / "audit.jsonl", b"k", machine)
        self._completion = Completion(
            CompletionParts(
                config=lambda: settings,
                decoder=None,  # type: ignore[arg-type]  # every record here has its pictures
                encoded=PICTURE_CHILD.encoded,
                outbox=self._outbox,
                audit=self._audit,
                board=Board(machine),
                clock=machine,
                record_ready=lambda: None,
                true_time=one.at,
            )
        )
        self._heartbeat = Heartbeat("completion", machine)

    def __enter__(self) -> tuple[Callable[[], None], Outbox]:
        stop = threading.Event()
        return lambda: self._completion.round(self._heartbeat, stop), self._outbox

    def __exit__(self, *_: object) -> None:
        self._outbox.close()
        self._audit.close()


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-11-24T13:00:00.1+08:00", "2026-11-24T13:00:00.100000+08:00"),
        ("2026-11-24T13:00:00.1234567+0800", "2026-11-24T13:00:00.123456+08:00"),
        ("2026-11-24 13:00:00,5Z", "2026-11-24T13:00:00.500000+00:00"),
        ("20261124T130000-0330", "2026-11-24T13:00:00-03:30"),
        ("2026-11-24 13:00:00.25+08", "2026-11-24T13:00:00.250000+08:00"),
        ("2026-11-24T13:00", "2026-11-24T13:00:00"),
        ("2026-11-24", "2026-11-24T00:00:00"),
    ],
)
def test_a_moment_of_others_is_read_alike_by_every_python(text: str, same: str) -> None:
    """3.10's own reader takes neither one digit of a second, nor seven, nor an offset without its colon or minutes."""
    assert iso_moment(text).isoformat() == same


@pytest.mark.parametrize(
    "text", ["", "2026-W48-1", "2026-13-01", "2026-11-24T25:00", "13:00", "2026-11-24T13:00+8"]
)
def test_what_is_no_moment_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        iso_moment(text)


@given(st.datetimes(timezones=st.just(timezone.utc) | st.none()))
def test_every_moment_is_read_back(moment: datetime) -> None:
    assert iso_moment(moment.isoformat()) == moment
