"""The JSON that the intake takes: `Submission`, from which the OpenAPI document is made as well.

Field by field: docs/intake.md. Everything is checked before anything is refused, so that a programmer sees
all faults at once; a fault's facts name the rule, never the value.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from agent.clock import EARLIEST, iso_moment
from agent.config.schema import MAX_OPERATOR_CHARS
from agent.intake import pictures
from agent.intake.faults import Fault, pointer
from agent.records import FaceResult
from drivers.card import CardKind

#: How far ahead of ours a kiosk's clock may be.
AHEAD = timedelta(minutes=10)
LONG_TERM = "长期"
FACTS = "facts"

KINDS = {
    "resident": CardKind.RESIDENT,
    "hmt_permit": CardKind.HMT_PERMIT,
    "foreigner": CardKind.FOREIGNER_2023,
    "other": CardKind.OTHER,
}
RESULTS = {
    "passed": FaceResult.PASSED,
    "failed": FaceResult.FAILED,
    "not_verified": FaceResult.NOT_VERIFIED,
}


def _fault(code: str, **facts: str) -> PydanticCustomError:
    return PydanticCustomError("fault", "{code}", {"code": code, FACTS: facts})


def _text(value: str) -> str:
    """Return a text without its padding; what no card and no keyboard holds is refused."""
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in value):
        raise _fault("E8513", rule="no control characters, no broken characters")
    return value.strip()


def _day(value: str) -> str:
    try:
        date.fromisoformat(value)
    except ValueError:
        raise _fault("E8513", rule="a day of the calendar") from None
    return value


def _moment(value: Any) -> Any:
    if isinstance(value, datetime) or value is None:
        return value
    if not isinstance(value, str):
        raise _fault("E8511", expected="text")
    try:
        moment = iso_moment(value)
        aware = moment.utcoffset() is not None
        if aware:
            moment.timestamp()
    except (ValueError, OverflowError):
        raise _fault("E8513", rule="2026-11-24T13:00:00+08:00") from None
    if not aware:
        raise _fault("E8513", rule="2026-11-24T13:00:00+08:00, the offset included")
    return moment


def _seen(moment: datetime, info: ValidationInfo) -> datetime:
    now: datetime | None = (info.context or {}).get("now")
    if moment < EARLIEST or (now is not None and moment > now + AHEAD):
        raise _fault("E8518", earliest=EARLIEST.isoformat(), ahead=str(AHEAD))
    return moment


def _picture(value: Any, info: ValidationInfo) -> bytes:
    """Return the picture as it will be kept. Bytes come from a mapping, text from the caller's own JSON."""
    if not isinstance(value, bytes | str):
        raise _fault("E8511", expected="base64 text")
    context: Mapping[str, Any] = info.context or {}
    try:
        raw = value if isinstance(value, bytes) else pictures.from_base64(value)
        return pictures.accepted(context["accept"], raw, context["picture_bytes"])
    except pictures.Unusable as error:
        raise _fault("E8515", reason=error.reason) from None


Text100 = Annotated[str, Field(max_length=100), AfterValidator(_text)]
Text200 = Annotated[str, Field(max_length=200), AfterValidator(_text)]
Required100 = Annotated[str, Field(min_length=1, max_length=100, pattern=r"\S"), AfterValidator(_text)]
Day = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), AfterValidator(_day)]
Score = Annotated[float, Field(ge=0, le=1)]
Result = Literal["passed", "failed", "not_verified"]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    AfterValidator(_seen),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Picture = Annotated[
    bytes,
    BeforeValidator(_picture),
    WithJsonSchema(
        {"type": "string", "contentEncoding": "base64", "description": "JPEG, PNG or BMP; a data URI is fine"}
    ),
]


class _Part(BaseModel):
    """Unknown fields are faults; nothing is shown of what was handed in."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Card(_Part):
    """What stands on the card. What is left out holds the record until a person supplies it."""

    kind: Literal["resident", "hmt_permit", "foreigner", "other"]
    name: Required100 = Field(repr=False)
    number: Annotated[str, Field(min_length=1, max_length=30, pattern=r"\S"), AfterValidator(_text)] = Field(
        repr=False
    )
    sex: Literal["0", "1", "2", "9"] | None = Field(
        None, repr=False, description="GB/T 2261.1: 1 male, 2 female, 0 unknown, 9 not stated"
    )
    nation: Annotated[str, Field(pattern=r"^[0-9]{2}$")] | None = Field(
        None, repr=False, description="GB/T 3304: 01 to 56"
    )
    birth: Day | None = Field(None, repr=False)
    address: Text200 | None = Field(None, repr=False)
    issuer: Text100 | None = Field(None, repr=False)
    valid_from: Day | None = Field(None, repr=False)
    valid_until: Day | Literal["长期"] | None = Field(None, repr=False)
    latin_name: Text100 | None = Field(None, repr=False)


class Finger(_Part):
    """A finger that was compared as well."""

    result: Result
    score: Score | None = Field(None, validate_default=True, description="as for the face")
    picture: Picture | None = Field(None, repr=False)

    @field_validator("score")
    @classmethod
    def _fits(cls, score: float | None, info: ValidationInfo) -> float | None:
        return fitting(score, info)


class Submission(_Part):
    """One finished verification, as the kiosk saw it."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")] = Field(
        repr=False, description="the caller's own; the same id again is the same verification"
    )
    verified_at: Moment = Field(description="when the camera picture was taken")
    device_no: Text100 | None = Field(None, validate_default=True, description="if given, this device's")
    card: Card
    result: Result
    score: Score | None = Field(
        None, validate_default=True, description="0 to 1; left out, or 0, when nothing was verified"
    )
    card_picture: Picture = Field(repr=False)
    camera_picture: Picture = Field(repr=False)
    finger: Finger | None = None
    operator: Annotated[str, Field(max_length=MAX_OPERATOR_CHARS), AfterValidator(_text)] | None = Field(
        None, repr=False
    )

    @field_validator("score")
    @classmethod
    def _fits(cls, score: float | None, info: ValidationInfo) -> float | None:
        return fitting(score, info)

    @field_validator("device_no")
    @classmethod
    def _ours(cls, device_no: str | None, info: ValidationInfo) -> str | None:
        ours = (info.context or {}).get("device_no")
        if device_no and ours is not None and device_no != ours:
            raise _fault("E8517", expected=ours)
        return device_no


def fitting(score: float | None, info: ValidationInfo) -> float | None:
    """Return the score if it goes with the result that stands before it."""
    result = info.data.get("result")
    if score is None and result in {"passed", "failed"}:
        raise _fault("E8516", rule="passed, failed: with score")
    if score and result == "not_verified":
        raise _fault("E8516", rule="not_verified: without score")
    return score


#: pydantic's error types -> ours. Its own texts are English and may quote.
_CODES = {
    "missing": "E8510",
    "extra_forbidden": "E8514",
    "literal_error": "E8512",
    "string_pattern_mismatch": "E8513",
    "string_too_long": "E8513",
    "string_too_short": "E8513",
    "greater_than_equal": "E8513",
    "less_than_equal": "E8513",
    "finite_number": "E8513",
}
_RULES = {
    "string_pattern_mismatch": "pattern",
    "string_too_long": "max_length",
    "string_too_short": "min_length",
    "greater_than_equal": "ge",
    "less_than_equal": "le",
}


def faults_of(error: ValidationError) -> Iterator[Fault]:
    """Yield every fault once, at its place in the submission."""
    told = set()
    for problem in error.errors(include_url=False, include_input=False):
        kind, context = problem["type"], problem.get("ctx", {})
        # A union names its member behind the field, which is no place in the JSON.
        path = [part for part in problem["loc"] if part in _NAMES or kind == "extra_forbidden"]
        if pointer(path) in told:
            continue
        told.add(pointer(path))
        if kind == "fault":
            yield Fault(context["code"], pointer(path), context[FACTS])
        elif kind in _RULES:
            yield Fault(_CODES[kind], pointer(path), {"rule": f"{_RULES[kind]} {context[_RULES[kind]]}"})
        elif kind == "literal_error":
            allowed = str(context["expected"]).replace("'", "").replace(" or ", " | ").replace(", ", " | ")
            yield Fault("E8512", pointer(path), {"allowed": allowed})
        elif kind == "string_unicode":
            yield Fault("E8513", pointer(path), {"rule": "no broken characters"})
        else:
            expected = kind.removesuffix("_type").removesuffix("_parsing")
            yield Fault(_CODES.get(kind, "E8511"), pointer(path), {"expected": expected})


_NAMES = {name for model in (Submission, Card, Finger) for name in model.model_fields}
