"""Which card is read, asked about, or left alone: over every firmware, every history, every gap."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.station import presence
from agent.station.presence import (
    ASK_WITHIN_S,
    READ_TRIES,
    RECOGNISE_S,
    SETTLE_S,
    Look,
    Outcome,
    Presence,
    Stage,
)

POLL_S = 0.35


@dataclass
class World:
    """A reader of one firmware with a card on it or none, and the machine that watches it."""

    strict: bool
    probes: bool
    state: Presence = field(default_factory=Presence)
    now: float = 0.0
    card: str = ""
    read: bool = False  # by the firmware's own account
    fails: bool = False
    readings: int = 0
    outcomes: list[tuple[Outcome, str]] = field(default_factory=list)

    def feed(self, event: presence.PresenceEvent) -> list[Outcome]:
        self.state, outcomes = presence.advance(self.state, event)
        self.outcomes += [(outcome, self.card) for outcome in outcomes if outcome is not Outcome.READ_CARD]
        return outcomes

    def lay(self, card: str) -> None:
        self.card, self.read = card, False

    def lift(self) -> None:
        self.card, self.read = "", False

    def open(self) -> None:
        self.read = False
        self.feed(presence.Opened(self.now))

    def poll(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += POLL_S
            if self.state.look is Look.PROBE:
                there = self.read and bool(self.card)
                self.feed(presence.Probed(there, self.now))
                if there:
                    continue
            found = bool(self.card) and not (self.strict and self.read)
            if Outcome.READ_CARD in self.feed(presence.Polled(found, self.now)):
                self._read()

    def _read(self) -> None:
        self.readings += 1
        if self.fails:
            self.feed(presence.ReadFailed(self.now))
            return
        self.read = True
        self.feed(presence.WasRead(self.card, self.probes, self.now))

    def keep(self) -> None:
        self.feed(presence.Kept(self.state.card, self.now))

    def told(self) -> list[Outcome]:
        return [outcome for outcome, _ in self.outcomes]


FIRMWARES = [(strict, probes) for strict in (True, False) for probes in (True, False)]
firmwares = pytest.mark.parametrize(("strict", "probes"), FIRMWARES)


@firmwares
def test_a_card_left_lying_is_read_once_and_a_lifted_one_is_read_again(strict: bool, probes: bool) -> None:
    world = World(strict, probes)
    world.open()
    world.poll(20)
    world.lay("a")
    world.poll(200)
    assert world.told() == [Outcome.PRESENTED]
    # Lenient firmware that cannot be probed: the only way to see that it is still the same card.
    again = 0 if strict or probes else 200 * POLL_S / RECOGNISE_S
    assert 0 <= world.readings - 1 <= again
    before = world.readings
    world.lift()
    world.poll(3)
    # Only strict firmware that cannot be probed keeps the lifting to itself.
    assert world.told()[1:] == ([] if strict and not probes else [Outcome.LIFTED])
    world.lay("a")
    world.poll(20)
    assert world.told()[-1] is Outcome.PRESENTED
    assert world.readings - before <= 2 + 20 * POLL_S / RECOGNISE_S


@firmwares
@pytest.mark.parametrize("lain", [1, 2, 30])
def test_a_card_exchanged_between_two_looks_is_read(strict: bool, probes: bool, lain: int) -> None:
    world = World(strict, probes)
    world.lay("a")
    world.poll(lain)
    world.lay("b")
    world.poll(round(RECOGNISE_S / POLL_S) + 2)
    assert [card for outcome, card in world.outcomes if outcome is Outcome.PRESENTED] == ["a", "b"]


@firmwares
def test_a_card_swapped_while_nobody_looked_is_read_and_the_same_one_is_not_presented_again(
    strict: bool, probes: bool
) -> None:
    world = World(strict, probes)
    world.lay("a")
    world.poll(2)
    world.now += 10
    world.poll(3)
    assert world.told() == [Outcome.PRESENTED]
    world.now += 10
    world.lay("b")
    world.poll(3)
    assert [card for outcome, card in world.outcomes if outcome is Outcome.PRESENTED] == ["a", "b"]


@firmwares
def test_after_the_line_was_opened_the_card_handled_last_is_recognised_until_it_is_lifted(
    strict: bool, probes: bool
) -> None:
    world = World(strict, probes)
    world.lay("a")
    world.poll(3)
    world.keep()
    world.open()
    world.poll(20)
    assert world.told() == [Outcome.PRESENTED, Outcome.KNOWN]
    world.now += ASK_WITHIN_S
    world.lift()
    world.poll(3)
    world.lay("a")
    world.poll(3)
    assert world.told()[-1] is Outcome.PRESENTED


def test_after_a_restart_the_card_verified_last_is_recognised_by_its_mark() -> None:
    world = World(strict=True, probes=False, state=Presence(verified="a", verified_at=-500.0))
    world.lay("a")
    world.open()
    world.poll(5)
    assert world.told() == [Outcome.KNOWN]


def test_a_reader_that_needs_a_moment_after_power_does_not_make_the_card_a_new_one() -> None:
    world = World(strict=True, probes=False, state=Presence(verified="a", verified_at=-500.0))
    world.open()
    world.poll(int(SETTLE_S / POLL_S) - 1)
    world.lay("a")
    world.poll(2)
    assert world.told() == [Outcome.KNOWN]


@firmwares
def test_the_same_card_within_a_minute_of_its_record_asks_first(strict: bool, probes: bool) -> None:
    world = World(strict, probes)
    world.open()
    world.poll(20)
    world.lay("a")
    world.poll(2)
    world.keep()
    for expected in (Outcome.ASK_FIRST, Outcome.PRESENTED):
        world.lift()
        world.poll(3)
        world.lay("a")
        world.poll(5)
        assert world.told()[-1] is expected
    # Another card is never asked about, and the first one is not asked about after its minute.
    world.lift()
    world.poll(3)
    world.lay("b")
    world.poll(2)
    world.now += ASK_WITHIN_S
    world.lift()
    world.poll(3)
    world.lay("a")
    world.poll(2)
    assert world.told()[-1] is Outcome.PRESENTED


@firmwares
def test_a_card_that_cannot_be_read_is_tried_a_few_times_and_again_once_it_was_lifted(
    strict: bool, probes: bool
) -> None:
    world = World(strict, probes, fails=True)
    world.lay("a")
    world.poll(50)
    assert world.readings == READ_TRIES
    world.lift()
    world.poll(2)
    world.fails = False
    world.lay("a")
    world.poll(2)
    assert world.told() == [Outcome.PRESENTED]


def test_lenient_firmware_that_misses_a_card_once_does_not_make_it_a_new_one() -> None:
    world = World(strict=False, probes=False)
    world.lay("a")
    world.poll(5)
    world.now += POLL_S
    world.feed(presence.Polled(False, world.now))
    world.poll(5)
    assert world.told() == [Outcome.PRESENTED]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("lay"), st.sampled_from("abc")),
        st.tuples(st.just("lift"), st.just("")),
        st.tuples(st.just("open"), st.just("")),
        st.tuples(st.just("keep"), st.just("")),
        st.tuples(st.just("fails"), st.sampled_from(["", "yes"])),
        st.tuples(st.just("wait"), st.sampled_from(["0.1", "5", "70"])),
    ),
    max_size=25,
)


def act(world: World, step: tuple[str, str]) -> None:
    name, argument = step
    if name == "lay":
        world.lift()
        world.poll(3)  # a hand needs a second
        world.lay(argument)
    elif name == "wait":
        world.now += float(argument)
    elif name == "fails":
        world.fails = bool(argument)
    else:
        getattr(world, name)()


@given(st.booleans(), st.booleans(), steps)
def test_whatever_happens_the_next_card_is_read_and_only_what_lies_there_is_presented(
    strict: bool, probes: bool, history: list[tuple[str, str]]
) -> None:
    world = World(strict, probes)
    for step in history:
        before = len(world.outcomes)
        act(world, step)
        world.poll(3)
        for outcome, card in world.outcomes[before:]:
            if outcome is not Outcome.LIFTED:
                assert card, "told of a card where none lies"
    world.fails = False
    world.lift()
    world.poll(int(SETTLE_S / POLL_S) + 3)
    world.lay("fresh")
    world.poll(3)
    assert world.outcomes[-1] == (Outcome.PRESENTED, "fresh")


@given(st.booleans(), st.booleans(), steps)
def test_a_card_is_presented_at_most_once_each_time_it_is_laid_down(
    strict: bool, probes: bool, history: list[tuple[str, str]]
) -> None:
    world, laid = World(strict, probes), 0
    for step in history:
        laid += step[0] == "lay"
        act(world, step)
        world.poll(3)
    assert world.told().count(Outcome.PRESENTED) <= laid


events: st.SearchStrategy[presence.PresenceEvent] = st.one_of(
    st.builds(presence.Opened, st.floats(0, 100)),
    st.builds(presence.Polled, st.booleans(), st.floats(0, 100)),
    st.builds(presence.Probed, st.booleans(), st.floats(0, 100)),
    st.builds(presence.WasRead, st.sampled_from("ab"), st.booleans(), st.floats(0, 100)),
    st.builds(presence.ReadFailed, st.floats(0, 100)),
    st.builds(presence.Kept, st.sampled_from("ab"), st.floats(0, 100)),
)


@given(st.lists(events, max_size=40))
def test_every_history_is_answered_and_ends_in_a_state_that_reads_again(
    history: list[presence.PresenceEvent],
) -> None:
    state = Presence()
    for event in history:
        state, _ = presence.advance(state, event)
    for at in (200.0, 200.4, 200.8):
        state, _ = presence.advance(state, presence.Polled(False, at))
    assert state.stage is Stage.AWAY
    assert state.look is Look.FIND
    _, outcomes = presence.advance(state, presence.Polled(True, 201.2))
    assert outcomes == [Outcome.READ_CARD]
