"""Owning a state directory: the lock, the keys, the audit trail and the outbox, opened in that order.

Exactly one process owns a state directory at a time. The daemon does while it runs; without a daemon a
command of the command line becomes the owner for as long as it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agent import keys, logs
from agent.audit import Audit
from agent.catalogue import AgentError
from agent.clock import Clock, trusted
from agent.config.schema import Config
from agent.lock import StateLock
from agent.outbox import Outbox

log = logs.get(__name__)

_LAST_TIME = "last_time"


@dataclass(frozen=True)
class Ownership:
    """What the owner of a state directory works with."""

    state_dir: Path
    audit: Audit
    outbox: Outbox
    pseudonyms: logs.Pseudonyms
    clock: Clock

    def clock_trusted(self) -> bool:
        """Return whether the machine's clock can be believed, given the last time stored here."""
        stored = self.outbox.setting(_LAST_TIME)
        return trusted(self.clock.now(), datetime.fromisoformat(stored) if stored else None)

    def store_time(self) -> None:
        """Remember the current time, unless it is behind what was stored: time only moves forward here."""
        if self.clock_trusted():
            self.outbox.set_setting(_LAST_TIME, self.clock.now().isoformat())


@contextmanager
def owning(config: Config, clock: Clock, patience_s: float = 0.0) -> Iterator[Ownership]:
    """Take the state directory, open what is in it, and give all of it back at the end.

    AgentError with the holder's process id when another process owns it.
    """
    state_dir = Path(config.state_dir)
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AgentError("E8302", path=state_dir, reason=error.strerror) from error
    with ExitStack() as stack:
        stack.enter_context(StateLock(state_dir, patience_s))
        keyring = keys.load(config)
        audit = stack.enter_context(Audit(state_dir / "audit.jsonl", keyring.audit, clock))
        outbox = stack.enter_context(Outbox.open(state_dir, keyring.seal, clock, config.outbox.max_bytes))
        _reconcile(audit, outbox)
        yield Ownership(state_dir, audit, outbox, logs.Pseudonyms(keyring.pseudonym), clock)


def _reconcile(audit: Audit, outbox: Outbox) -> None:
    """Hold the outbox's count of accepted records against the trail's own.

    A record is durable before its line is written, so a kill in between leaves the trail behind: made up
    for. A trail ahead of the outbox means that records are gone, as after an old copy was put back.
    """
    accepted = outbox.counts().accepted
    written = audit.count("record.accepted") + audit.count("record.reconciled")
    if written > accepted:
        logs.say(log, "E3304", accepted=accepted, written=written)
    for _ in range(accepted - written):
        audit.append("record.reconciled", who="service", target="outbox")
