"""The whole view of the page, built from the board, the outbox and the desk for whoever has a session."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from agent.board import Board, Event
from agent.clock import Clock
from agent.console import held, view
from agent.console.cases import Cases
from agent.console.figures import Figures
from agent.console.persons import Persons
from agent.control.powers import Powers
from agent.outbox import HeldRecord

#: How old the list of held records may be: the outbox has one thread, and the desk needs it.
FRESH_S = 1.0


class Screen:
    """Builds views. Safe from any thread."""

    def __init__(self, powers: Powers, board: Board, clock: Clock, persons: Persons) -> None:
        self._powers = powers
        self._board = board
        self._clock = clock
        self.persons = persons
        self._cases = Cases(powers, clock)
        self._lock = threading.Lock()
        self._held: list[HeldRecord] = []
        self._read_at: float | None = None
        self._mark: object = None

    def forget(self) -> None:
        """Look anew: somebody has just changed what the lists show."""
        self._cases.forget()
        with self._lock:
            self._read_at = None

    def view(self, lang: str, figures: Figures) -> dict[str, Any]:
        """Return everything that the desk's tab shows, in a language."""
        topics, events = self._board.snapshot(), self._board.events()
        kept = view.kept(events)
        shown = kept is not None and self._fresh(kept)
        stage = view.stage(topics, events, self._powers.loops(), lang, shown=shown)
        mark = (kept and kept.number, topics.get("desk", {}).get("state"))
        waiting = self._held_records(mark)
        followups, open_followups = self._cases.shown(lang, mark)
        return {
            "lang": lang,
            "stage": stage,
            "operator": self._operator(),
            "followups": followups,
            "followup_count": open_followups,
            "last": self._last(kept) if kept is not None and shown else None,
            "notices": view.notices(topics, self._board.told(), lang),
            "queue": _queue(topics, figures),
            "held": self._held_rows(waiting),
            "held_count": len(waiting),
        }

    def _fresh(self, kept: Event) -> bool:
        """Return whether a result may still be shown. A clock that was set back shows it no longer."""
        age = self._clock.now() - kept.at
        limit = timedelta(seconds=self._powers.current().console.clear_after_s)
        return timedelta() <= age <= limit

    def _last(self, kept: Event) -> dict[str, Any]:
        record = kept.facts["record"]
        clear_after_s = self._powers.current().console.clear_after_s
        return {
            "record": record,
            **self.persons.masked(record),
            "at": kept.at.isoformat(timespec="milliseconds"),
            "clear_after_s": clear_after_s,
        }

    def _operator(self) -> dict[str, Any]:
        """Return who operates the desk, and who may be chosen."""
        operators, config = self._powers.operators, self._powers.current().operators
        return {
            "name": "" if operators is None else operators.in_force() or "",
            "signed_in": operators is not None and operators.signed_in() is not None,
            "list": list(config.list),
        }

    def _held_records(self, mark: object) -> list[HeldRecord]:
        with self._lock:
            now = self._clock.monotonic()
            if self._read_at is None or now - self._read_at >= FRESH_S or mark != self._mark:
                self._held, self._read_at, self._mark = self._powers.own.outbox.held(), now, mark
            return self._held

    def _held_rows(self, waiting: Sequence[HeldRecord]) -> list[dict[str, Any]]:
        """Return the held records, those first that somebody at the desk can complete."""
        ordered = sorted(waiting, key=lambda one: not held.fields(one))
        return [
            {
                "record": one.id,
                **self.persons.masked(one.id),
                "holds": [hold.value for hold in one.holds],
                "fields": held.fields(one),
            }
            for one in ordered[: held.MAX_ROWS]
        ]


def _queue(topics: view.Topics, figures: Figures) -> dict[str, Any]:
    queue, platform = figures.queue(), topics.get("platform", {})
    return {
        "waiting": queue["waiting"],
        "parked": queue["parked"],
        # Nothing waits: what failed then is nobody's matter at the desk.
        "platform": "ok" if platform.get("state") == "idle" else platform.get("state", "ok"),
        "next_try": platform.get("next_try"),
    }
