"""The desk as a state machine: what the registrar sees, and what is to be done next. Pure.

    READER_DOWN --ReaderUp--> READY --CardRead--> [ANNOUNCED --Passed time-->] LOOKING --Looked--> KEEPING
                               ^ \\--CardAgain--> ASKING --Again--^               |                   |
                               `------------------- ended without a record -----'---- Kept, NotKept -'

ANNOUNCED: something about the card is said before any picture is taken - a man's, an expired one. ASKING: the
card was verified a moment ago; only a person's word begins another verification.

`advance` takes a state, an event and the monotonic time, and returns the next state with the effects that
the loop carries out. Every event is answered in every state: a late one changes nothing. One attempt at a
time; what one card brought can only ever meet pictures taken for that card, because both travel in the same
state. A card laid down meanwhile ends the attempt under way and waits for its own. Whatever ends an attempt,
a comparison that was made by then is kept: a verdict is never suppressed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from agent.station.events import (
    DECLINED,
    Again,
    CardAgain,
    CardLifted,
    CardRead,
    CardUnreadable,
    CloseAttempt,
    DeskEvent,
    DeskInput,
    Effect,
    Ending,
    EndIt,
    FollowUp,
    Keep,
    Kept,
    Light,
    Look,
    Looked,
    LookFailed,
    Note,
    NotKept,
    OpenAttempt,
    Presented,
    ReaderLost,
    ReaderUp,
    Show,
    StopLooking,
    TimePassed,
)
from agent.vision.process import Observation

#: How long something about a card is shown before the capture begins: time to say "the wrong card".
NOTICE_S = 3.0
#: How long it is asked whether a card just verified is meant; then its content is forgotten.
ASK_S = 30.0
#: A card that lies there for so long after its verification has been forgotten.
LEFT_S = 20.0


class Phase(Enum):
    """Where the desk stands."""

    READER_DOWN = auto()
    READY = auto()
    ANNOUNCED = auto()
    ASKING = auto()
    LOOKING = auto()
    KEEPING = auto()


@dataclass(frozen=True)
class Desk:
    """The whole state. The attempt's id becomes the record's id."""

    phase: Phase = Phase.READER_DOWN
    current: Presented | None = None
    until: float = 0.0  # when the announcement or the question is over
    ending: Ending | None = None
    who: str = ""  # who said so
    waiting: Presented | None = None  # laid down while another one was under way
    down: str = ""  # code, while the reader is lost
    kept_at: float | None = None  # of the card verified last, until it is lifted
    left: bool = False  # it was said that this card has been forgotten

    @property
    def attempt(self) -> str:
        """Return the id of the attempt under way, "" for none."""
        return "" if self.current is None else self.current.attempt


Step = tuple[Desk, list[Effect]]

# --- transitions ------------------------------------------------------------------------------------

READY_FOR_CARD = "I1001"
LOOK_AT_CAMERA = "I1002"
KEPT, KEPT_HELD, KEPT_UNDECODED = "I3001", "I3002", "W3004"
LAY_AGAIN = "W1001"
CARD_LEFT = "W1005"
NO_PICTURE = "no_picture"
_ENDED = {
    Ending.WRONG_CARD: "W1013",
    Ending.LIFTED: "W1014",
    Ending.EXCHANGED: "W1015",
    Ending.REFUSED: "W1016",
    Ending.IMPOSSIBLE: "W1017",
}
_UNDER_WAY = frozenset({Phase.ANNOUNCED, Phase.LOOKING, Phase.KEEPING})


def advance(desk: Desk, event: DeskEvent, now: float) -> Step:
    """Return the next state and the effects of `event` at the monotonic time `now`."""
    match event:
        case ReaderUp() | ReaderLost():
            return _reader(desk, event)
        case CardRead() | CardAgain() | CardUnreadable() | CardLifted():
            return _card(desk, event, now)
        case EndIt() | Again():
            return _told(desk, event, now)
        case TimePassed(lying):
            return _time_passed(desk, now, lying=lying)
        case Looked(attempt, observation) if _is(desk, Phase.LOOKING, attempt):
            return _looked(desk, observation, now)
        case LookFailed(attempt, code) if _is(desk, Phase.LOOKING, attempt):
            return _closed(desk, [Show(Light.ATTENTION, code)], now)
        case Kept(attempt, code) if _is(desk, Phase.KEEPING, attempt):
            return _next(replace(desk, kept_at=now), [Show(Light.READY, code)], now)
        case NotKept(attempt, code) if _is(desk, Phase.KEEPING, attempt):
            return _closed(desk, [Show(Light.ATTENTION, code)], now)
        case _:
            return desk, []


def _is(desk: Desk, phase: Phase, attempt: str) -> bool:
    return desk.phase is phase and desk.attempt == attempt


def _reader(desk: Desk, event: ReaderUp | ReaderLost) -> Step:
    if isinstance(event, ReaderUp):
        up = replace(desk, down="")
        if desk.phase is not Phase.READER_DOWN:
            return up, []
        code = LAY_AGAIN if event.interrupted else READY_FOR_CARD
        return replace(up, phase=Phase.READY), [Show(Light.READY, code)]
    lost = replace(desk, down=event.code, kept_at=None)
    # An attempt under way goes on: the card has been read, the woman sits there, and nothing more is asked
    # of the reader.
    if desk.phase in _UNDER_WAY:
        return lost, []
    return _idle(lost, [])


def _card(desk: Desk, event: CardRead | CardAgain | CardUnreadable | CardLifted, now: float) -> Step:
    match event:
        case CardRead(presented):
            return _presented(desk, presented, now)
        case CardAgain(presented, code) if desk.phase in {Phase.READY, Phase.ASKING}:
            asking = replace(desk, phase=Phase.ASKING, current=presented, until=now + ASK_S)
            return asking, [Show(Light.ATTENTION, code)]
        case CardUnreadable(code) if desk.phase is Phase.READY:
            return replace(desk, kept_at=None), [Show(Light.ATTENTION, code)]
        case CardLifted() if desk.phase is Phase.ANNOUNCED:
            return _ended(desk, Ending.LIFTED, "", now)
        case CardLifted() if desk.phase is Phase.ASKING:
            return _idle(desk, [Show(Light.READY, READY_FOR_CARD)])
        case CardLifted():
            shown: list[Effect] = [Show(Light.READY, READY_FOR_CARD)] if desk.left else []
            return replace(desk, kept_at=None, left=False), shown
        case _:
            return desk, []


def _presented(desk: Desk, presented: Presented, now: float) -> Step:
    match desk.phase:
        case Phase.READER_DOWN:
            return desk, []
        case Phase.READY | Phase.ASKING:
            return _begin(desk, presented, [], now)
        case Phase.ANNOUNCED:
            return _ended(replace(desk, waiting=presented), Ending.EXCHANGED, "", now)
        case Phase.LOOKING if _same(desk.current, presented):
            return desk, []  # lifted and laid down again: the look goes on
        case Phase.LOOKING:
            stopped = replace(desk, waiting=presented, ending=desk.ending or Ending.EXCHANGED)
            return stopped, [StopLooking()]
        case _:
            return replace(desk, waiting=presented), []


def _same(one: Presented | None, other: Presented) -> bool:
    return one is not None and bool(one.card.number) and one.card.number == other.card.number


def _begin(desk: Desk, presented: Presented, before: list[Effect], now: float) -> Step:
    fresh = Desk(Phase.ANNOUNCED, presented, until=now + NOTICE_S, down=desk.down)
    effects = [*before, OpenAttempt(presented.attempt)]
    if presented.notices:
        return fresh, [*effects, Show(Light.ATTENTION, presented.notices[0])]
    return _look(fresh, presented, effects, presented.at)


def _look(desk: Desk, presented: Presented, before: list[Effect], since: float) -> Step:
    looking = replace(desk, phase=Phase.LOOKING)
    return looking, [*before, Show(Light.BUSY, LOOK_AT_CAMERA), Look(presented, since)]


def _told(desk: Desk, event: DeskInput, now: float) -> Step:
    match event:
        case Again(who) if desk.phase is Phase.ASKING and desk.current is not None:
            meant = replace(desk.current, at=now, notices=())
            return _begin(desk, meant, [Note("attempt.confirmed", meant.attempt, who)], now)
        case EndIt(ending, who) if desk.phase is Phase.ANNOUNCED:
            return _ended(desk, ending, who, now)
        case EndIt(ending, who) if desk.phase is Phase.LOOKING and desk.ending in {None, Ending.EXCHANGED}:
            return replace(desk, ending=ending, who=who), [StopLooking()]
        case _:
            return desk, []


def _time_passed(desk: Desk, now: float, *, lying: bool) -> Step:
    if desk.phase is Phase.ANNOUNCED and now >= desk.until and desk.current is not None:
        return _look(desk, desk.current, [], now)
    if desk.phase is Phase.ASKING and now >= desk.until:
        return _idle(desk, [Show(Light.READY, READY_FOR_CARD)])
    forgotten = lying and desk.kept_at is not None and now >= desk.kept_at + LEFT_S
    if desk.phase is Phase.READY and forgotten:
        return replace(desk, kept_at=None, left=True), [Show(Light.READY, CARD_LEFT)]
    return desk, []


def _looked(desk: Desk, observation: Observation, now: float) -> Step:
    presented = desk.current
    if presented is None:
        return desk, []
    compared = observation.verdict.cosine is not None
    if desk.ending is not None and not compared:
        return _ended(desk, desk.ending, desk.who, now)
    if observation.camera_jpeg is None:
        code = "E2401" if observation.reason == "camera_missing" else "E2403"
        return _closed(desk, [FollowUp(presented, NO_PICTURE), Show(Light.ATTENTION, code)], now)
    return replace(desk, phase=Phase.KEEPING), [Keep(presented, observation)]


def _ended(desk: Desk, ending: Ending, who: str, now: float) -> Step:
    """End the attempt without a record, because people said or did something."""
    effects: list[Effect] = [Note(f"attempt.{ending.value}", desk.attempt, who or "station")]
    if ending in DECLINED and desk.current is not None:
        effects.append(FollowUp(desk.current, ending.value))
    light = Light.READY if ending in {Ending.WRONG_CARD, Ending.LIFTED} else Light.ATTENTION
    return _closed(desk, [*effects, Show(light, _ENDED[ending])], now)


def _closed(desk: Desk, effects: list[Effect], now: float) -> Step:
    return _next(desk, [CloseAttempt(desk.attempt), *effects], now)


def _next(desk: Desk, effects: list[Effect], now: float) -> Step:
    """Go on with the card that waits, or wait for one."""
    if desk.waiting is not None:
        return _begin(desk, desk.waiting, effects, now)
    return _idle(desk, effects)


def _idle(desk: Desk, effects: list[Effect]) -> Step:
    if desk.down:
        return Desk(Phase.READER_DOWN, down=desk.down), [*effects, Show(Light.ATTENTION, desk.down)]
    return Desk(Phase.READY, kept_at=desk.kept_at), effects
