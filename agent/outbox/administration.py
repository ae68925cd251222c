"""What people do with the outbox: look, find, send again, correct, give up, take along."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from agent.clock import Clock
from agent.outbox import admin, corrections, rows, scrub, startup, transfer
from agent.outbox.corrections import Correct, Holds
from agent.outbox.owner import Owner
from agent.outbox.rows import AttemptRow, Found, ReceiptRow, RecordRow, find
from agent.outbox.scrub import Checked
from agent.outbox.transfer import Taken
from agent.outbox.vault import Vault

if TYPE_CHECKING:
    from agent.identity import Machine


class Administration:
    """Safe from any thread. Whoever calls audits; a record that is being sent is refused with E3115."""

    def __init__(self, owner: Owner, vault: Vault, clock: Clock) -> None:
        self._owner = owner
        self._vault = vault
        self._clock = clock

    # --- looking ------------------------------------------------------------------------------------

    def row(self, record: str) -> RecordRow:
        """Return one record as lists show it."""
        return self._owner.run(lambda c: rows.record_row(find(c, record)))

    def list_records(self, state: str | None, limit: int) -> list[RecordRow]:
        """Return the newest records."""
        return self._owner.run(partial(rows.list_records, state=state, limit=limit))

    def set_aside_with(self, code: str, after: int, limit: int) -> list[tuple[int, str]]:
        """Return number and id of what was set aside with this code, oldest first, behind `after`."""
        return self._owner.run(partial(rows.set_aside, code=code, after=after, limit=limit))

    def newest(self) -> tuple[str, datetime] | None:
        """Return the person, as keyed pseudonym, and the time of the record made last; None without any."""
        return self._owner.run(rows.newest)

    def attempts(self, record: str) -> list[AttemptRow]:
        """Return every attempt to send a record."""
        return self._owner.run(partial(rows.attempts, record=record))

    def receipts(self, limit: int) -> list[ReceiptRow]:
        """Return the newest receipts."""
        return self._owner.run(partial(rows.receipts, limit=limit))

    def find(self, person: str) -> list[Found]:
        """Return what there is of one person, by the keyed pseudonym, and what the platform said."""
        return self._owner.run(partial(rows.find_person, person=person))

    def check(self, after: int = 0) -> Iterator[Checked]:
        """Read everything that waits behind the number `after`, record by record; nothing is changed."""
        while True:
            checked = self._owner.run(partial(scrub.next_record, vault=self._vault, after=after))
            if checked is None:
                return
            after = checked.seq
            yield checked

    def check_tables(self) -> str | None:
        """Check the small tables to the last text. Return what is wrong, None when nothing is.

        What is wrong is salvaged at the next start.
        """
        wrong = self._owner.run(scrub.full_check)
        if wrong is not None:
            self._owner.damage_found()
        return wrong

    # --- changing -----------------------------------------------------------------------------------

    def retry(self, record: str) -> str:
        """Send a parked record again, or a quarantined one that can be read now. Return its state."""
        return self._owner.run(partial(admin.retry, vault=self._vault, record=record))

    def set_aside(self, record: str, code: str) -> None:
        """Quarantine a record that proved unreadable."""
        self._owner.run(partial(admin.quarantine, record=record, code=code))

    def amend(self, record: str, correct: Correct, holds: Holds, who: str) -> tuple[str, str]:
        """Let a corrected record take a refused one's place. Return its id and state.

        `correct` says what changes, `holds` what the corrected record lacks. AgentError E3114 for a record
        that is neither parked nor held, or whatever `correct` raises.
        """
        return self._owner.run(
            partial(
                corrections.amend,
                vault=self._vault,
                record=record,
                correct=correct,
                holds=holds,
                who=who,
                new_id=uuid.uuid4().hex,
                now=self._clock.now(),
            )
        )

    def amendable(self, record: str) -> None:
        """Return when a record could be corrected now. AgentError as `amend` raises it."""
        self._owner.run(partial(admin.amendable, record=record))

    def discardable(self, record: str) -> None:
        """Return when a record could be given up now. AgentError as `discard` raises it."""
        self._owner.run(partial(admin.discardable, vault=self._vault, record=record))

    def discard(self, record: str, who: str, why: str) -> None:
        """Give a record up. AgentError E3120 for a failed verification without a sealed export."""
        self._discard(record, "given_up", who, why)

    def hand_over(self, record: str, who: str, file: str) -> None:
        """Let the machine that takes in the sealed export of this name go on with a record."""
        self._discard(record, "moved", who, file)

    def _discard(self, record: str, closed_as: str, who: str, why: str) -> None:
        self._owner.run(
            partial(
                admin.discard,
                vault=self._vault,
                record=record,
                closed_as=closed_as,
                who=who,
                why=why,
                now=self._clock.now(),
            )
        )

    # --- taking along -------------------------------------------------------------------------------

    def exportable(self) -> list[str]:
        """Return the ids of every record and receipt, and of follow-ups without a record."""
        return self._owner.run(transfer.exportable)

    def waiting(self) -> list[str]:
        """Return the ids of what is neither delivered nor discarded, oldest first."""
        return self._owner.run(transfer.waiting)

    def export_entry(self, record: str) -> bytes:
        """Return one record, or what is left of it, in plain: whoever calls seals it at once."""
        return self._owner.run(partial(transfer.packed, vault=self._vault, case=record))

    def note_exported(self, records: Sequence[str]) -> int:
        """Note that a sealed export, durably written, holds these. Return how many of them are records."""
        return self._owner.run(partial(admin.note_exported, records=records, now=self._clock.now()))

    def import_entry(self, entry: bytes, pseudonym: Callable[[str], str]) -> Taken:
        """Take one record, or follow-up without one, in."""
        return self._owner.run(
            partial(
                transfer.unpack, vault=self._vault, entry=entry, pseudonym=pseudonym, now=self._clock.now()
            )
        )

    # --- keys and machine ---------------------------------------------------------------------------

    def rotate(self) -> int:
        """Seal new records under a new epoch key. Return its id."""
        return self._owner.run(partial(self._vault.rotate, now=self._clock.now()))

    def rewrap(self, seal_key: bytes) -> str:
        """Put every epoch key under another key-encryption key. Return its id."""
        self._owner.run(partial(self._vault.rewrap, seal_key=seal_key))
        return self._vault.kek_id

    @property
    def kek_id(self) -> str:
        """Return the id of the key-encryption key in force."""
        return self._vault.kek_id

    @property
    def lost_keys(self) -> dict[int, str]:
        """Return the epoch keys that cannot be unwrapped: epoch id -> id of the key they are under."""
        return self._vault.lost

    def adopt(self, machine: Machine) -> None:
        """Let the records belong to this machine, from the next start on."""
        self._owner.run(partial(startup.adopt, machine=machine))
