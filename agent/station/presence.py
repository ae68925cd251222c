"""Which card lies on the reader, and whether it is to be read: a state machine for one reader. Pure.

What find (20 01) says of a card that was read differs by firmware, and nothing tells which one it is:

    strict    "failed" until the card is lifted and laid down again: "failed" is not "no card"
    lenient   "found" as long as the card lies there: "found" is not "another card"

The newest address (30 03) may be asked of a card that was read and has not moved since; a reader that
answers it at once after a reading tells with it whether the card still lies there (PROBE below).

            Polled: found                      WasRead
    AWAY ------------------> ReadCard ... LYING ------> Presented | AskFirst | Known
      ^                         `... FAILED   |
      `---- Polled: not found --------'-------'  Lifted, where the firmware lets us know

One reading a presentation. After the line was opened, or the module reset, the reader has forgotten what
it read, so the card handled last is only recognised, not presented again. Cards are known here by an
opaque identity alone; times are monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

#: The same card again so soon after its record was kept is more likely a slip than a wish.
ASK_WITHIN_S = 60.0
#: Between two looks further apart than this a card can have been swapped unseen.
GAP_S = 1.5
#: A reader just powered answers "failed" for a moment although a card lies there.
SETTLE_S = 3.0
#: Readings tried of one card before it must be lifted.
READ_TRIES = 3
#: Lenient firmware misses a card now and then; twice in a row is a lifted card.
LIFTED_AFTER = 2
#: A card that lenient firmware finds again and again is read again so often: between two looks a quick hand
#: exchanges it unseen, and the next woman's card must not lie there in vain.
RECOGNISE_S = 3.0


class Stage(Enum):
    """What lies on the reader, as far as we know."""

    AWAY = auto()  # nothing that waits to be read
    LYING = auto()  # the card that was read, for all we know
    FAILED = auto()  # one that could not be read


class Look(Enum):
    """How to look next."""

    FIND = auto()
    PROBE = auto()


@dataclass(frozen=True)
class Presence:
    """The whole state."""

    stage: Stage = Stage.AWAY
    card: str = ""  # identity of the card read last
    seen_at: float = 0.0  # of the last look that told something
    probe: bool = False  # this card answers PROBE
    doubted: bool = False  # PROBE has just said that this card is not there
    lenient: bool = False  # this card was found again after it was read, and was read again as the same
    read_at: float = 0.0
    misses: int = 0
    tries: int = 0
    unsure: bool = True  # the line was opened and what lies there may have lain there before
    settles_at: float = 0.0
    verified: str = ""  # identity of the last card of which a record was kept
    verified_at: float = 0.0
    asked: str = ""  # identity of the card of which it was asked whether it is meant

    @property
    def look(self) -> Look:
        """Return how to look next."""
        return Look.PROBE if self.stage is Stage.LYING and self.probe else Look.FIND


# --- events -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opened:
    """The line was opened, or the module reset: whatever the reader knew of a card is gone."""

    at: float


@dataclass(frozen=True)
class Polled:
    """The answer to a find."""

    found: bool
    at: float


@dataclass(frozen=True)
class Probed:
    """The answer to a probe. After "not there" a find follows at once."""

    there: bool
    at: float


@dataclass(frozen=True)
class WasRead:
    """The reading asked for came. `probe`: the newest address was answered right after it."""

    card: str
    probe: bool
    at: float


@dataclass(frozen=True)
class ReadFailed:
    """The reading asked for did not come: moved, pulled away, spoilt."""

    at: float


@dataclass(frozen=True)
class Kept:
    """A record of this card is durable."""

    card: str
    at: float


PresenceEvent = Opened | Polled | Probed | WasRead | ReadFailed | Kept


class Outcome(Enum):
    """What follows from an event."""

    READ_CARD = auto()  # select and read now
    PRESENTED = auto()  # the card just read is to be verified
    ASK_FIRST = auto()  # it was verified a moment ago: laid down once more, it is meant
    KNOWN = auto()  # it lay there before the line was opened, and was handled
    LIFTED = auto()  # the card that was read has been taken away


# --- transitions ------------------------------------------------------------------------------------


def advance(presence: Presence, event: PresenceEvent) -> tuple[Presence, list[Outcome]]:
    """Return the next state and what follows."""
    match event:
        case Opened(at):
            return replace(_away(presence), unsure=True, settles_at=at + SETTLE_S, seen_at=at), []
        case Polled(True, at):
            return _found(presence, at)
        case Polled(_, at):
            return _not_found(presence, at)
        case Probed(there, at):
            # Not there: the find that follows tells whether it was lifted, or only the probe has failed us.
            return replace(presence, probe=there, doubted=not there, seen_at=at), []
        case WasRead(card, probe, at):
            return _was_read(presence, card, probe=probe, at=at)
        case ReadFailed(at):
            failed = replace(presence, tries=presence.tries + 1, seen_at=at)
            lying = presence.stage is Stage.LYING
            return replace(failed, doubted=True) if lying else replace(failed, stage=Stage.FAILED), []
        case Kept(card, at):
            return replace(presence, verified=card, verified_at=at, asked=""), []


def _away(presence: Presence) -> Presence:
    return replace(presence, stage=Stage.AWAY, probe=False, doubted=False, lenient=False, misses=0, tries=0)


def _found(presence: Presence, at: float) -> tuple[Presence, list[Outcome]]:
    unseen = presence.doubted or at - presence.seen_at > GAP_S
    seen = replace(presence, seen_at=at, misses=0)
    # Found again is either lenient firmware or another card; only reading it tells, now and after a gap.
    known = presence.lenient and not unseen and at - presence.read_at < RECOGNISE_S
    if presence.stage is Stage.LYING and known:
        return seen, []
    if presence.tries >= READ_TRIES:
        return seen, []
    return replace(seen, doubted=presence.stage is Stage.LYING), [Outcome.READ_CARD]


def _not_found(presence: Presence, at: float) -> tuple[Presence, list[Outcome]]:
    unsure = presence.unsure and at < presence.settles_at
    missed = replace(presence, seen_at=at, misses=presence.misses + 1, unsure=unsure)
    lying = presence.stage is Stage.LYING
    if lying and presence.lenient and missed.misses < LIFTED_AFTER:
        return missed, []
    # Of a card that neither answered the probe nor was found again strict firmware says the same while it
    # lies there.
    told = lying and (presence.lenient or presence.doubted)
    return _away(missed), [Outcome.LIFTED] if told else []


def _was_read(presence: Presence, card: str, *, probe: bool, at: float) -> tuple[Presence, list[Outcome]]:
    lying = replace(
        presence,
        stage=Stage.LYING,
        card=card,
        seen_at=at,
        read_at=at,
        probe=probe,
        doubted=False,
        lenient=False,
        misses=0,
        tries=0,
        unsure=False,
    )
    if presence.stage is Stage.LYING and card == presence.card:
        return replace(lying, lenient=True), []
    if presence.unsure and card in {presence.card, presence.verified}:
        return lying, [Outcome.KNOWN]
    if card == presence.verified and at - presence.verified_at < ASK_WITHIN_S and card != presence.asked:
        return replace(lying, asked=card), [Outcome.ASK_FIRST]
    return replace(lying, asked=""), [Outcome.PRESENTED]
