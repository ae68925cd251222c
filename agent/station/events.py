"""What can happen at the desk, and what may have to be done about it: the vocabulary of `flow`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from agent.vision.process import Observation
from drivers.card import CardRecord


class Light(Enum):
    """The registrar's three states: can the next card be laid down?"""

    READY = "ready"
    BUSY = "busy"
    ATTENTION = "attention"


class Ending(Enum):
    """Why an attempt was ended by people; the value is audited."""

    WRONG_CARD = "wrong_card"
    EXCHANGED = "exchanged"  # another card was laid down
    LIFTED = "lifted"  # taken away while it was announced
    REFUSED = "refused"  # she does not want to be photographed
    IMPOSSIBLE = "cannot_be_photographed"


DECLINED = frozenset({Ending.REFUSED, Ending.IMPOSSIBLE})


@dataclass(frozen=True)
class Presented:
    """A card that was read whole. `attempt` is a fresh id, `at` the monotonic time of the find."""

    attempt: str
    card: CardRecord = field(repr=False)
    at: float
    notices: tuple[str, ...] = ()  # what is to be said of it first


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
    """A card was laid down: verify it."""

    presented: Presented


@dataclass(frozen=True)
class CardAgain:
    """A card was laid down that is not verified by itself; `code` says why."""

    presented: Presented
    code: str


@dataclass(frozen=True)
class CardUnreadable:
    """A card lies there, but reading it failed."""

    code: str


@dataclass(frozen=True)
class CardLifted:
    """The card read last has been taken away."""


@dataclass(frozen=True)
class TimePassed:
    """Nothing happened but time. `lying`: the card read last is known to lie there still."""

    lying: bool = False


@dataclass(frozen=True)
class EndIt:
    """A person ends the attempt under way: the wrong card, or no picture is to be had of her."""

    ending: Ending
    who: str


@dataclass(frozen=True)
class Again:
    """A person says that the card just verified is meant once more."""

    who: str


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
    """The record is durable. `code` is what the registrar reads of it."""

    attempt: str
    code: str


@dataclass(frozen=True)
class NotKept:
    """The record could not be made durable."""

    attempt: str
    code: str


DeskInput = EndIt | Again
DeskEvent = (
    ReaderUp
    | ReaderLost
    | CardRead
    | CardAgain
    | CardUnreadable
    | CardLifted
    | TimePassed
    | DeskInput
    | Looked
    | LookFailed
    | Kept
    | NotKept
)

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
    """Decode the card's photo, take pictures from `since` on, compare."""

    presented: Presented
    since: float


@dataclass(frozen=True)
class StopLooking:
    """End the look under way with what it has by now."""


@dataclass(frozen=True)
class Keep:
    """Make the record and put it into the outbox."""

    presented: Presented
    observation: Observation


@dataclass(frozen=True)
class FollowUp:
    """Put the card's owner on the list of those who still have to be verified somehow."""

    presented: Presented
    reason: str


@dataclass(frozen=True)
class Note:
    """Audit that people ended an attempt, or began one that had to be asked for."""

    what: str
    attempt: str
    who: str


Effect = Show | OpenAttempt | CloseAttempt | Look | StopLooking | Keep | FollowUp | Note
