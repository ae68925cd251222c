"""Who operates the desk: signed in by name, held in memory alone, forgotten after its time or a restart."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from agent.catalogue import AgentError
from agent.clock import Clock
from agent.config.schema import MAX_OPERATOR_CHARS, Config
from agent.hmpt import entered


@dataclass(frozen=True)
class SignedIn:
    """One person at the desk; the page shows the name, the board never does."""

    name: str
    by: str  # whoever signed that person in, as the audit trail names callers
    until: float  # monotonic


class Operators:
    """The operator in force. Safe from any thread."""

    def __init__(self, config: Callable[[], Config], clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._lock = threading.Lock()
        self._signed_in: SignedIn | None = None

    def sign_in(self, name: str, by: str) -> str:
        """Let somebody be the operator from now on; a caller says so. Return the name as it will be sent.

        Chosen from the list or typed. AgentError E2601 for a name that the platform would not take.
        """
        conventions = self._config().platform.conventions
        try:
            plain = entered.value("operationUser", name, conventions)
        except AgentError:
            raise AgentError("E2601", limit=MAX_OPERATOR_CHARS, unit=conventions.length_unit) from None
        hours = self._config().operators.sign_in_h
        with self._lock:
            self._signed_in = SignedIn(plain, by, self._clock.monotonic() + hours * 3600)
        return plain

    def sign_out(self) -> None:
        """Let nobody be signed in."""
        with self._lock:
            self._signed_in = None

    def present(self) -> SignedIn | None:
        """Return who signed in and has not been forgotten yet."""
        with self._lock:
            if self._signed_in is not None and self._clock.monotonic() >= self._signed_in.until:
                self._signed_in = None
            return self._signed_in

    def signed_in(self) -> str | None:
        """Return the name of who signed in and has not been forgotten yet."""
        present = self.present()
        return None if present is None else present.name

    def in_force(self) -> str | None:
        """Return the operator of a record made now: who signed in, else the configured one, else nobody."""
        return self.signed_in() or self._config().operators.default
