"""A verification into the platform's fields, by tables 4.1 and 4.2 and this site's conventions. Pure.

What the platform would refuse is found here, by `problems`, before anything is sent. Nothing is invented
or shortened: a name too long for VARCHAR(10) goes whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_DOWN, Decimal

from agent.clock import SHANGHAI
from agent.config.schema import Conventions, Device
from agent.hmpt.body import Body, Jpeg, of_members, of_pieces
from agent.hmpt.codes import NATIONS, SEXES, nation_name
from agent.images import is_jpeg
from agent.records import FaceResult, PictureKind, Verification
from drivers.card import CardKind

LONG_TERM = "长期"
ENABLED = 0

#: Lengths of table 4.2 that nothing in the document contradicts.
_MAX_LENGTHS = {"cardNo": 18, "operationUser": 10, "police": 100, "deviceNo": 50, "machineCode": 50}
_REQUIRED_TEXTS = (
    *("realName", "cardNo", "operationUser", "address", "police", "birthday"),
    *("cardStartDate", "cardEndDate", "deviceNo", "machineCode", "nationalCode"),
)
_PICTURES = {"headImg": PictureKind.CARD, "cameraImg": PictureKind.CAMERA}


@dataclass(frozen=True)
class Problem:
    """One field that the platform would refuse, and why."""

    field: str
    reason: str


def texts(verification: Verification, conventions: Conventions) -> dict[str, str]:
    """Return the text fields of table 4.2 as they would be sent; what cannot be made is blank."""
    v, c = verification, conventions
    substitutes = c.substitutes
    nation = v.nation_code if v.nation_code in NATIONS else substitutes.nation_code or ""
    local = v.verified_at.astimezone(SHANGHAI)
    return {
        "realName": v.name.strip(),
        "cardType": "" if v.card_kind is CardKind.UNKNOWN else getattr(c.card_types, v.card_kind.value),
        "cardNo": v.number.strip().upper(),
        "sexCode": v.sex_code.zfill(c.sex_width) if v.sex_code in SEXES else "",
        "sexName": SEXES.get(v.sex_code, ""),
        "nationalCode": nation,
        "nationalName": _nation_name(nation, v, c),
        "operationUser": v.operator.strip(),
        "birthday": _date(v.birth, "date"),
        "address": _address(v, c),
        "police": v.issuer.strip() or substitutes.police or "",
        "cardStartDate": _date(v.valid_from, c.card_dates),
        "cardEndDate": c.permanent_date if v.valid_until == LONG_TERM else _date(v.valid_until, c.card_dates),
        "verifyDate": f"{local:%Y-%m-%d}",
        "verifyTime": f"{local:%Y-%m-%d %H:%M:%S}",
        "deviceNo": v.device_no,
        "machineCode": v.machine_code,
    }


def _nation_name(code: str, verification: Verification, conventions: Conventions) -> str:
    substitute = conventions.substitutes.nation_name
    if verification.nation_code not in NATIONS and substitute is not None:
        return substitute
    return nation_name(code, suffix=conventions.nation_suffix) if code in NATIONS else ""


def _address(verification: Verification, conventions: Conventions) -> str:
    newest = verification.newest_address if conventions.address == "newest" else None
    return (newest or verification.address).strip() or conventions.substitutes.address or ""


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


def problems(
    verification: Verification,
    pictures: Mapping[PictureKind, bytes],
    conventions: Conventions,
    max_base64_chars: int,
) -> list[Problem]:
    """Return every field that the platform would refuse; empty when the record can go."""
    found = texts(verification, conventions)
    return [
        *_blank(found),
        *_too_long(found, conventions),
        *_characters(found, conventions),
        *_bad_pictures(pictures, max_base64_chars),
    ]


def _blank(found: Mapping[str, str]) -> Iterator[Problem]:
    for name in (*_REQUIRED_TEXTS, "cardType", "sexCode", "nationalName"):
        if not found[name]:
            yield Problem(name, "missing or not in the platform's tables")


def _too_long(found: Mapping[str, str], conventions: Conventions) -> Iterator[Problem]:
    limits = dict(_MAX_LENGTHS)
    if conventions.long_name == "hold":
        limits["realName"] = 10
    for name, limit in limits.items():
        length = _length(found[name], conventions)
        if length > limit:
            yield Problem(name, f"{length} {conventions.length_unit}, at most {limit}")


def _length(text: str, conventions: Conventions) -> int:
    if conventions.length_unit == "chars":
        return len(text)
    encoding = "gb18030" if conventions.length_unit == "gbk" else "utf-8"
    return len(text.encode(encoding, "replace"))


def _characters(found: Mapping[str, str], conventions: Conventions) -> Iterator[Problem]:
    for name, text in found.items():
        if any("\ud800" <= character <= "\udfff" for character in text):
            yield Problem(name, "a broken character")
        elif conventions.private_use == "hold":
            rare = [character for character in text if "\ue000" <= character <= "\uf8ff"]
            if rare:
                yield Problem(name, f"private-use character U+{ord(rare[0]):04X}")


def _bad_pictures(pictures: Mapping[PictureKind, bytes], max_base64_chars: int) -> Iterator[Problem]:
    named = dict(_PICTURES)
    if PictureKind.FINGER in pictures:
        named["fingerCollectImg"] = PictureKind.FINGER
    for name, kind in named.items():
        picture = pictures.get(kind)
        if picture is None:
            yield Problem(name, "missing")
        elif not is_jpeg(picture):
            yield Problem(name, "no JPEG")
        elif Jpeg(picture).length > max_base64_chars:
            yield Problem(name, f"{Jpeg(picture).length} base64 characters, at most {max_base64_chars}")


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
    names = ("fingerCollectImg", "fingerScore", "fingerResult")
    if finger is None:
        return {} if conventions.absent_finger == "omit" else dict.fromkeys(names, "null")
    result = FaceResult(finger.result)
    return {
        "fingerCollectImg": "null" if picture is None else Jpeg(picture),
        "fingerScore": _score(finger.score, result, conventions),
        "fingerResult": str(result.value),
    }


def shaped(body: Body, conventions: Conventions) -> Body:
    """Return a body that goes plain, wrapped if the site wants it (P17)."""
    return of_pieces([b'{"data":', body, b"}"]) if conventions.body_shape == "data" else body


def machine_info(device: Device, conventions: Conventions, now: datetime) -> Body:
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
    members["status"] = str(ENABLED)
    if conventions.send_register_time:
        members["registerTime"] = _text(now.astimezone(SHANGHAI).replace(tzinfo=None).isoformat())
    return of_members(members)
