"""The next bodies are made while one is being sent: opened, rendered, encrypted, hashed, and no more.

What is made is not claimed. Should another record be claimed next, or the configuration have changed, it is
thrown away: a little work lost, and nothing that anybody could notice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from agent import sm
from agent.catalogue import AgentError
from agent.config.schema import Config, Conventions
from agent.hmpt.checks import Problem
from agent.hmpt.client import Prepared
from agent.outbox import Claim

#: Sealed bytes of a record that is made ahead. A larger one is made and sent alone: its own bytes are enough.
MAX_SIZE = 1_500_000


@dataclass(frozen=True)
class Made:
    """What sending a record needs, or why it cannot be sent."""

    conventions: Conventions
    problems: tuple[Problem, ...]
    prepared: Prepared | None = field(repr=False)


@dataclass(frozen=True)
class _Found:
    """What was made, and of what."""

    too_large: int
    kept_conventions: str | None
    made: Made


def bodies_at_once() -> int:
    """Return how many bodies are worth making at once: OpenSSL works outside Python's lock, gmssl inside."""
    return 2 if sm.backend() == sm.OpenSSL.name else 1


class Ahead:
    """A few bodies made ahead. For one thread; `make` runs in others.

    `upcoming` names the records that will probably be claimed next, `peek` opens one without claiming it.
    """

    def __init__(
        self,
        make: Callable[[Claim, Config], Made],
        upcoming: Callable[[int], Sequence[str]],
        peek: Callable[[str], Claim],
    ) -> None:
        self._make, self._upcoming, self._peek = make, upcoming, peek
        self._pool: ThreadPoolExecutor | None = None
        self._config: Config | None = None
        self._making: dict[str, Future[_Found | None]] = {}

    def begin(self, config: Config, beside: Claim) -> None:
        """While `beside` is sent, start to make what will probably be claimed next; drop the rest."""
        if beside.size > MAX_SIZE:
            return
        if config is not self._config:
            self.drop()
            self._config = config
        depth = bodies_at_once()
        self._pool = self._pool or ThreadPoolExecutor(depth, thread_name_prefix="ahead")
        with contextlib.suppress(AgentError):  # whatever it is, the next claim meets it again, and tells
            wanted = self._upcoming(depth + 1)  # one waits, so that no thread ever does
            for record in self._making.keys() - set(wanted):
                self._making.pop(record).cancel()
            for record in wanted:
                if record not in self._making:
                    self._making[record] = self._pool.submit(self._made, record, config)

    def take(self, claim: Claim, config: Config) -> Made | None:
        """Return what was made for this claim under this configuration, None when nothing was."""
        if claim.size > MAX_SIZE:
            self.drop(wait=True)
        making = self._making.pop(claim.id, None)
        if making is None or config is not self._config:
            return None
        found = making.result()
        if found is None or (found.too_large, found.kept_conventions) != (
            claim.too_large,
            claim.kept_conventions,
        ):
            return None
        return found.made

    def drop(self, *, wait: bool = False) -> None:
        """Throw away what was made and is being made. `wait`: return once nobody makes anything."""
        if self._pool is not None:
            self._pool.shutdown(wait=wait, cancel_futures=True)
        self._pool, self._making = None, {}

    def _made(self, record: str, config: Config) -> _Found | None:
        try:
            claim = self._peek(record)
            if claim.size > MAX_SIZE:
                return None
            return _Found(claim.too_large, claim.kept_conventions, self._make(claim, config))
        except Exception:  # noqa: BLE001 -- whatever it is, the claim itself meets it again, and tells
            return None
