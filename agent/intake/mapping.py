"""A kiosk's JSON under a mapping becomes a submission, or faults at their places in the kiosk's JSON.

Nothing is guessed: a code that is not mapped is a fault, a date that does not fit is a fault. Only a nation
whose name GB/T 3304 does not have, and what a number does not say, are left out: a person supplies them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

from agent.hmpt.codes import NATIONS
from agent.intake import dates, pictures
from agent.intake.faults import Fault, Rejected, pointer
from agent.intake.form import PICTURES, Form, Rule
from agent.intake.schema import LONG_TERM

CARD = (
    *("kind", "name", "number", "sex", "nation", "birth", "address", "issuer"),
    *("valid_from", "valid_until", "latin_name"),
)
_NATION_CODES = {name: code for code, name in NATIONS.items()}
#: What is shown of a code that nobody mapped.
SHOWN_CHARS = 20

Fetch = Callable[[str], bytes]  # raises pictures.Unusable or pictures.Forbidden


@dataclass
class Mapped:
    """A submission as plain data, with the place of each of its fields in the kiosk's JSON."""

    values: dict[str, Any]
    faults: list[Fault] = field(default_factory=list)
    places: Mapping[str, str] = field(default_factory=dict)  # pointer into the submission -> into the JSON
    content: str = ""  # digest of all that the kiosk said
    files: tuple[str, ...] = ()  # names of the picture files
    arrival: bool = False  # the time is ours


@dataclass(frozen=True)
class Fetchers:
    """How pictures that are only named are fetched."""

    file: Fetch
    url: Fetch


class _Wrong(ValueError):
    def __init__(self, code: str, **facts: str) -> None:
        self.code, self.facts = code, facts
        super().__init__(code)


def mapped(form: Form, data: Any, fetch: Fetchers, now: datetime) -> Mapped:
    """Return the submission that `data` is under `form`; it may lack what `data` lacks.

    Rejected at once for what is no JSON object.
    """
    if not isinstance(data, dict):
        raise Rejected([Fault("E8511", "", {"expected": "object"})])
    flat: dict[str, Any] = {}
    faults: list[Fault] = []
    zone = _zone(form.zone)
    for name, rule in form.rules().items():
        if rule.path is None:
            continue
        try:
            value = _value(name, rule, _found(data, rule.path, form.ignore_case), fetch, zone)
        except _Wrong as wrong:
            faults.append(Fault(wrong.code, _place(rule), wrong.facts))
            continue
        if value is not None:
            flat[name] = value
    _without_verdict(flat)
    # Before what is ours - constants, times, names - is added: the kiosk's own words are what is repeated.
    content = digest(flat)
    flat |= {name: rule.value for name, rule in form.rules().items() if rule.value is not None}
    arrival = form.fields.verified_at.made == "arrival"
    if arrival:
        flat["verified_at"] = now
    if form.fields.id.made == "digest":
        flat["id"] = content[:32]
    return Mapped(_nested(flat), faults, _places(form), content, _files(form, data), arrival)


def _files(form: Form, data: Any) -> tuple[str, ...]:
    named = [rule for rule in form.rules().values() if rule.picture == "file" and rule.path]
    found = (_found(data, rule.path or "", form.ignore_case) for rule in named)
    return tuple(name.strip() for name in found if isinstance(name, str) and name.strip())


def _place(rule: Rule) -> str:
    return pointer((rule.path or "").split("."))


def _places(form: Form) -> dict[str, str]:
    return {_own(name): _place(rule) for name, rule in form.rules().items() if rule.path is not None}


def _own(name: str) -> str:
    if name in CARD:
        return f"/card/{name}"
    return f"/finger/{name.removeprefix('finger_')}" if name.startswith("finger_") else f"/{name}"


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {"card": {}}
    for name, value in flat.items():
        _, *above, own = _own(name).split("/")
        (nested.setdefault(above[0], {}) if above else nested)[own] = value
    return nested


def _without_verdict(flat: dict[str, Any]) -> None:
    """Take away scores that stand for nothing: -1 or 0 where nothing was compared, a finger without score."""
    for prefix in ("", "finger_"):
        if flat.get(f"{prefix}result") == "not_verified":
            flat.pop(f"{prefix}score", None)
    if "finger_score" not in flat and flat.get("finger_result") != "not_verified":
        # The platform takes a finger's result with its score alone.
        for name in ("finger_result", "finger_picture"):
            flat.pop(name, None)


def _found(data: Any, path: str, ignore_case: bool) -> Any:
    for part in path.split("."):
        if isinstance(data, dict):
            key = part
            if ignore_case and part not in data:
                key = next((name for name in data if name.lower() == part.lower()), part)
            data = data.get(key)
        elif isinstance(data, list) and part.isascii() and part.isdigit() and int(part) < len(data):
            data = data[int(part)]
        else:
            return None
    return data


def _value(name: str, rule: Rule, raw: Any, fetch: Fetchers, zone: timezone) -> Any:
    """Return our value, None to leave the field out. _Wrong when it cannot be made."""
    text = _text(raw)
    if rule.split is not None:
        parts = text.split(rule.split)
        text = parts[rule.take].strip() if rule.take < len(parts) else ""
    if not text:
        return None
    if rule.codes is not None and (text in rule.codes or not rule.forms):
        if text not in rule.codes:
            raise _Wrong("E8519", received=text[:SHOWN_CHARS])
        return rule.codes[text] or None
    if name in PICTURES:
        return _picture(rule, text, fetch)
    if name in {"score", "finger_score"}:
        return _score(text, rule.scale or 1.0)
    if rule.forms:
        return _date(name, rule, text, zone)
    if rule.nation:
        return text if text in NATIONS else _NATION_CODES.get(text.removesuffix("族"))
    return _from_number(rule.number, text) if rule.number else text


def _text(raw: Any) -> str:
    if raw is None:
        return ""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if not isinstance(raw, str | int | float):
        raise _Wrong("E8511", expected="text or number")
    return str(raw).strip()


def _picture(rule: Rule, text: str, fetch: Fetchers) -> bytes:
    try:
        if rule.picture == "base64":
            return pictures.from_base64(text)
        return fetch.file(text) if rule.picture == "file" else fetch.url(text)
    except pictures.Unusable as error:
        code = "E8520" if isinstance(error, pictures.Forbidden) else "E8515"
        raise _Wrong(code, reason=error.reason) from None


def _score(text: str, scale: float) -> float:
    try:
        return float(Decimal(text) / Decimal(str(scale)))
    except (InvalidOperation, ValueError, OverflowError):
        raise _Wrong("E8511", expected="number") from None


def _date(name: str, rule: Rule, text: str, zone: timezone) -> Any:
    for form in rule.forms:
        moment = dates.parsed(text, form, zone)
        if moment is not None:
            return moment if name == "verified_at" else f"{moment.astimezone(zone):%Y-%m-%d}"
    if text == LONG_TERM:
        return text
    raise _Wrong("E8513", rule=" | ".join(rule.forms))


def _from_number(what: str, number: str) -> str | None:
    """Return what the 18 characters of a number say by GB 11643: birth at 7 to 14, sex by the 17th."""
    digits = number[:17]
    if len(number) != 18 or not (digits.isascii() and digits.isdigit()):
        return None
    if what == "sex":
        return "1" if int(digits[16]) % 2 else "2"
    return f"{digits[6:10]}-{digits[10:12]}-{digits[12:14]}"


def _zone(text: str) -> timezone:
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[4:6]))
    return timezone(-offset if text.startswith("-") else offset)


def digest(said: Any) -> str:
    """Return what tells the same submission again from another one under the same id.

    Over what was handed in, not what is made of it: a changed configuration makes no other verification.
    """

    def plain(value: Any) -> str:
        if isinstance(value, bytes):
            return hashlib.blake2b(value, digest_size=32).hexdigest()
        return str(value)

    text = json.dumps(said, sort_keys=True, default=plain)
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()
