"""The desk as a state machine: what the registrar sees, and what is to be done next. Pure.

    READER_DOWN --ReaderUp--> READY --CardRead--> LOOKING --Looked--> KEEPING --Kept--> READY
                                ^  `--CardUnreadable-'  `--NoPicture-->READY   `--NotKept--> READY

`advance` takes a state and an event and returns the next state with the effects that the loop carries
out. Every event is answered in every state: a late one changes nothing. One attempt at a time; what one
card brought can only ever meet pictures taken for that card, because both travel in the same state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from agent.vision import Observation
from drivers.card import CardRecord


class Phase(Enum):
    """Where the desk stands."""

    READER_DOWN = auto()
    READY = auto()
    LOOKING = auto()
    KEEPING = auto()


class Light(Enum):
    """The registrar's three states: can the next card be laid down?"""

    READY = "ready"
    BUSY = "busy"
    ATTENTION = "attention"


@dataclass(frozen=True)
class Desk:
    """The whole state. `attempt` is the id of the verification under way, which becomes the record's id."""

    phase: Phase = Phase.READER_DOWN
    attempt: str = ""
    card: CardRecord | None = field(default=None, repr=False)


# --- events -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReaderUp:
    """The reader answers. `interrupted`: an attempt was open when the agent last stopped."""

    interrupted: bool = False


@dataclass(frozen=True)
class ReaderLost:
    """The reader is missing, unplugged, or must be mended; `code` says which."""

    code: str


@dataclass(frozen=True)
class CardRead:
    """A card was read whole. `attempt` is a fresh id, `presented_at` the monotonic time of the find."""

    attempt: str
    card: CardRecord
    presented_at: float


@dataclass(frozen=True)
class CardUnreadable:
    """A card lies there, but reading it failed."""

    code: str


@dataclass(frozen=True)
class Looked:
    """The vision process is done with this attempt."""

    attempt: str
    observation: Observation


@dataclass(frozen=True)
class LookFailed:
    """The vision process died or hung during this attempt."""

    attempt: str
    code: str


@dataclass(frozen=True)
class Kept:
    """The record is durable; `held` counts what still has to be completed before it can be sent."""

    attempt: str
    held: int


@dataclass(frozen=True)
class NotKept:
    """The record could not be made durable."""

    attempt: str
    code: str


DeskEvent = ReaderUp | ReaderLost | CardRead | CardUnreadable | Looked | LookFailed | Kept | NotKept

# --- effects ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Show:
    """Put a sentence of the catalogue on the screen."""

    light: Light
    code: str


@dataclass(frozen=True)
class OpenAttempt:
    """Leave the sealed mark that an attempt was opened."""

    attempt: str


@dataclass(frozen=True)
class CloseAttempt:
    """Take the mark away: the attempt ended without a record, and the registrar was told."""

    attempt: str


@dataclass(frozen=True)
class Look:
    """Decode the card's photo, take pictures from now on, compare."""

    attempt: str
    card: CardRecord
    presented_at: float


@dataclass(frozen=True)
class Keep:
    """Make the record and put it into the outbox."""

    attempt: str
    card: CardRecord
    observation: Observation


Effect = Show | OpenAttempt | CloseAttempt | Look | Keep

# --- transitions ------------------------------------------------------------------------------------

READY_FOR_CARD = "I1001"
LOOK_AT_CAMERA = "I1002"
KEPT = "I3001"
KEPT_HELD = "I3002"
LAY_AGAIN = "W1001"


def advance(desk: Desk, event: DeskEvent) -> tuple[Desk, list[Effect]]:
    """Return the next state and the effects of `event`."""
    match event:
        case ReaderUp(interrupted) if desk.phase is Phase.READER_DOWN:
            return Desk(Phase.READY), [Show(Light.READY, LAY_AGAIN if interrupted else READY_FOR_CARD)]
        case ReaderLost(code):
            return _reader_lost(desk, code)
        case CardRead(attempt, card, presented_at) if desk.phase is Phase.READY:
            effects: list[Effect] = [
                Show(Light.BUSY, LOOK_AT_CAMERA),
                OpenAttempt(attempt),
                Look(attempt, card, presented_at),
            ]
            return Desk(Phase.LOOKING, attempt, card), effects
        case CardUnreadable(code) if desk.phase is Phase.READY:
            return desk, [Show(Light.ATTENTION, code)]
        case Looked(attempt, observation) if _under_way(desk, Phase.LOOKING, attempt):
            return _looked(desk, observation)
        case LookFailed(attempt, code) if _under_way(desk, Phase.LOOKING, attempt):
            return _ended(attempt, code)
        case Kept(attempt, held) if _under_way(desk, Phase.KEEPING, attempt):
            return Desk(Phase.READY), [Show(Light.READY, KEPT_HELD if held else KEPT)]
        case NotKept(attempt, code) if _under_way(desk, Phase.KEEPING, attempt):
            return _ended(attempt, code)
        case _:
            return desk, []


def _under_way(desk: Desk, phase: Phase, attempt: str) -> bool:
    return desk.phase is phase and desk.attempt == attempt


def _reader_lost(desk: Desk, code: str) -> tuple[Desk, list[Effect]]:
    # An attempt under way goes on: the card has been read, the woman sits there, nothing more is asked
    # of the reader. The loop tells of the loss again when the attempt has ended.
    if desk.phase in {Phase.LOOKING, Phase.KEEPING}:
        return desk, []
    return Desk(Phase.READER_DOWN), [Show(Light.ATTENTION, code)]


def _looked(desk: Desk, observation: Observation) -> tuple[Desk, list[Effect]]:
    if desk.card is None or observation.camera_jpeg is None:
        return _ended(desk.attempt, _no_picture_code(observation.reason))
    keep = Keep(desk.attempt, desk.card, observation)
    return Desk(Phase.KEEPING, desk.attempt, desk.card), [keep]


def _ended(attempt: str, code: str) -> tuple[Desk, list[Effect]]:
    return Desk(Phase.READY), [CloseAttempt(attempt), Show(Light.ATTENTION, code)]


def _no_picture_code(reason: str) -> str:
    return "E2401" if reason == "camera_missing" else "E2403"
