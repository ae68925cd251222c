"""The desk's state machine: whatever happens in whatever order, nothing is mixed up and nothing hangs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.catalogue import entries
from agent.records import FaceResult, FaceVerdict
from agent.station import events as ev
from agent.station import flow
from agent.station.events import Ending, Light
from agent.station.flow import Phase
from agent.station.notices import notices
from agent.vision.process import Observation
from drivers.card import CardKind, CardRecord

CARD = CardRecord(CardKind.RESIDENT, name="韦某", number="45010219900101002X")
SEEN = Observation(
    camera_jpeg=b"\xff\xd8camera",
    card_jpeg=b"\xff\xd8card",
    verdict=FaceVerdict(FaceResult.PASSED, cosine=0.7, score=0.9),
    taken_at_monotonic=1.0,
    reason="",
)
FAILED = replace(SEEN, verdict=FaceVerdict(FaceResult.FAILED, cosine=0.1, score=0.13))
NOBODY = replace(SEEN, verdict=FaceVerdict(FaceResult.NOT_VERIFIED, reason="no_face"), reason="no_face")
UNSEEN = replace(NOBODY, camera_jpeg=None, reason="camera_missing")


OTHER = CardRecord(CardKind.RESIDENT, name="陆某", number="450102199202020029")


def card(attempt: str = "a1", at: float = 5.0, *said: str) -> ev.Presented:
    return ev.Presented(attempt, OTHER if attempt == "a2" else CARD, at, said)


def run(*happened: ev.DeskEvent, start: float = 10.0) -> tuple[flow.Desk, list[ev.Effect]]:
    """Let things happen a tenth of a second apart."""
    desk, effects = flow.Desk(), []
    for number, event in enumerate(happened):
        desk, new = flow.advance(desk, event, start + number / 10)
        effects += new
    return desk, effects


def shown(effects: list[ev.Effect]) -> list[str]:
    return [effect.code for effect in effects if isinstance(effect, ev.Show)]


def kinds(effects: list[ev.Effect]) -> list[type]:
    return [type(effect) for effect in effects]


UP = ev.ReaderUp()


def test_a_whole_verification() -> None:
    desk, effects = run(UP, ev.CardRead(card()), ev.Looked("a1", SEEN), ev.Kept("a1", "I3001"))
    assert desk.phase is Phase.READY
    assert shown(effects) == ["I1001", "I1002", "I3001"]
    assert ev.Look(card(), 5.0) in effects
    assert ev.Keep(card(), SEEN) in effects
    assert ev.OpenAttempt("a1") in effects
    assert ev.CloseAttempt not in kinds(effects)


@pytest.mark.parametrize(("seen", "code"), [(UNSEEN, "E2401"), (replace(UNSEEN, reason="no_face"), "E2403")])
def test_without_a_camera_picture_nothing_is_kept_but_the_case(seen: Observation, code: str) -> None:
    desk, effects = run(UP, ev.CardRead(card()), ev.Looked("a1", seen))
    assert desk.phase is Phase.READY
    assert ev.Keep not in kinds(effects)
    assert ev.CloseAttempt("a1") in effects
    assert ev.FollowUp(card(), "no_picture") in effects
    assert effects[-1] == ev.Show(Light.ATTENTION, code)


def test_an_interrupted_attempt_is_announced_when_the_reader_is_ready() -> None:
    assert shown(run(ev.ReaderUp(interrupted=True))[1]) == ["W1001"]


def test_a_mans_card_is_announced_before_any_picture_and_then_taken() -> None:
    desk, effects = run(UP, ev.CardRead(card("a1", 5.0, "W1011")))
    assert (desk.phase, shown(effects)[-1]) == (Phase.ANNOUNCED, "W1011")
    assert ev.Look not in kinds(effects)
    early, effects = flow.advance(desk, ev.TimePassed(), desk.until - 0.1)
    assert (early, effects) == (desk, [])
    desk, effects = flow.advance(desk, ev.TimePassed(), desk.until)
    assert desk.phase is Phase.LOOKING
    assert [effect.since for effect in effects if isinstance(effect, ev.Look)] == [10.1 + flow.NOTICE_S]


@pytest.mark.parametrize(
    ("what", "noted", "code"),
    [
        (ev.EndIt(Ending.WRONG_CARD, "nurse"), ev.Note("attempt.wrong_card", "a1", "nurse"), "W1013"),
        (ev.CardLifted(), ev.Note("attempt.lifted", "a1", "station"), "W1014"),
    ],
)
def test_an_announced_card_is_called_off(what: ev.DeskEvent, noted: ev.Note, code: str) -> None:
    desk, effects = run(UP, ev.CardRead(card("a1", 5.0, "W1011")), what)
    assert desk.phase is Phase.READY
    assert noted in effects
    assert ev.CloseAttempt("a1") in effects
    assert ev.FollowUp not in kinds(effects)
    assert shown(effects)[-1] == code


@pytest.mark.parametrize("ending", [Ending.WRONG_CARD, Ending.REFUSED, Ending.IMPOSSIBLE])
def test_a_person_ends_a_look_and_a_verdict_made_by_then_is_kept(ending: Ending) -> None:
    said = (UP, ev.CardRead(card()), ev.EndIt(ending, "nurse"))
    desk, effects = run(*said)
    assert desk.phase is Phase.LOOKING
    assert effects[-1] == ev.StopLooking()
    for verdict in (FAILED, SEEN):
        _, kept = run(*said, ev.Looked("a1", verdict))
        assert ev.Keep(card(), verdict) in kept
    _, ended = run(*said, ev.Looked("a1", NOBODY))
    assert ev.Keep not in kinds(ended)
    assert ev.Note(f"attempt.{ending.value}", "a1", "nurse") in ended
    assert (ev.FollowUp(card(), ending.value) in ended) == (ending is not Ending.WRONG_CARD)


def test_another_card_ends_the_look_and_gets_its_own() -> None:
    desk, effects = run(UP, ev.CardRead(card()), ev.CardRead(card("a2", 9.0)), ev.Looked("a1", NOBODY))
    assert effects.index(ev.StopLooking()) < effects.index(ev.CloseAttempt("a1"))
    assert ev.Note("attempt.exchanged", "a1", "station") in effects
    assert "W1015" in shown(effects)
    assert effects[-1] == ev.Look(card("a2", 9.0), 9.0)
    assert (desk.phase, desk.attempt) == (Phase.LOOKING, "a2")
    _, effects = run(
        UP, ev.CardRead(card()), ev.CardRead(card("a2")), ev.Looked("a1", FAILED), ev.Kept("a1", "W2001")
    )
    assert ev.Keep(card(), FAILED) in effects, "the first woman's verdict stands"
    assert ev.Look(card("a2"), 5.0) in effects


def test_her_own_card_laid_down_again_during_the_look_changes_nothing() -> None:
    desk, effects = run(UP, ev.CardRead(card()), ev.CardLifted(), ev.CardRead(card("a3")))
    assert (desk.attempt, desk.waiting, desk.phase) == ("a1", None, Phase.LOOKING)
    assert ev.StopLooking() not in effects


def test_the_same_card_again_waits_for_a_persons_word() -> None:
    asked = (UP, ev.CardAgain(card(), "W1002"))
    desk, effects = run(*asked)
    assert (desk.phase, shown(effects)[-1]) == (Phase.ASKING, "W1002")
    desk, effects = run(*asked, ev.Again("nurse"))
    assert desk.phase is Phase.LOOKING
    assert ev.Note("attempt.confirmed", "a1", "nurse") in effects
    assert run(*asked, ev.CardLifted())[0] == flow.Desk(Phase.READY)
    desk, _ = flow.advance(run(*asked)[0], ev.TimePassed(), 10.1 + flow.ASK_S)
    assert desk == flow.Desk(Phase.READY), "its content is forgotten"


def test_a_card_left_lying_is_told_once_and_only_where_that_is_known() -> None:
    desk, _ = run(UP, ev.CardRead(card()), ev.Looked("a1", SEEN), ev.Kept("a1", "I3001"))
    late = 10.3 + flow.LEFT_S
    assert flow.advance(desk, ev.TimePassed(lying=False), late)[1] == []
    assert flow.advance(desk, ev.TimePassed(lying=True), late - 1)[1] == []
    told, effects = flow.advance(desk, ev.TimePassed(lying=True), late)
    assert shown(effects) == ["W1005"]
    assert flow.advance(told, ev.TimePassed(lying=True), late + 60)[1] == []
    assert shown(flow.advance(told, ev.CardLifted(), late + 61)[1]) == ["I1001"]


def test_a_reader_lost_meanwhile_is_told_when_the_attempt_has_ended() -> None:
    desk, effects = run(UP, ev.CardRead(card()), ev.ReaderLost("E1103"))
    assert (desk.phase, shown(effects)[-1]) == (Phase.LOOKING, "I1002")
    desk, effects = run(
        UP, ev.CardRead(card()), ev.ReaderLost("E1103"), ev.Looked("a1", SEEN), ev.Kept("a1", "I3001")
    )
    assert (desk.phase, shown(effects)[-2:]) == (Phase.READER_DOWN, ["I3001", "E1103"])


@pytest.mark.parametrize(
    ("sex", "until", "said"),
    [
        ("2", "20350101", ()),
        ("2", "长期", ()),
        ("2", "", ()),
        ("2", "20261124", ()),
        ("2", "20261123", ("W1012",)),
        ("1", "20350101", ("W1011",)),
        ("1", "20200101", ("W1011", "W1012")),
    ],
)
def test_what_is_said_of_a_card(sex: str, until: str, said: tuple[str, ...]) -> None:
    found = CardRecord(CardKind.RESIDENT, sex_code=sex, valid_until=until)
    assert notices(found, date(2026, 11, 24)) == said


# --- every history ----------------------------------------------------------------------------------

attempts = st.sampled_from(["a1", "a2", "a3"])
codes = st.sampled_from(["E1101", "E1103", "E1106"])
cards = st.builds(
    ev.Presented,
    attempts,
    st.sampled_from([CARD, OTHER]),
    st.just(0.0),
    st.sampled_from([(), ("W1011",), ("W1012",)]),
)
endings = st.sampled_from([Ending.WRONG_CARD, Ending.REFUSED, Ending.IMPOSSIBLE])
happenings: st.SearchStrategy[ev.DeskEvent] = st.one_of(
    st.builds(ev.ReaderUp, st.booleans()),
    st.builds(ev.ReaderLost, codes),
    st.builds(ev.CardRead, cards),
    st.builds(ev.CardAgain, cards, st.just("W1002")),
    st.builds(ev.CardUnreadable, codes),
    st.just(ev.CardLifted()),
    st.builds(ev.TimePassed, st.booleans()),
    st.builds(ev.EndIt, endings, st.just("nurse")),
    st.builds(ev.Again, st.just("nurse")),
    st.builds(ev.Looked, attempts, st.sampled_from([SEEN, FAILED, NOBODY, UNSEEN])),
    st.builds(ev.LookFailed, attempts, codes),
    st.builds(ev.Kept, attempts, st.just("I3001")),
    st.builds(ev.NotKept, attempts, codes),
)
#: Half of all histories mostly go on with the attempt under way; the others are anything.
histories = st.lists(st.tuples(happenings, st.floats(0, 40)), max_size=40)


def fresh(
    history: list[tuple[ev.DeskEvent, float]],
) -> Iterator[tuple[flow.Desk, ev.DeskEvent, flow.Desk, list[ev.Effect]]]:
    """Live through a history; every card that is laid down gets an id of its own, as in the loop."""
    desk, now, numbers = flow.Desk(), 0.0, itertools.count()
    for given_event, after in history:
        event, now = given_event, now + after
        if isinstance(event, (ev.CardRead, ev.CardAgain)):
            mine = replace(event.presented, attempt=f"n{next(numbers)}", at=now)
            event = replace(event, presented=mine)
        elif isinstance(event, (ev.Looked, ev.LookFailed, ev.Kept, ev.NotKept)) and event.attempt != "a3":
            event = replace(event, attempt=desk.attempt)
        before = desk
        desk, effects = flow.advance(desk, event, now)
        yield before, event, desk, effects


@given(histories)
def test_every_history_is_answered_and_pictures_meet_only_their_own_card(
    history: list[tuple[ev.DeskEvent, float]],
) -> None:
    looking = ""
    for before, event, desk, effects in fresh(history):
        for effect in effects:
            if isinstance(effect, ev.Show):
                assert effect.code in entries()
            if isinstance(effect, ev.Keep):
                assert isinstance(event, ev.Looked)
                assert effect.presented.attempt == event.attempt == looking
            if isinstance(effect, ev.Look):
                assert effect.presented.attempt != looking, "one look a card"
                assert effect.since >= effect.presented.at
                looking = effect.presented.attempt
        holds_card = desk.phase in {Phase.ANNOUNCED, Phase.ASKING, Phase.LOOKING, Phase.KEEPING}
        assert (desk.current is not None) == holds_card
        assert desk.waiting is None or desk.phase in {Phase.LOOKING, Phase.KEEPING}
        assert (
            before.phase is not Phase.KEEPING
            or desk.phase is not Phase.LOOKING
            or desk.attempt != before.attempt
        )


@given(histories)
def test_every_opened_attempt_ends_once_and_no_verdict_is_lost(
    history: list[tuple[ev.DeskEvent, float]],
) -> None:
    opened = ""
    for before, event, desk, effects in fresh(history):
        kept = [effect for effect in effects if isinstance(effect, ev.Keep)]
        if isinstance(event, ev.Looked) and before.phase is Phase.LOOKING and event.attempt == before.attempt:
            made = event.observation.verdict.cosine is not None
            assert not made or kept, "a verdict is never suppressed"
        ended = [effect.attempt for effect in effects if isinstance(effect, ev.CloseAttempt)]
        if isinstance(event, ev.Kept) and before.phase is Phase.KEEPING and event.attempt == before.attempt:
            ended.append(event.attempt)
        for effect in effects:
            if isinstance(effect, (ev.FollowUp, ev.Note)):
                about = effect.presented.attempt if isinstance(effect, ev.FollowUp) else effect.attempt
                assert about in {opened, desk.attempt}
        for attempt in ended:
            assert attempt == opened
            opened = ""
        for effect in effects:
            if isinstance(effect, ev.OpenAttempt):
                assert not opened
                opened = effect.attempt
        assert opened == (desk.attempt if desk.phase is not Phase.ASKING else "")


@given(histories)
def test_the_desk_always_finds_back_to_ready(history: list[tuple[ev.DeskEvent, float]]) -> None:
    desk = next((last for _, _, last, _ in reversed(list(fresh(history)))), flow.Desk())
    for turn in range(12):
        ending: dict[Phase, ev.DeskEvent] = {
            Phase.READER_DOWN: ev.ReaderUp(),
            Phase.READY: ev.ReaderUp(),
            Phase.ANNOUNCED: ev.TimePassed(),
            Phase.ASKING: ev.TimePassed(),
            Phase.LOOKING: ev.LookFailed(desk.attempt, "E2403"),
            Phase.KEEPING: ev.NotKept(desk.attempt, "E3101"),
        }
        desk, _ = flow.advance(desk, ending[desk.phase], 1e6 + 100 * turn)
    assert desk.phase is Phase.READY
    assert desk.current is None
