"""From something handed in to a durable record: checked whole, kept once, told like the desk's own.

The record's id is a keyed digest of the caller's id, so that the same verification handed in again - after a
lost answer, a kill, a day - meets the record that is there, whatever has become of it since.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent import logs
from agent.audit import Audit
from agent.board import Board
from agent.catalogue import AgentError
from agent.clock import Clock
from agent.config.schema import Config
from agent.hmpt.checks import problems
from agent.intake import fetch, form
from agent.intake.faults import Rejected
from agent.intake.form import Form
from agent.intake.mapping import Fetchers, Mapped, digest, mapped
from agent.intake.schema import KINDS, LONG_TERM, RESULTS, Submission, faults_of
from agent.outbox import Outbox
from agent.records import FaceResult, FaceVerdict, Finger, Hold, PictureKind, Verification
from agent.verify import reasons_to_hold

log = logs.get(__name__)

SOURCE = "intake"
#: What a record's verdict says of where it comes from.
HANDED_IN = "handed_in"
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
    clock_trusted: Callable[[], bool]
    record_kept: Callable[[], None]  # wakes the uploader


@dataclass(frozen=True)
class Kept:
    """A record that is durable. `new` is False when it was there already."""

    record: str
    state: str
    holds: Mapping[str, str]
    new: bool


@dataclass(frozen=True)
class Candidate:
    """What would be kept: facts without their id, pictures, and why it could not be sent yet."""

    verification: Verification
    pictures: Mapping[PictureKind, bytes]
    holds: Mapping[Hold, str]
    caller_id: str
    content: str


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
        parts.board.post("intake", state="ok", **self._counts)

    def accepting(self) -> None:
        """Return when a record would be taken now. AgentError E3101 or E3102 when there is no room."""
        self._parts.outbox.accepting()

    def keep(self, data: Any, folder: Path | None = None) -> Kept:
        """Check and keep one submission; when this returns, the record is durable.

        `data` is JSON under the mapping in force. Pictures that it only names are files below `folder`, else
        below intake.pictures.

        Rejected with every fault; AgentError E8503 the same id with other content, E3101 or E3102 no
        room, E3103 the disk failed.
        """
        try:
            kept = self._keep(data, folder)
        except AgentError as error:
            self.refused(error)
            raise
        self._count("kept" if kept.new else "repeated")
        return kept

    def _keep(self, data: Any, folder: Path | None) -> Kept:
        parts = self._parts
        config, sources = parts.config(), fetchers(parts.config(), folder, parts.clock)
        now, trusted = parts.clock.now(), parts.clock_trusted()
        candidate = interpreted(data, config, self.form, sources, now, trusted=trusted)
        record = parts.pseudonyms.full(f"{SOURCE}:{candidate.caller_id}")[:32]
        with self._keeping:
            there = parts.outbox.content(record)
            if there is None:
                self._put(record, candidate)
            elif there != candidate.content:
                raise AgentError("E8503", record=record)
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
        if result is not FaceResult.PASSED:
            code = "W2001" if result is FaceResult.FAILED else "W2002"
            logs.say(log, code, record=record, person=person)
            parts.board.event(code, record=record)
        parts.record_kept()

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
            self._parts.board.post("intake", state="ok", **self._counts)


def form_of(config: Config) -> Form | None:
    """Return the mapping in force, None for our own JSON. ConfigError when it cannot be used."""
    mapping = config.intake.mapping
    return None if mapping is None else form.read(mapping)


def fetchers(config: Config, folder: Path | None, clock: Clock) -> Fetchers:
    """Return how pictures are fetched that a result only names: below `folder`, else intake.pictures."""
    pictures = config.intake.pictures
    root = folder or (Path(pictures) if pictures else None)
    return Fetchers(partial(fetch.file, root), partial(fetch.url, clock))


def interpreted(
    data: Any, config: Config, mapping: Form | None, fetch: Fetchers, now: datetime, *, trusted: bool
) -> Candidate:
    """Return what would be kept of a submission. Rejected with every fault.

    While the machine's clock is not trusted no time is called wrong by it, and a time of arrival is held.
    """
    handed = Mapped(data, content=digest(data)) if mapping is None else mapped(mapping, data, fetch, now)
    submission = _validated(handed, config, now if trusted else None)
    verification = _verification(submission, config, clock_trusted=trusted or not handed.arrival)
    pictures = _pictures(submission)
    return Candidate(
        verification=verification,
        pictures=pictures,
        holds=_holds(verification, pictures, config),
        caller_id=submission.id,
        content=handed.content,
    )


def _validated(handed: Mapped, config: Config, now: datetime | None) -> Submission:
    context = {
        "now": now,
        "device_no": config.device.device_no,
        "picture_bytes": config.images.max_base64_chars // 4 * 3,
    }
    faults = list(handed.faults)
    try:
        submission = Submission.model_validate(handed.values, context=context)
    except ValidationError as error:
        # What a mapping could not make is missing as well: one fault for one mistake.
        told = {fault.pointer for fault in faults}
        for fault in faults_of(error):
            place = handed.places.get(fault.pointer, fault.pointer)
            faults += [] if place in told else [replace(fault, pointer=place)]
        raise Rejected(faults) from None
    if faults:
        raise Rejected(faults)
    return submission


def _verification(submission: Submission, config: Config, *, clock_trusted: bool) -> Verification:
    card, finger = submission.card, submission.finger
    return Verification(
        id="",
        verified_at=submission.verified_at,
        face=FaceVerdict(RESULTS[submission.result], reason=HANDED_IN, score=_score(submission)),
        card_kind=KINDS[card.kind],
        device_no=config.device.device_no,
        machine_code=config.device.machine_code,
        source=f"{SOURCE}:{submission.id}",
        clock_trusted=clock_trusted,
        name=card.name,
        number=card.number.upper(),
        sex_code=card.sex or "",
        nation_code=card.nation or "",
        birth=_chip_date(card.birth),
        address=card.address or "",
        issuer=card.issuer or "",
        valid_from=_chip_date(card.valid_from),
        valid_until=_chip_date(card.valid_until),
        latin_name=card.latin_name or "",
        operator=submission.operator or config.operators.default or "",
        finger=None if finger is None else Finger(finger.score or 0.0, RESULTS[finger.result].value),
    )


def _score(submission: Submission) -> float | None:
    return None if submission.result == "not_verified" else submission.score


def _chip_date(text: str | None) -> str:
    """Return a date as chips write it, which is how every record holds it."""
    return text if text == LONG_TERM else (text or "").replace("-", "")


def _pictures(submission: Submission) -> dict[PictureKind, bytes]:
    found = {
        PictureKind.CAMERA: submission.camera_picture,
        PictureKind.CARD: submission.card_picture,
        PictureKind.FINGER: submission.finger.picture if submission.finger else None,
    }
    return {kind: picture for kind, picture in found.items() if picture}


def _holds(
    verification: Verification, pictures: Mapping[PictureKind, bytes], config: Config
) -> Mapping[Hold, str]:
    """Return why the record could not be sent yet: as at the desk, and what rendering would find."""
    conventions = config.platform.conventions
    holds = dict(reasons_to_hold(verification, pictures, conventions.substitutes))
    known = set(holds.values()) | ({"nationalName"} if Hold.NATION in holds else set())
    found = problems(verification, pictures, conventions, config.images.max_base64_chars)
    told = [f"{problem.field}: {problem.reason}" for problem in found if problem.field not in known]
    if told:
        holds[Hold.FIELD] = "; ".join(told)
    return holds
