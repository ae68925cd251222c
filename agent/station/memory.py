"""What of reader and card outlives the process: the commissioned module's id, and who was verified last.

Of the card there is only what stands beside its record anyway: the keyed pseudonym of its number.
"""

from __future__ import annotations

from agent import logs
from agent.audit import Audit
from agent.clock import Clock
from agent.outbox import Outbox
from drivers.card import CardRecord

_PINNED = "reader_sam_id"


class ReaderMemory:
    """Kept in the outbox. Errors of the disk are the outbox's own."""

    def __init__(self, outbox: Outbox, audit: Audit, pseudonyms: logs.Pseudonyms, clock: Clock) -> None:
        self._outbox = outbox
        self._audit = audit
        self._pseudonyms = pseudonyms
        self._clock = clock

    def pinned(self) -> str | None:
        """Return the id of the module that was commissioned; None before the first one."""
        return self._outbox.setting(_PINNED) or None

    def pin(self, sam_id: str, who: str = "station") -> None:
        """Commission a module: from now on any other one is an alarm."""
        self._outbox.set_setting(_PINNED, sam_id)
        self._audit.append("reader.commissioned", who=who, target=sam_id, durable=True)

    def identity(self, card: CardRecord) -> str:
        """Return the mark of a card: its number's pseudonym, or its whole text's where it has none."""
        return self._pseudonyms.full(card.number or card.text_block.hex())

    def verified(self) -> tuple[str, float]:
        """Return the mark of the card verified last, "" for none, and how many seconds ago that was."""
        newest = self._outbox.administration.newest()
        if newest is None:
            return "", 0.0
        person, at = newest
        return person, max(0.0, (self._clock.now() - at).total_seconds())
