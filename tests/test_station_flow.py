"""The desk's state machine: whatever happens in whatever order, nothing is mixed up and nothing hangs."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.catalogue import entries
from agent.records import FaceResult, FaceVerdict
from agent.station import flow
from agent.vision import Observation
from drivers.card import CardKind, CardRecord

CARD = CardRecord(CardKind.RESIDENT, name="韦某", number="45010219900101002X")
SEEN = Observation(
    camera_jpeg=b"\xff\xd8camera",
    card_jpeg=b"\xff\xd8card",
    verdict=FaceVerdict(FaceResult.PASSED, cosine=0.7, score=0.9),
    taken_at_monotonic=1.0,
    reason="",
)
UNSEEN = replace(SEEN, camera_jpeg=None, reason="camera_missing")

attempts = st.sampled_from(["a1", "a2", "a3"])
codes = st.sampled_from(["E1101", "E1103", "E1106"])
events: st.SearchStrategy[flow.DeskEvent] = st.one_of(
    st.builds(flow.ReaderUp, st.booleans()),
    st.builds(flow.ReaderLost, codes),
    st.builds(flow.CardRead, attempts, st.just(CARD), st.just(0.0)),
    st.builds(flow.CardUnreadable, codes),
    st.builds(flow.Looked, attempts, st.sampled_from([SEEN, UNSEEN])),
    st.builds(flow.LookFailed, attempts, codes),
    st.builds(flow.Kept, attempts, st.integers(0, 3)),
    st.builds(flow.NotKept, attempts, codes),
)


def run(*happened: flow.DeskEvent) -> tuple[flow.Desk, list[flow.Effect]]:
    desk, effects = flow.Desk(), []
    for event in happened:
        desk, new = flow.advance(desk, event)
        effects += new
    return desk, effects


def codes_shown(effects: list[flow.Effect]) -> list[str]:
    return [effect.code for effect in effects if isinstance(effect, flow.Show)]


def test_a_whole_verification() -> None:
    desk, effects = run(
        flow.ReaderUp(), flow.CardRead("a1", CARD, 5.0), flow.Looked("a1", SEEN), flow.Kept("a1", 0)
    )
    assert desk.phase is flow.Phase.READY
    assert codes_shown(effects) == ["I1001", "I1002", "I3001"]
    assert flow.Look("a1", CARD, 5.0) in effects
    assert flow.Keep("a1", CARD, SEEN) in effects
    assert flow.OpenAttempt("a1") in effects
    assert flow.CloseAttempt("a1") not in effects


def test_without_a_camera_picture_nothing_is_kept_and_the_screen_says_so() -> None:
    desk, effects = run(flow.ReaderUp(), flow.CardRead("a1", CARD, 5.0), flow.Looked("a1", UNSEEN))
    assert desk.phase is flow.Phase.READY
    assert not [effect for effect in effects if isinstance(effect, flow.Keep)]
    assert flow.CloseAttempt("a1") in effects
    assert effects[-1] == flow.Show(flow.Light.ATTENTION, "E2401")


def test_an_interrupted_attempt_is_announced_when_the_reader_is_ready() -> None:
    assert codes_shown(run(flow.ReaderUp(interrupted=True))[1]) == ["W1001"]


def test_a_held_record_is_kept_all_the_same() -> None:
    shown = codes_shown(
        run(flow.ReaderUp(), flow.CardRead("a1", CARD, 5.0), flow.Looked("a1", SEEN), flow.Kept("a1", 2))[1]
    )
    assert shown[-1] == "I3002"


def test_a_reader_unplugged_while_the_woman_looks_does_not_end_her_attempt() -> None:
    desk, effects = run(
        flow.ReaderUp(), flow.CardRead("a1", CARD, 5.0), flow.ReaderLost("E1103"), flow.Looked("a1", SEEN)
    )
    assert desk.phase is flow.Phase.KEEPING
    assert flow.Keep("a1", CARD, SEEN) in effects


@given(st.lists(events, max_size=30))
def test_every_history_is_answered_and_pictures_meet_only_their_own_card(
    happened: list[flow.DeskEvent],
) -> None:
    desk, looking = flow.Desk(), ""
    for event in happened:
        desk, effects = flow.advance(desk, event)
        for effect in effects:
            if isinstance(effect, flow.Look):
                looking = effect.attempt
            if isinstance(effect, flow.Keep):
                assert isinstance(event, flow.Looked)
                assert effect.attempt == looking == event.attempt
                assert effect.observation.camera_jpeg is not None
            if isinstance(effect, flow.Show):
                assert effect.code in entries()
        assert (desk.card is not None) == (desk.phase in {flow.Phase.LOOKING, flow.Phase.KEEPING})


@given(st.lists(events, max_size=30))
def test_every_opened_attempt_is_closed_or_kept_before_the_next_one(happened: list[flow.DeskEvent]) -> None:
    desk, opened = flow.Desk(), ""
    for event in happened:
        before = desk
        desk, effects = flow.advance(desk, event)
        for effect in effects:
            if isinstance(effect, flow.OpenAttempt):
                assert not opened
                opened = effect.attempt
            if isinstance(effect, flow.CloseAttempt):
                assert effect.attempt == opened
                opened = ""
        if isinstance(event, flow.Kept) and before.phase is flow.Phase.KEEPING and event.attempt == opened:
            opened = ""


@given(st.lists(events, max_size=20))
def test_the_desk_always_finds_back_to_ready(happened: list[flow.DeskEvent]) -> None:
    desk, _ = run(*happened)
    ending: dict[flow.Phase, flow.DeskEvent] = {
        flow.Phase.READER_DOWN: flow.ReaderUp(),
        flow.Phase.READY: flow.ReaderUp(),
        flow.Phase.LOOKING: flow.LookFailed(desk.attempt, "E2403"),
        flow.Phase.KEEPING: flow.NotKept(desk.attempt, "E3101"),
    }
    desk, _ = flow.advance(desk, ending[desk.phase])
    assert desk.phase is flow.Phase.READY
