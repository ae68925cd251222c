"""A verification into the platform's fields, by tables 4.1 and 4.2 and this site's conventions. Pure.

What the platform would refuse is found before, by `agent.hmpt.checks`. Nothing is invented or shortened: a
name too long for VARCHAR(10) goes whole or not at all, a field that cannot be made is blank.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import ROUND_DOWN, Decimal

from agent.clock import SHANGHAI
from agent.config.schema import Conventions, Device
from agent.hmpt.body import Body, Jpeg, of_members, of_pieces
from agent.hmpt.codes import NATIONS, NO_CHIP, SEXES, nation_name
from agent.records import FaceResult, PictureKind, Verification
from drivers.card import CardKind

LONG_TERM = "长期"
ENABLED = 0

FINGER_FIELDS = ("fingerCollectImg", "fingerScore", "fingerResult")


def texts(verification: Verification, conventions: Conventions) -> dict[str, str]:
    """Return the text fields of table 4.2 as they would be sent; what cannot be made is blank."""
    v, c = verification, conventions
    substitutes = c.substitutes
    nation = v.nation_code if v.nation_code in NATIONS else substitutes.nation_code or ""
    local = v.verified_at.astimezone(SHANGHAI)
    return {
        "realName": trimmed(v.name),
        "cardType": _card_type(v, c),
        "cardNo": trimmed(v.number).upper(),
        "sexCode": v.sex_code.zfill(c.sex_width) if v.sex_code in SEXES else "",
        "sexName": SEXES.get(v.sex_code, ""),
        "nationalCode": nation,
        "nationalName": _nation_name(nation, v, c),
        "operationUser": trimmed(v.operator),
        "birthday": _date(v.birth, "date"),
        "address": _address(v, c),
        "police": trimmed(v.issuer) or substitutes.police or "",
        "cardStartDate": _date(v.valid_from, c.card_dates),
        "cardEndDate": c.permanent_date if v.valid_until == LONG_TERM else _date(v.valid_until, c.card_dates),
        "verifyDate": f"{local:%Y-%m-%d}",
        "verifyTime": f"{local:%Y-%m-%d %H:%M:%S}",
        "deviceNo": v.device_no,
        "machineCode": v.machine_code,
    }


def trimmed(text: str) -> str:
    """Return a text without the blanks and zeros that readers pad with (R29); inner ones are the card's."""
    return text.strip().strip("\0").strip()


def _card_type(verification: Verification, conventions: Conventions) -> str:
    """Return R26: by the chip's letter; a document without a chip comes by intake alone, and is "other"."""
    if verification.card_kind is CardKind.UNKNOWN:
        return NO_CHIP if verification.source.startswith("intake") else ""
    letter: str = getattr(conventions.card_types, verification.card_kind.value)
    return letter


def _nation_name(code: str, verification: Verification, conventions: Conventions) -> str:
    substitute = conventions.substitutes.nation_name
    if verification.nation_code not in NATIONS and substitute is not None:
        return substitute
    return nation_name(code, suffix=conventions.nation_suffix) if code in NATIONS else ""


def _address(verification: Verification, conventions: Conventions) -> str:
    newest = verification.newest_address if conventions.address == "newest" else None
    return trimmed(newest or verification.address) or conventions.substitutes.address or ""


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 -- a calendar date has no zone
    except ValueError:
        return None


def _date(text: str, form: str) -> str:
    day = _day(text)
    if day is None:
        return ""
    return f"{day:%Y-%m-%d} 00:00:00" if form == "datetime" else f"{day:%Y-%m-%d}"


def render(
    verification: Verification, pictures: Mapping[PictureKind, bytes], conventions: Conventions
) -> Body:
    """Return the plain body of /verification/pregnant_woman/first, fields in the table's order.

    The same verification, pictures and conventions give the same bytes.
    """
    v, c = verification, conventions
    found = texts(v, c)
    coded = str if c.types == "example" else _text
    members: dict[str, str | Jpeg] = {name: _text(text) for name, text in found.items()}
    members["cardType"] = coded(found["cardType"])
    members["headImg"] = Jpeg(pictures[PictureKind.CARD])
    members["cameraImg"] = Jpeg(pictures[PictureKind.CAMERA])
    members["faceScore"] = _score(v.face.score, v.face.result, c)
    members["faceResult"] = coded(str(v.face.result.value))
    members["certTimeoutStatus"] = str(_cert_status(v, c))
    members |= _finger(v, pictures, c)
    return of_members({name: members[name] for name in _ORDER if name in members})


#: Table 4.2 from top to bottom.
_ORDER = (
    *("realName", "cardType", "cardNo", "sexCode", "sexName", "nationalCode", "nationalName"),
    *("operationUser", "birthday", "address", "police", "cardStartDate", "cardEndDate", "headImg"),
    *("cameraImg", "faceScore", "faceResult", "verifyDate", "verifyTime", "certTimeoutStatus"),
    *("deviceNo", "machineCode", "fingerCollectImg", "fingerScore", "fingerResult"),
)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _score(score: float | None, result: FaceResult, conventions: Conventions) -> str:
    """Return a JSON number, rounded down, without exponent (R19); 0 where nothing was compared (R18)."""
    value = Decimal(0) if score is None or result is FaceResult.NOT_VERIFIED else Decimal(str(score))
    return str(value.quantize(Decimal(1).scaleb(-conventions.score_decimals), rounding=ROUND_DOWN))


def _cert_status(verification: Verification, conventions: Conventions) -> int:
    """Return R20: expired on the day of the verification; a permanent card never is."""
    until = _day(verification.valid_until)
    on = verification.verified_at.astimezone(SHANGHAI).date()
    status = conventions.cert_status
    return status.expired if until is not None and until < on else status.valid


def _finger(
    verification: Verification, pictures: Mapping[PictureKind, bytes], conventions: Conventions
) -> dict[str, str | Jpeg]:
    finger, picture = verification.finger, pictures.get(PictureKind.FINGER)
    absent: dict[str, str | Jpeg] = {}
    if conventions.absent_finger == "null":
        absent = dict.fromkeys(FINGER_FIELDS, "null")
    if finger is None:
        return absent
    result = FaceResult(finger.result)
    made: dict[str, str | Jpeg] = {
        "fingerScore": _score(finger.score, result, conventions),
        "fingerResult": str(result.value),
    }
    if picture is not None:
        made["fingerCollectImg"] = Jpeg(picture)
    return absent | made


def shaped(body: Body, conventions: Conventions) -> Body:
    """Return a body that goes plain, wrapped if the site wants it (P17)."""
    return of_pieces([b'{"data":', body, b"}"]) if conventions.body_shape == "data" else body


def machine_info(device: Device, conventions: Conventions, now: datetime, status: int = ENABLED) -> Body:
    """Return the plain body of /machine/info: table 4.1, letter for letter as configured."""
    fields: dict[str, str] = {
        "deptId": device.dept_id,
        "deptName": device.dept_name,
        "machineManufacturer": device.manufacturer,
        "machineMode": device.model,  # sic, D6
        "purchaseTime": device.purchase_date.isoformat(),
        "machineCode": device.machine_code,
        "deviceNo": device.device_no,
        "registerUser": device.register_user,
    }
    members: dict[str, str | Jpeg] = {name: _text(text) for name, text in fields.items()}
    members["status"] = str(status)
    if conventions.send_register_time:
        members["registerTime"] = _text(now.astimezone(SHANGHAI).replace(tzinfo=None).isoformat())
    return of_members(members)
