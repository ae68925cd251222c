"""Whose fault is it: the rules one by one, and that no history parks a record without a witness."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.records import About
from agent.uploader.judgement import (
    CONTRADICTIONS,
    FAILURES,
    IN_A_ROW,
    MAX_GOOD,
    MAX_SUSPECTS,
    Case,
    Failure,
    Judgement,
    Ruling,
    Verdict,
)

MARK = "conventions"
OURS, OTHERS = "M/1", "M/0"


def case(record: str, device: str = OURS, **more: Any) -> Case:
    return Case(record, device, **{"own_device": device == OURS, "skew_s": 0.0, "length": 1000, **more})


#: A lane that has been working.
WORKING = Judgement().accepted(case("first"), MARK)


def refused(judgement: Judgement, one: Case, about: About = About.RECORD) -> tuple[Judgement, Ruling]:
    return judgement.refused(one, about, MARK)


def test_before_the_first_acceptance_a_refusal_stops_the_lane() -> None:
    judgement, ruling = refused(Judgement(), case("a"))
    assert ruling == Ruling(Verdict.LANE, "E5105")
    assert refused(judgement, case("b"))[1] == Ruling(Verdict.LANE, "E5105")


def test_after_a_change_of_conventions_nothing_is_known_again() -> None:
    assert not WORKING.commissioning(MARK)
    assert WORKING.refused(case("a"), About.RECORD, "others")[1] == Ruling(Verdict.LANE, "E5105")
    back = WORKING.accepted(case("a"), "others").accepted(case("b"), MARK)
    assert back.good == ("others", MARK)
    assert len(WORKING.good) <= MAX_GOOD


def test_one_bad_record_is_parked_once_another_has_passed_since() -> None:
    judgement, ruling = refused(WORKING, case("bad"))
    assert ruling == Ruling(Verdict.LATER, "E5103")
    # Refused again with nobody in between: nothing new is known.
    judgement, ruling = refused(judgement, case("bad"))
    assert ruling.verdict is Verdict.LATER
    judgement, ruling = refused(judgement.accepted(case("good"), MARK), case("bad"))
    assert ruling == Ruling(Verdict.PARK, "E5101")
    assert judgement.suspects == {}


def test_without_the_platforms_time_two_witnesses_are_wanted() -> None:
    judgement, _ = refused(WORKING, case("bad", skew_s=None))
    judgement, ruling = refused(judgement.accepted(case("good"), MARK), case("bad", skew_s=None))
    assert ruling.verdict is Verdict.LATER
    _, ruling = refused(judgement.accepted(case("good"), MARK), case("bad", skew_s=None))
    assert ruling.verdict is Verdict.PARK


def test_different_records_in_a_row_are_the_lanes_fault() -> None:
    judgement, verdicts = WORKING, []
    for number in range(IN_A_ROW + 2):
        judgement, ruling = refused(judgement, case(f"r{number}"))
        verdicts.append((ruling.verdict, ruling.code))
    assert verdicts[: IN_A_ROW - 1] == [(Verdict.LATER, "E5103")] * (IN_A_ROW - 1)
    assert set(verdicts[IN_A_ROW - 1 :]) == {(Verdict.LANE, "E5102")}


@pytest.mark.parametrize(
    ("about", "skew_s"),
    [(About.LANE, 0.0), (About.LANE, None), (About.RECORD, 900.0), (About.RECORD, -900.0)],
)
def test_a_wrong_clock_or_secret_parks_nobody_however_often_it_comes_and_goes(
    about: About, skew_s: float | None
) -> None:
    judgement = WORKING
    for _ in range(20):
        judgement, ruling = refused(judgement, case("a", skew_s=skew_s), about)
        assert ruling.verdict in {Verdict.LANE, Verdict.LATER}
        assert ruling.code == "E5110"
        judgement = judgement.accepted(case("b"), MARK)


def test_a_platform_whose_clock_is_off_and_does_not_mind_still_gets_its_bad_records_parked() -> None:
    judgement = WORKING.accepted(case("b", skew_s=900.0), MARK)
    judgement, _ = refused(judgement, case("bad", skew_s=901.0))
    judgement, ruling = refused(judgement.accepted(case("b", skew_s=902.0), MARK), case("bad", skew_s=903.0))
    assert ruling.verdict is Verdict.PARK


def test_our_device_stops_the_lane_and_another_one_only_itself() -> None:
    assert refused(WORKING, case("a"), About.DEVICE)[1] == Ruling(Verdict.LANE, "E5106")
    assert refused(WORKING, case("a", OTHERS), About.DEVICE)[1] == Ruling(Verdict.DEVICE, "E5106")


def test_a_device_that_is_refused_without_a_word_is_told_by_its_records() -> None:
    judgement, _ = refused(WORKING, case("old1", OTHERS))
    judgement, _ = refused(judgement.accepted(case("n1"), MARK), case("old2", OTHERS))
    _, ruling = refused(judgement.accepted(case("n2"), MARK), case("old1", OTHERS))
    assert ruling == Ruling(Verdict.DEVICE, "E5106")


def test_the_last_record_of_another_device_is_not_parked_either() -> None:
    judgement, verdicts = WORKING, set()
    for number in range(10):
        judgement, ruling = refused(judgement, case("old", OTHERS))
        verdicts.add(ruling.verdict)
        judgement = judgement.accepted(case(f"n{number}"), MARK)
    assert verdicts == {Verdict.LATER, Verdict.DEVICE}


def test_a_duplicate_after_a_lost_answer_is_probably_delivered() -> None:
    lost = case("a", unknown_before=True)
    assert refused(WORKING, lost, About.DUPLICATE)[1] == Ruling(Verdict.PARK, "W5107")
    assert refused(Judgement(), lost, About.DUPLICATE)[1] == Ruling(Verdict.PARK, "W5107")
    assert refused(WORKING, case("a"), About.DUPLICATE)[1].verdict is Verdict.LATER


def test_too_large_goes_smaller_once_and_is_then_parked() -> None:
    assert refused(WORKING, case("a"), About.SIZE)[1] == Ruling(Verdict.SMALLER, "E5104")
    assert refused(WORKING, case("a", shrunk=True), About.SIZE)[1] == Ruling(Verdict.PARK, "E5104")
    judgement = WORKING
    for number in range(IN_A_ROW):
        judgement, ruling = refused(judgement, case(f"r{number}"), About.SIZE)
        assert ruling.verdict is Verdict.SMALLER
    assert refused(judgement, case("r0", shrunk=True), About.SIZE)[1] == Ruling(Verdict.LANE, "E5104")
    # Nothing was accepted yet: it may be anything.
    assert refused(Judgement(), case("a", shrunk=True), About.SIZE)[1] == Ruling(Verdict.LANE, "E5105")


def test_a_record_over_which_the_platform_alone_fails_is_parked_after_a_few() -> None:
    judgement, verdicts = WORKING, []
    for number in range(FAILURES + 1):
        judgement, ruling = judgement.failed(case("a"), Failure.INSIDE)
        verdicts.append(ruling.verdict)
        judgement = judgement.accepted(case(f"n{number}"), MARK)
    assert verdicts == [Verdict.LATER] * FAILURES + [Verdict.PARK]


def test_a_platform_that_fails_over_everybody_parks_nobody() -> None:
    judgement = WORKING
    for number in range(20 * FAILURES):
        judgement, ruling = judgement.failed(case(f"r{number % 4}"), Failure.INSIDE)
        assert ruling.verdict is Verdict.LATER


def test_a_limit_that_lets_nobody_through_does_not_park_the_backlog() -> None:
    """One after the other, each smaller at once: the third refused in a row stops the lane."""
    judgement, verdicts = WORKING, []
    for number in range(5):
        judgement, _ = refused(judgement, case(f"r{number}"), About.SIZE)
        judgement, ruling = refused(judgement, case(f"r{number}", shrunk=True), About.SIZE)
        verdicts.append(ruling.verdict)
    assert verdicts == [Verdict.PARK] * (IN_A_ROW - 1) + [Verdict.LANE] * (6 - IN_A_ROW)
    judgement = judgement.accepted(case("small"), MARK)
    assert refused(judgement, case("big", shrunk=True), About.SIZE)[1] == Ruling(Verdict.PARK, "E5104")


def test_a_large_record_that_fails_alone_goes_smaller_before_it_is_parked() -> None:
    judgement = WORKING
    for number in range(FAILURES + 1):
        judgement, ruling = judgement.failed(case("big", length=5000), Failure.INSIDE)
        judgement = judgement.accepted(case(f"n{number}"), MARK)
    assert ruling == Ruling(Verdict.SMALLER, "E5104")
    assert judgement.failed(case("big", length=2000, shrunk=True), Failure.INSIDE)[1].verdict is Verdict.PARK


def test_contradictions_are_repeated_a_few_times_only() -> None:
    judgement, verdicts = WORKING, []
    for number in range(CONTRADICTIONS):
        judgement, ruling = judgement.failed(case("a"), Failure.CONTRADICTION)
        verdicts.append(ruling.verdict)
        judgement = judgement.accepted(case(f"n{number}"), MARK)
    assert verdicts == [Verdict.LATER, Verdict.LATER, Verdict.PARK]


def test_a_record_that_alone_breaks_the_connection_no_longer_stops_the_lane() -> None:
    judgement, ruling = WORKING.failed(case("a", length=5000), Failure.BROKE)
    assert ruling == Ruling(Verdict.LANE, "E4104")
    verdicts = []
    for number in range(CONTRADICTIONS):
        judgement, ruling = judgement.accepted(case(f"n{number}"), MARK).failed(
            case("a", length=5000), Failure.BROKE
        )
        verdicts.append(ruling.verdict)
    assert verdicts == [Verdict.LATER, Verdict.LATER, Verdict.SMALLER]


# --- any history ------------------------------------------------------------------------------------

records = st.sampled_from(["a", "b", "c", "d"])
devices = {"a": OURS, "b": OURS, "c": OTHERS, "d": OTHERS}
skews = st.one_of(st.none(), st.floats(-2000, 2000))
events = st.one_of(
    st.tuples(st.just("accepted"), records, skews, st.none()),
    st.tuples(st.just("refused"), records, skews, st.sampled_from(About)),
    st.tuples(st.just("failed"), records, skews, st.sampled_from(Failure)),
    st.tuples(st.just("changed"), records, skews, st.none()),
)


@given(st.lists(events, max_size=60))
def test_no_history_parks_a_record_without_a_witness_of_its_own_device(history: list[Any]) -> None:
    judgement = Judgement()
    passed_since: dict[str, set[str]] = {}  # record -> others of its device accepted since it last failed
    for what, record, skew_s, about in history:
        one = case(record, devices[record], skew_s=skew_s)
        if what == "accepted":
            judgement = judgement.accepted(one, MARK)
            for other, passed in passed_since.items():
                if other != record and devices[other] == devices[record]:
                    passed.add(record)
            passed_since.pop(record, None)
        elif what == "changed":
            judgement, passed_since = judgement.forgiven(), {}
        else:
            judge = judgement.refused(one, about, MARK) if what == "refused" else judgement.failed(one, about)
            judgement, ruling = judge
            witnesses = passed_since.get(record, set())
            if ruling.verdict is Verdict.PARK:
                assert witnesses, (what, about)
                assert about is not About.LANE
                assert about is not About.DEVICE
            passed_since[record] = set()
        assert Judgement.from_json(judgement.to_json()) == judgement
        assert set(judgement.in_a_row) <= set(judgement.suspects)


def test_what_is_remembered_stays_bounded() -> None:
    judgement = WORKING
    for number in range(MAX_SUSPECTS + 50):
        judgement, _ = refused(judgement, case(f"r{number}"))
    assert len(judgement.suspects) == MAX_SUSPECTS
    assert len(judgement.in_a_row) <= MAX_SUSPECTS
    assert f"r{MAX_SUSPECTS + 49}" in judgement.suspects


@pytest.mark.parametrize("stored", [None, "", "[]", "{", '{"unheard": 1}', '{"suspects": {"a": {"x": 1}}}'])
def test_what_another_version_stored_is_started_afresh(stored: str | None) -> None:
    assert Judgement.from_json(stored) == Judgement()


def test_steady_success_is_not_a_change_worth_storing() -> None:
    after = WORKING.accepted(case("second", skew_s=1.0), MARK)
    assert after == WORKING
    assert replace(after, largest=0) != WORKING
