"""Card, face, clock and operator become one verification, or reasons to hold it. Pure.

Nothing is invented here: what the card does not carry stays empty, and an empty field that the
platform requires is a reason to hold the record until a person or a configured substitute fills it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from agent.clock import Uptime
from agent.config.schema import Conventions, Device, Substitutes
from agent.hmpt.checks import problems
from agent.records import FaceVerdict, Hold, PictureKind, Verification
from drivers.card import CardRecord


def verify(
    card: CardRecord,
    face: FaceVerdict,
    *,
    record_id: str,
    verified_at: datetime,
    uptime: Uptime | None,
    operator: str | None,
    device: Device,
) -> Verification:
    """Return the facts of one verification made at the desk.

    `uptime` is that of `verified_at` where the clock cannot be trusted, None where it can.
    """
    return Verification(
        id=record_id,
        verified_at=verified_at,
        face=face,
        card_kind=card.kind,
        device_no=device.device_no,
        machine_code=device.machine_code,
        clock_trusted=uptime is None,
        uptime=uptime,
        name=card.name,
        number=card.number,
        sex_code=card.sex_code,
        nation_code=card.nation_code,
        birth=card.birth,
        address=card.address,
        newest_address=card.newest_address,
        issuer=card.issuer,
        valid_from=card.valid_from,
        valid_until=card.valid_until,
        latin_name=card.latin_name,
        operator=operator or "",
    )


def reasons_to_hold(
    verification: Verification, pictures: Iterable[PictureKind], substitutes: Substitutes
) -> Mapping[Hold, str]:
    """Return why this record cannot be sent yet: hold -> what is missing, empty when it can go."""
    reasons: dict[Hold, str] = {}
    if not verification.operator.strip():
        reasons[Hold.OPERATOR] = "operationUser"
    if PictureKind.CARD not in pictures:
        reasons[Hold.CARD_PICTURE] = "headImg"
    if not verification.nation_code.strip() and substitutes.nation_code is None:
        reasons[Hold.NATION] = "nationalCode"
    if not verification.address.strip() and substitutes.address is None:
        reasons[Hold.ADDRESS] = "address"
    if not verification.issuer.strip() and substitutes.police is None:
        reasons[Hold.ISSUER] = "police"
    if not verification.clock_trusted:
        reasons[Hold.CLOCK] = "verifyTime"
    return reasons


def lacking(
    verification: Verification,
    pictures: Mapping[PictureKind, bytes],
    conventions: Conventions,
    max_base64_chars: int,
) -> Mapping[Hold, str]:
    """Return why a record that does not come from the desk could not be sent: as there, and as rendering."""
    holds = dict(reasons_to_hold(verification, pictures, conventions.substitutes))
    known = set(holds.values()) | ({"nationalName"} if Hold.NATION in holds else set())
    found = problems(verification, pictures, conventions, max_base64_chars)
    told = [problem.told("en") for problem in found if problem.field not in known]
    if told:
        holds[Hold.FIELD] = "; ".join(told)
    return holds
