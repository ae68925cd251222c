"""Who still has to be verified somehow - failed, impossible, refused - until a named person closes the case.

A failed or not possible verification becomes a case in the commit of its record. What never became a record -
she refused, no picture was to be had - becomes one here. Whom it is about stays sealed, and goes when it is
closed.
"""

from __future__ import annotations

from agent.audit import Audit
from agent.catalogue import AgentError
from agent.outbox import Outbox
from agent.outbox.followups import FollowUp, Person
from drivers.card import CardRecord

MAX_HOW = 200


class FollowUps:
    """Beside the outbox, audited. Safe from any thread."""

    def __init__(self, outbox: Outbox, audit: Audit) -> None:
        self._outbox = outbox
        self._audit = audit

    def add(self, attempt: str, card: CardRecord, reason: str) -> None:
        """Put the owner of a card on the list; when this returns it is durable."""
        self._outbox.followups.add(attempt, reason, Person(card.name, card.number))
        self._audit.append("followup.opened", who="station", target=attempt, reason=reason)

    def open(self) -> list[FollowUp]:
        """Return what is open, oldest first."""
        return self._outbox.followups.listed()

    def person(self, followup: str, who: str) -> Person:
        """Return whom one is about; that somebody looked is audited. AgentError E3130 for a closed one."""
        person = self._outbox.followups.person(followup)
        self._audit.append("followup.revealed", who=who, target=followup, durable=True)
        return person

    def close(self, followup: str, who: str, how: str) -> None:
        """Close one under a person's name. AgentError: E3130 none is open under that id, E3131 no words."""
        said = " ".join(how.split())[:MAX_HOW]
        if not said:
            raise AgentError("E3131")
        self._outbox.followups.close(followup, who, said)
        self._audit.append("followup.closed", who=who, target=followup, how=said, durable=True)

    def moved(self, followup: str, who: str, how: str) -> bool:
        """Close one that another machine goes on with. False: nobody there can read it, so it stays open."""
        try:
            self._outbox.followups.person(followup)
            self._outbox.followups.close(followup, who, how)
        except AgentError as error:
            # Settled by somebody meanwhile, or the record never had one.
            return error.code == "E3130"
        self._audit.append("followup.closed", who=who, target=followup, how=how)
        return True
