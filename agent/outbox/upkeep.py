"""What is done for the outbox while nobody waits: erase, expire, give pages back, look for rot."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

from agent import logs
from agent.catalogue import AgentError
from agent.clock import Clock
from agent.outbox import admin, ledger, retention, scrub
from agent.outbox.migrations import forget_backups
from agent.outbox.owner import Owner
from agent.outbox.vault import Vault

log = logs.get(__name__)

#: A migration that was wrong shows within days; its copy holds wrapped keys and may not outlive that.
KEEP_BACKUP_S = 7 * 86400.0
#: Later than any clock says.
NEVER = datetime.max.replace(tzinfo=timezone.utc)


class Upkeep:
    """One thread calls it, in small steps; every step is one short turn of the connection."""

    def __init__(self, state_dir: Path, owner: Owner, vault: Vault, clock: Clock) -> None:
        self._state_dir = state_dir
        self._owner = owner
        self._vault = vault
        self._clock = clock
        self._scrubbed = 0

    def erase(self, keep: timedelta, *, trusted: bool = False) -> int:
        """Erase keys and bodies of what was finished longer ago than `keep`. Return how many records.

        `trusted`: the clock is right; what it finds in the future was finished under a wrong one.
        """
        now = self._clock.now()
        beyond = now + timedelta(days=1) if trusted else NEVER
        return self._until_done(partial(retention.erase, before=now - keep, beyond=beyond))

    def expire(self, keep: timedelta) -> int:
        """Delete receipts and what else is left of records finished longer ago. Return how many."""
        return self._until_done(partial(retention.expire, before=self._clock.now() - keep))

    def _until_done(self, step: partial[int]) -> int:
        done = 0
        while number := self._owner.run(step):
            done += number
        return done

    def give_back(self) -> bool:
        """Give some free pages back to the disk. Return whether there are more."""
        return self._owner.run(retention.give_back)

    def checkpoint(self) -> None:
        """Empty the write-ahead log."""
        self._owner.run(retention.checkpoint)

    def shrink_memory(self) -> None:
        """Give up pages that are held in memory only to be quicker; the next reader fetches its own."""
        self._owner.run(retention.shrink_memory)

    def forget_backups(self) -> None:
        """Delete what migrations left long enough ago."""
        forget_backups(self._state_dir, KEEP_BACKUP_S, self._clock.now().timestamp())

    def scrub(self, budget_bytes: int) -> list[str]:
        """Read some of what waits and set aside what is rotten. Return the ids set aside.

        Goes round: after the last record it begins again with the first.
        """
        aside: list[str] = []
        while budget_bytes > 0:
            checked = self._owner.run(partial(scrub.next_record, vault=self._vault, after=self._scrubbed))
            if checked is None:
                self._scrubbed = 0
                break
            self._scrubbed = checked.seq
            budget_bytes -= max(checked.size, 1)
            if checked.code is not None and self._set_aside(checked.record, checked.code):
                aside.append(checked.record)
        return aside

    def _set_aside(self, record: str, code: str) -> bool:
        try:
            self._owner.run(partial(admin.quarantine, record=record, code=code))
        except AgentError:
            return False  # claimed or closed since it was read: whoever has it meets the fault as well
        logs.say(log, "E3113", record=record, cause=code)
        return True

    def note_missing(self, records: list[str], delivered: int, closed: int) -> None:
        """Count records that the audit trail knows and the outbox has lost."""
        now = self._clock.now()
        self._owner.run(
            partial(admin.note_missing, records=records, delivered=delivered, closed=closed, now=now)
        )
        for record in records:
            logs.say(log, "E3113", record=record, cause="E3304")

    def close_again(self, closings: list[admin.Closing]) -> None:
        """Close what the audit trail says that somebody closed, and what goes on nevertheless."""
        for record in self._owner.run(partial(admin.close_again, closings=closings, now=self._clock.now())):
            logs.say(log, "I3004", record=record)

    def ids(self) -> set[str]:
        """Return the id of every record that still has a row."""
        rows = self._owner.run(lambda c: c.execute("SELECT id FROM record").fetchall())
        return {row["id"] for row in rows}

    def expired(self) -> int:
        """Return how many finished records have no row any more."""
        return self._owner.run(ledger.expired)
