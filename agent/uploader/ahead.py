"""The next body is made while one is being sent: opened, rendered, encrypted, hashed, and no more.

What is made is not claimed. Should the next claim be of another record, or the configuration have
changed, it is thrown away: a little work lost, and nothing that anybody could notice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.config.schema import Config, Conventions
from agent.hmpt.checks import Problem
from agent.hmpt.client import Prepared
from agent.outbox import Claim

#: Sealed bytes of a record that is made ahead: two such bodies fit beside each other in a few megabytes.
MAX_SIZE = 1_500_000


@dataclass(frozen=True)
class Made:
    """What sending a record needs, or why it cannot be sent."""

    conventions: Conventions
    problems: tuple[Problem, ...]
    prepared: Prepared | None = field(repr=False)


class Ahead:
    """At most one body made ahead. For one thread; `make` runs in another."""

    def __init__(self, make: Callable[[Claim, Config], Made], upcoming: Callable[[], Claim | None]) -> None:
        self._make, self._upcoming = make, upcoming
        self._thread: threading.Thread | None = None
        self._found: tuple[str, Config, int, str | None, Made] | None = None

    def begin(self, config: Config) -> None:
        """Start to make what will probably be claimed next."""
        self.forget()
        self._thread = threading.Thread(target=self._run, args=(config,), name="ahead", daemon=True)
        self._thread.start()

    def take(self, claim: Claim, config: Config) -> Made | None:
        """Return what was made for this claim under this configuration, None when nothing was."""
        if self._thread is None:
            return None
        self._thread.join()
        found, self._thread, self._found = self._found, None, None
        if found is None or found[:4] != (claim.id, config, claim.too_large, claim.kept_conventions):
            return None
        return found[4]

    def forget(self) -> None:
        """Wait for what is being made, and throw it away."""
        if self._thread is not None:
            self._thread.join()
        self._thread, self._found = None, None

    def _run(self, config: Config) -> None:
        try:
            claim = self._upcoming()
            if claim is not None and claim.size <= MAX_SIZE:
                made = self._make(claim, config)
                self._found = (claim.id, config, claim.too_large, claim.kept_conventions, made)
        except Exception:  # noqa: BLE001 -- whatever it is, the claim itself meets it again, and tells
            self._found = None
