"""One reading for somebody who tests the reader, in place of a verification.

The reader belongs to the desk's loop; whoever wants it asks here from another thread. It is lent only while
no verification is under way, for one card, for a limited time.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from agent.catalogue import AgentError
from drivers.card import CardRecord
from drivers.errors import CodedError
from drivers.transcript import Entry

#: The loop looks at the reader several times a second unless it is amid a verification.
ACCEPT_S = 2.0


class _State(Enum):
    NONE = auto()
    ASKED = auto()
    REFUSED = auto()
    LENT = auto()
    ENDED = auto()


@dataclass(frozen=True)
class Read:
    """What a loan brought: a card or why there is none, and what went over the line where that was wanted."""

    card: CardRecord | None = field(repr=False)
    error: CodedError | None
    entries: Sequence[Entry] = field(default=(), repr=False)


class Loan:
    """At most one at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._state = _State.NONE
        self._read = Read(None, None)
        self.recording = False
        self.entries: Sequence[Entry] = ()

    # --- whoever borrows ----------------------------------------------------------------------------

    def borrow(self, limit_s: float, *, recording: bool = False) -> Read:
        """Wait for the next card. AgentError E1118 while a verification or another loan is under way."""
        with self._changed:
            if self._state is not _State.NONE:
                raise AgentError("E1118")
            self._state, self.recording, self.entries = _State.ASKED, recording, ()
            try:
                self._changed.wait_for(lambda: self._state is not _State.ASKED, ACCEPT_S)
                if self._state in {_State.ASKED, _State.REFUSED}:
                    raise AgentError("E1118")
                if not self._changed.wait_for(lambda: self._state is _State.ENDED, limit_s):
                    return Read(None, AgentError("E1119", seconds=f"{limit_s:g}"), self.entries)
                return Read(self._read.card, self._read.error, self.entries)
            finally:
                self._state, self._read = _State.NONE, Read(None, None)

    # --- the desk -----------------------------------------------------------------------------------

    def offer(self, *, idle: bool) -> bool:
        """Answer whoever has asked. Return whether the reader has just been lent."""
        with self._changed:
            if self._state is not _State.ASKED:
                return False
            self._state = _State.LENT if idle else _State.REFUSED
            self._changed.notify_all()
            return idle

    @property
    def out(self) -> bool:
        """Return whether the next card is somebody else's."""
        return self._state is _State.LENT

    def end(self, card: CardRecord | None, error: CodedError | None = None) -> bool:
        """Give what was read to the borrower. Return whether there was one."""
        with self._changed:
            if self._state is not _State.LENT:
                return False
            self._state, self._read = _State.ENDED, Read(card, error)
            self._changed.notify_all()
            return True
