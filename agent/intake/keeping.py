"""From something handed in to a durable record: checked whole, kept once, told like the desk's own.

The record's id is a keyed digest of the caller's id, so that the same verification handed in again - after a
lost answer, a kill, a day - meets the record that is there, whatever has become of it since.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent import logs
from agent.audit import Audit
from agent.board import Board
from agent.catalogue import AgentError
from agent.clock import Clock, Uptime
from agent.config.schema import Config
from agent.intake.candidate import SOURCE, Candidate, fetchers, form_of, interpreted
from agent.intake.faults import Rejected
from agent.intake.pictures import Accept
from agent.outbox import Outbox
from agent.records import FaceResult, Verification
from agent.vision.pictures import PASSING

log = logs.get(__name__)

#: Refusals that the caller must mend; others are ours, and told where they arise.
THEIRS = frozenset({"E8501", "E8503"})
#: How often it is told that something was not taken.
TELL_EVERY_S = 60.0


@dataclass(frozen=True)
class Parts:
    """What the intake works with."""

    config: Callable[[], Config]
    outbox: Outbox
    audit: Audit
    board: Board
    clock: Clock
    pseudonyms: logs.Pseudonyms
    uptime: Callable[[], Uptime | None]  # this moment, where the clock cannot be trusted
    accept: Accept  # what is kept of a picture
    record_kept: Callable[[], None]  # wakes the uploader
    operator: Callable[[], str | None]  # who operates the desk now


@dataclass(frozen=True)
class Kept:
    """A record that is durable. `new` is False when it was there already."""

    record: str
    state: str
    holds: Mapping[str, str]
    new: bool


class Intake:
    """Safe from any thread."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        #: The mapping in force; a reload puts another one here.
        self.form = form_of(parts.config())
        # Looking whether a record is there, putting it and its line in the trail are one step.
        self._keeping = threading.Lock()
        self._telling = threading.Lock()
        self._told_at: float | None = None
        self._untold = 0
        self._counts = dict.fromkeys(("kept", "repeated", "refused"), 0)
        self._quarantined = 0
        self._hindrance: AgentError | None = None
        self._folder_trouble: AgentError | None = None
        self._post()
        self._show("I1007")

    def keep(self, data: Any, folder: Path | None = None) -> Kept:
        """Check and keep one submission; when this returns, the record is durable.

        `data` is JSON under the mapping in force. Pictures that it only names are files below
        intake.pictures, else below `folder`.

        Rejected with every fault; AgentError E8503 the same id with other content, E3101 or E3102 no
        room, E3103 the disk failed, E2307 or E2308 the pictures could not be looked at.
        """
        try:
            return self.take(self.understood(data, folder))
        except AgentError as error:
            if error.code in THEIRS:
                self.refused(error)
            raise

    def understood(self, data: Any, folder: Path | None = None) -> Candidate:
        """Return what would be kept. Rejected with every fault, AgentError E2307, E2308."""
        parts = self._parts
        config, sources = parts.config(), fetchers(parts.config(), folder, parts.clock)
        now, uptime = parts.clock.now(), parts.uptime()
        trusted, operator = uptime is None, parts.operator()
        try:
            candidate = interpreted(
                data, config, self.form, sources, parts.accept, now, trusted=trusted, operator=operator
            )
        except AgentError as error:
            if error.code in PASSING:
                self._hinder(error)
            raise
        self._hinder(None)
        if not candidate.verification.clock_trusted:
            candidate = replace(candidate, verification=replace(candidate.verification, uptime=uptime))
        return candidate

    def take(self, candidate: Candidate) -> Kept:
        """Keep a candidate; when this returns, it is durable. AgentError as `keep`."""
        parts = self._parts
        record = parts.pseudonyms.full(f"{SOURCE}:{candidate.caller_id}")[:32]
        with self._keeping:
            there = parts.outbox.content(record)
            if there is None:
                self._put(record, candidate)
            elif there != candidate.content:
                raise AgentError("E8503", record=record)
        self._count("repeated" if there else "kept")
        row = parts.outbox.administration.row(record)
        return Kept(record, row.state, row.holds, new=there is None)

    def _put(self, record: str, candidate: Candidate) -> None:
        parts = self._parts
        verification = replace(candidate.verification, id=record)
        person = parts.pseudonyms.full(verification.number)
        parts.outbox.put(
            verification,
            candidate.pictures,
            person=person,
            holds=candidate.holds,
            content=candidate.content,
        )
        self._tell(verification, len(candidate.holds))

    def _tell(self, verification: Verification, holds: int) -> None:
        parts, record, result = self._parts, verification.id, verification.face.result
        person = parts.pseudonyms.of(verification.number)
        try:
            parts.audit.append("record.accepted", who=SOURCE, target=record, result=result.name.lower())
        except AgentError as error:
            # The record is kept; the next start makes up for the line.
            logs.say_error(log, error)
            parts.board.event(error.code, **error.facts)
        logs.say(log, "I3002" if holds else "I3001", record=record, person=person, holds=holds, source=SOURCE)
        parts.board.event("I3001", record=record, person=person)
        self._show("I3002" if holds else "I3001")
        if result is not FaceResult.PASSED:
            code = "W2001" if result is FaceResult.FAILED else "W2002"
            logs.say(log, code, record=record, person=person)
            parts.board.event(code, record=record)
        score = verification.face.score
        parts.board.post("last", state=result.name.lower(), record=record, score=score, held=holds > 0)
        parts.record_kept()

    def _show(self, code: str) -> None:
        """Tell the registrar's screen, which is the desk's own where the agent has a reader."""
        if not self._parts.config().has_desk:
            self._parts.board.post("screen", state="ready", code=code)

    def refused(self, error: AgentError) -> None:
        """Count what was not taken; tell it, but a program gone wild only once a minute."""
        self._count("refused")
        now = self._parts.clock.monotonic()
        with self._telling:
            self._untold += 1
            if self._told_at is not None and now - self._told_at < TELL_EVERY_S:
                return
            self._told_at, count, self._untold = now, self._untold, 0
        codes = [fault.code for fault in error.faults] if isinstance(error, Rejected) else [error.code]
        facts = {"count": count, "codes": ",".join(dict.fromkeys(codes))}
        logs.say(log, "W8501", **facts)
        self._parts.board.event("W8501", **facts)

    def _count(self, outcome: str) -> None:
        with self._telling:
            self._counts[outcome] += 1
            self._post()

    @property
    def quarantined(self) -> int:
        """Return how many refused files wait for a person."""
        return self._quarantined

    @quarantined.setter
    def quarantined(self, number: int) -> None:
        with self._telling:
            if number > self._quarantined:
                logs.say(log, "W8502", count=number)
                self._parts.board.event("W8502", count=number)
            if number != self._quarantined:
                self._quarantined = number
                self._post()

    def folder_trouble(self, error: AgentError | None) -> None:
        """Show what keeps the folder from being emptied: what came from it may be kept all the same."""
        with self._telling:
            if error is not None or self._folder_trouble is not None:
                self._folder_trouble = error
                self._post()

    def _hinder(self, error: AgentError | None) -> None:
        """Show what keeps results from being taken, until one is understood again."""
        with self._telling:
            if error is not None or self._hindrance is not None:
                self._hindrance = error
                self._post()

    def _post(self) -> None:
        hindrance = self._hindrance or self._folder_trouble
        code = "W8502" if self._quarantined else None
        state = "attention" if code else "ok"
        if hindrance is not None:
            state, code = "down", hindrance.code
        self._parts.board.post(
            "intake",
            state=state,
            code=code,
            facts={} if hindrance is None else dict(hindrance.facts),
            quarantined=self._quarantined,
            **self._counts,
        )
