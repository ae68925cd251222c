"""What one platform makes of everything its document leaves open: its dialect, knob by knob.

Names are those of the configuration where a client has the same knob, so that a rehearsal reads like the
site it rehearses. `any` takes every form. The defaults are the likeliest platform by the close reading of
the document, docs/platform.md; `strict` and `lenient` are the two ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any


def _one_of(*choices: str) -> Any:
    return field(default=choices[0], metadata={"choices": choices})


@dataclass(frozen=True)
class Dialect:
    """One platform's readings. The first choice of each is the default."""

    # --- signature and headers: 2.1.2, 2.2.1 -----------------------------------------------------------
    sign_encoding: str = _one_of("hex", "HEX", "base64", "any")
    sign_key: str = _one_of("utf8", "hex", "base64")
    sign_template: str = "{id}{time}"
    time_format: str = _one_of("millis", "seconds", "yyyyMMddHHmmss", "yyyy-MM-dd HH:mm:ss", "any")
    window_s: int = 300  # how old or early a time may be; 0: not checked
    request_id: str = _one_of("any", "hex32", "uuid36")
    repeats: str = _one_of("taken", "refused")  # a request id that was accepted before
    content_type: str = "any"  # or the one text that is taken, blanks and case aside
    prefix: str = ""  # path before /machine/info
    # --- body and cipher: 2.2.2 ------------------------------------------------------------------------
    encryption: str = _one_of("required", "off", "any")
    sm4_key: str = _one_of("auto", "utf8", "hex", "first16", "md5", "md5hex16", "sm3")
    padding: str = _one_of("pkcs7", "zero")
    cipher_encoding: str = _one_of("any", "base64", "hex", "HEX")
    body_shape: str = _one_of("bare", "data", "any")  # of plain bodies
    body_limit: int = 64 * 2**20
    # --- answers ---------------------------------------------------------------------------------------
    answer_time: str = _one_of("own", "request", "return_time", "unsigned")  # which time an answer signs
    answer_cipher: str = _one_of("off", "data", "whole")
    answer_encoding: str = _one_of("hex", "HEX", "base64", "base64-lines", "base64url")
    answer_id: str = _one_of("echo", "bare", "own", "absent")  # bare: without dashes
    answer_code: str = _one_of("number", "text")
    answer_exception: str = _one_of("00000", "null", "absent")  # of a success
    refusals: str = _one_of("named", "vague", "alike", "http", "http401", "http500")  # the last two bare
    errors: str = _one_of("page", "json")  # of whatever stands before the platform
    ticket_refusal: str = _one_of("json", "http")  # the bus may answer before the platform does
    unknown_device: str = _one_of("refused", "silent")  # silent: code 200, and the data not "valid"
    # --- fields: tables 4.1 and 4.2 --------------------------------------------------------------------
    registration: str = _one_of("once", "updates")  # updates: another status is a change, not B2301
    register_time: str = _one_of("any", "required", "refused")
    types: str = _one_of("table", "example", "any")
    sex_width: str = _one_of("1", "2", "any")
    nation_suffix: str = _one_of("yes", "no", "any")
    card_dates: str = _one_of("date", "datetime", "any")
    permanent_date: str = "-"
    score_decimals: int = 6  # at most
    cert_status: str = "any"  # or "0,1": valid, expired
    absent_finger: str = _one_of("any", "omit", "null")
    card_types: str = "0129"
    name_limit: int = 60
    length_unit: str = _one_of("chars", "utf8", "gbk")
    characters: str = _one_of("any", "bmp", "assigned")  # assigned: neither beyond the BMP nor private use
    picture_limit: int = 4 * 2**20  # base64 characters
    unknown_fields: str = _one_of("refused", "ignored")


LIKELY = Dialect()
#: Takes exactly one form of everything, and VARCHAR(10) at its word.
STRICT = Dialect(
    request_id="hex32",
    repeats="refused",
    content_type="application/json;charset=UTF-8",
    cipher_encoding="base64",
    register_time="refused",
    score_decimals=2,
    cert_status="0,1",
    absent_finger="omit",
    name_limit=10,
    characters="assigned",
    picture_limit=3_000_000,
)
#: Takes whatever a widespread Java stack would coerce.
LENIENT = Dialect(
    sign_encoding="any",
    time_format="any",
    window_s=0,
    encryption="any",
    body_shape="any",
    types="any",
    sex_width="any",
    nation_suffix="any",
    card_dates="any",
    unknown_fields="ignored",
)
MANNERS = {"likely": LIKELY, "strict": STRICT, "lenient": LENIENT}

_FIELDS: dict[str, Field[Any]] = {one.name: one for one in fields(Dialect)}


def parse_dialect(texts: Iterable[str], base: Dialect = LIKELY) -> Dialect:
    """Return `base` changed by NAME=VALUE texts. ValueError that lists what there is to choose from."""
    chosen: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        name = name.replace("-", "_")
        if name not in _FIELDS:
            raise ValueError(f"no knob {name!r}; there are {' | '.join(_FIELDS)}")
        chosen[name] = _value(_FIELDS[name], value)
    return replace(base, **chosen)


def _value(knob: Field[Any], text: str) -> str | int:
    choices = knob.metadata.get("choices")
    if choices is not None and text not in choices:
        raise ValueError(f"no value {text!r} of {knob.name}; there are {' | '.join(choices)}")
    if isinstance(knob.default, int):
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"value {text!r} of {knob.name} is no number")
        return int(text)
    return text
