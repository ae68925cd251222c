"""What would be kept of something handed in: mapped, checked whole, and what it still lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.clock import Clock
from agent.config.schema import Config
from agent.intake import fetch, form
from agent.intake.faults import Rejected
from agent.intake.form import Form
from agent.intake.mapping import Fetchers, Mapped, digest, mapped
from agent.intake.pictures import Accept
from agent.intake.schema import KINDS, LONG_TERM, RESULTS, Submission, faults_of
from agent.records import FaceVerdict, Finger, Hold, PictureKind, Verification
from agent.verify import lacking

SOURCE = "intake"
#: What a record's verdict says of where it comes from.
HANDED_IN = "handed_in"


@dataclass(frozen=True)
class Candidate:
    """What would be kept: facts without their id, pictures, and why it could not be sent yet."""

    verification: Verification
    pictures: Mapping[PictureKind, bytes]
    holds: Mapping[Hold, str]
    caller_id: str
    content: str  # digest of what was handed in: tells the same again
    files: tuple[str, ...] = ()  # pictures that came from files, by the names that the kiosk gave


def form_of(config: Config) -> Form | None:
    """Return the mapping in force, None for our own JSON. ConfigError when it cannot be used."""
    mapping = config.intake.mapping
    return None if mapping is None else form.read(mapping)


def fetchers(config: Config, folder: Path | None, clock: Clock) -> Fetchers:
    """Return how pictures are fetched that a result only names: below intake.pictures, else `folder`."""
    pictures = config.intake.pictures
    root = Path(pictures) if pictures else folder
    return Fetchers(partial(fetch.file, root), partial(fetch.url, clock))


def interpreted(
    data: Any,
    config: Config,
    mapping: Form | None,
    fetch: Fetchers,
    accept: Accept,
    now: datetime,
    *,
    trusted: bool,
    operator: str | None = None,
) -> Candidate:
    """Return what would be kept of a submission. Rejected with every fault; AgentError as `accept`.

    `operator` operates the desk now; a submission may name another. While the machine's clock is not trusted
    no time is called wrong by it, and a time of arrival is held.
    """
    handed = Mapped(data, content=digest(data)) if mapping is None else mapped(mapping, data, fetch, now)
    submission = _validated(handed, config, accept, now if trusted else None)
    verification = replace(
        _verification(submission, config),
        clock_trusted=trusted or not handed.arrival,
        operator=submission.operator or operator or "",
    )
    pictures = _pictures(submission)
    return Candidate(
        verification=verification,
        pictures=pictures,
        holds=lacking(verification, pictures, config.platform.conventions, config.images.max_base64_chars),
        caller_id=submission.id,
        content=handed.content,
        files=handed.files,
    )


def _validated(handed: Mapped, config: Config, accept: Accept, now: datetime | None) -> Submission:
    context = {
        "now": now,
        "device_no": config.device.device_no,
        "accept": accept,
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


def _verification(submission: Submission, config: Config) -> Verification:
    card, finger = submission.card, submission.finger
    return Verification(
        id="",
        verified_at=submission.verified_at,
        face=FaceVerdict(RESULTS[submission.result], reason=HANDED_IN, score=_score(submission)),
        card_kind=KINDS[card.kind],
        device_no=config.device.device_no,
        machine_code=config.device.machine_code,
        source=f"{SOURCE}:{submission.id}",
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
