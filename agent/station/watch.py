"""Watches the reader: opens it, looks at it in its own time, reads what is laid down, tells what happened.

`turn` looks once, if a look is due, and returns what the desk has to know. What a look means for the card
is `presence`'s business; here are the line and its faults:

    silent or garbled --again--> reset the module --again--> close, and open anew every REOPEN_S

A card's content is in memory only between the reading and whoever takes the `Presented`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from agent import logs
from agent.catalogue import AgentError
from agent.station import presence
from agent.station.loan import Loan
from agent.station.presence import Look, Outcome, Presence
from drivers.card import CardRecord
from drivers.errors import (
    CodedError,
    ReaderError,
    ReaderProtocolError,
    ReaderRefused,
    ReaderTimeout,
)
from drivers.sdt.reader import SdtReader
from drivers.transport.recording import RecordingTransport

log = logs.get(__name__)

#: How long a reader that is missing is left alone before the next look: short enough for a replugged
#: cable to feel immediate, long enough not to fill a log or a bus.
REOPEN_S = 1.0
#: Unanswered looks in a row before the module is reset, and before the line is opened anew.
FAULTS_BEFORE_RESET = 2
FAULTS_BEFORE_REOPEN = 3

#: Refusals that putting the card down again cannot mend: self-test failed, module not authorised.
PERMANENT = frozenset({"E1107"})


# --- what happened ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Up:
    """The reader answers, and it is the one that was commissioned here."""

    sam_id: str


@dataclass(frozen=True)
class Down:
    """The reader is missing, unplugged, another one, or must be mended."""

    error: CodedError


@dataclass(frozen=True)
class Presented:
    """A card was laid down and read whole: verify it. `at`: the monotonic time of the find."""

    card: CardRecord = field(repr=False)
    at: float


@dataclass(frozen=True)
class NotAgain:
    """A card was read that is not verified by itself; `code` says why, and that lifting it and laying it
    down again, or a person's word, will do."""

    code: str
    card: CardRecord = field(repr=False)
    at: float


@dataclass(frozen=True)
class Lent:
    """A card was read for somebody who tests the reader: it is not the desk's."""


@dataclass(frozen=True)
class Unreadable:
    """A card lies there, but reading it failed."""

    error: ReaderError


@dataclass(frozen=True)
class Lifted:
    """The card that was read last has been taken away. Strict firmware may never let us know."""


Happening = Up | Down | Presented | NotAgain | Lent | Unreadable | Lifted

ASKED = "W1002"
KNOWN = "W1003"
_NOT_AGAIN = {Outcome.ASK_FIRST: ASKED, Outcome.KNOWN: KNOWN}


class Memory(Protocol):
    """What of reader and card outlives the process."""

    def pinned(self) -> str | None:
        """Return the id of the security module that was commissioned; None before the first one."""
        ...

    def pin(self, sam_id: str) -> None:
        """Commission a security module."""
        ...

    def verified(self) -> tuple[str, float]:
        """Return the identity of the card verified last, "" for none, and how many seconds ago that was."""
        ...

    def identity(self, card: CardRecord) -> str:
        """Return a mark by which a card is known again."""
        ...


@dataclass(frozen=True)
class Means:
    """What the watch works with."""

    open_reader: Callable[[], SdtReader]
    memory: Memory
    monotonic: Callable[[], float]
    interval_s: Callable[[], float]
    #: Asked before each reading: False leaves the card for the next look.
    may_read: Callable[[], bool] = lambda: True
    loan: Loan = field(default_factory=Loan)


class ReaderWatch:
    """Watches one reader. One thread."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._reader: SdtReader | None = None
        self._recorder: RecordingTransport | None = None
        self._up = False
        self._faults = 0
        self._due = 0.0
        self._found_at = 0.0
        self._newest_answers = True
        identity, ago_s = means.memory.verified()
        verified_at = means.monotonic() - ago_s
        self._presence = Presence(verified=identity, verified_at=verified_at)

    @property
    def wait_s(self) -> float:
        """Return the seconds until the next look is due."""
        return max(0.0, self._due - self._means.monotonic())

    def turn(self) -> list[Happening]:
        """Look once if a look is due. Return what happened, most often nothing."""
        if self.wait_s > 0:
            return []
        # Before the look: a module wants to be left alone that long from one find to the next.
        self._due = self._means.monotonic() + self._means.interval_s()
        happened: list[Happening] = []
        try:
            reader = self._opened()
            self._record(reader)
            self._look(reader, happened)
        except (ReaderTimeout, ReaderProtocolError) as error:
            self._line_fault(error, happened)
        except (ReaderError, AgentError) as error:
            self._lost(error, happened)
        return happened

    def kept(self, card: CardRecord) -> None:
        """Say that a record of this card is durable."""
        self._advance(presence.Kept(self._means.memory.identity(card), self._means.monotonic()))

    @property
    def lying(self) -> bool:
        """Return whether the card read last is known to lie there still; strict firmware may never tell."""
        there = self._presence
        return there.stage is presence.Stage.LYING and (there.probe or there.lenient)

    def close(self) -> None:
        """Give the line back."""
        self._up = False
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    # --- the line -----------------------------------------------------------------------------------

    def _opened(self) -> SdtReader:
        if self._reader is None:
            self._reader = self._means.open_reader()
            self._newest_answers = True
            self._advance(presence.Opened(self._means.monotonic()))
        return self._reader

    def _answered(self, reader: SdtReader, happened: list[Happening]) -> None:
        """Note that the reader answers. AgentError E1109 when it is not the one commissioned here."""
        self._faults = 0
        if self._up:
            return
        memory, sam_id = self._means.memory, reader.sam_id()
        pinned = memory.pinned()
        if pinned is None:
            memory.pin(sam_id)
        elif sam_id != pinned:
            raise AgentError("E1109", expected=pinned, received=sam_id)
        self._up = True
        happened.append(Up(sam_id))

    def _line_fault(self, error: ReaderError, happened: list[Happening]) -> None:
        """An unanswered look: wait for the next one, then reset the module, then open the line anew."""
        self._faults += 1
        if self._faults >= FAULTS_BEFORE_REOPEN:
            self._lost(error, happened)
        elif self._faults >= FAULTS_BEFORE_RESET and self._reader is not None:
            logs.say(log, "W1004", step=error.facts.get("step", "?"))
            try:
                self._reader.reset()
                self._advance(presence.Opened(self._means.monotonic()))
            except ReaderError:
                self._lost(error, happened)

    def _lost(self, error: CodedError, happened: list[Happening]) -> None:
        self.close()
        self._faults = 0
        self._due = self._means.monotonic() + REOPEN_S
        happened.append(Down(error))

    def _record(self, reader: SdtReader) -> None:
        """Write down what goes over the line while the reader is lent to somebody who wants that."""
        loan, recorder = self._means.loan, self._recorder
        if recorder is not None and reader.line is recorder:
            reader.line = recorder.line
        if not (loan.out and loan.recording):
            self._recorder = None
            return
        if recorder is None or loan.entries is not recorder.entries:
            self._recorder = recorder = RecordingTransport(reader.line, self._means.monotonic)
            loan.entries = recorder.entries
        # The same one however often the line is opened: what came before is what the maker wants to see.
        recorder.line, reader.line = reader.line, recorder

    # --- the card -----------------------------------------------------------------------------------

    def _look(self, reader: SdtReader, happened: list[Happening]) -> None:
        if self._presence.look is Look.PROBE:
            there = reader.newest().there
            self._answered(reader, happened)
            self._advance(presence.Probed(there, self._means.monotonic()))
            if there:
                return
        before, found_at = self._presence, self._means.monotonic()
        found = reader.find()
        self._answered(reader, happened)
        for outcome in self._advance(presence.Polled(found, found_at)):
            if outcome is Outcome.LIFTED:
                happened.append(Lifted())
            elif self._means.may_read():
                self._read(reader, found_at, happened)
            else:
                # As if we had not looked: the next look finds the card again.
                self._presence = before

    def _read(self, reader: SdtReader, found_at: float, happened: list[Happening]) -> None:
        try:
            reader.select()
            card = reader.read()
        except (ReaderRefused, ReaderTimeout, ReaderProtocolError) as error:
            if error.code in PERMANENT:
                raise
            self._advance(presence.ReadFailed(self._means.monotonic()))
            happened.append(Lent() if self._means.loan.end(None, error) else Unreadable(error))
            return
        card, probe = self._with_newest_address(reader, card)
        read = presence.WasRead(self._means.memory.identity(card), probe, self._means.monotonic())
        for outcome in self._advance(read):
            if self._means.loan.end(card):
                happened.append(Lent())
            elif outcome is Outcome.PRESENTED:
                happened.append(Presented(card, found_at))
            else:
                happened.append(NotAgain(_NOT_AGAIN[outcome], card, found_at))

    def _with_newest_address(self, reader: SdtReader, card: CardRecord) -> tuple[CardRecord, bool]:
        """Add the address appended to the chip; its absence costs no card. Return whether it was answered."""
        if not self._newest_answers:
            return card, False
        try:
            newest = reader.newest()
        except ReaderError as error:
            # Not every module knows the command: one that is silent is not waited for again.
            self._newest_answers = False
            logs.say_error(log, error)
            return card, False
        return replace(card, newest_address=newest.address), newest.there

    def _advance(self, event: presence.PresenceEvent) -> list[Outcome]:
        self._presence, outcomes = presence.advance(self._presence, event)
        return outcomes
