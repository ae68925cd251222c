"""What an answer means. Pure: an exchange in, an outcome out; never an exception.

In the document's order (2.1.1): first the protocol - HTTP, JSON, signature, our request id - where
anything wrong means *unknown*, because the platform may have the record; then the business result.
Whose fault a refusal is, one answer cannot tell: the uploader looks at who else is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from agent.config.schema import Conventions
from agent.hmpt import cipher
from agent.hmpt.signing import Authenticity, Identity, check_answer
from agent.records import Delivered, Outcome, PlatformDown, Receipt, Refused, Unknown

ALL_WELL = frozenset({"00000", "", None})
ALREADY_REGISTERED = "B2301"
MAX_MESSAGE = 200
#: Retry-After is believed between these: below, the platform would be hammered; above, forgotten.
RETRY_AFTER_S = (1.0, 86400.0)

_OVERLOADED = frozenset({408, 425, 429, 503})
#: HTTP statuses that are no record's fault: the ticket, the address, the media type.
_DESTINATION = {
    **dict.fromkeys((401, 403, 407), "E4303"),
    **dict.fromkeys((404, 405, 410, *range(300, 400)), "E4302"),
    415: "E4304",
}
_DIGITS = re.compile(r"\d{6,}[0-9Xx]*")


@dataclass(frozen=True)
class Exchange:
    """One answer as it came. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Sent:
    """What of the request is needed to judge its answer."""

    request_id: str
    time: str


@dataclass(frozen=True)
class Terms:
    """What both sides agreed on; `cipher_key` is None where requests go plain."""

    conventions: Conventions
    identity: Identity
    cipher_key: bytes | None = field(repr=False)


def judge(exchange: Exchange, sent: Sent, terms: Terms, now: datetime) -> Outcome:
    """Return what the answer means for the record that was sent."""
    answer = _platform_json(exchange, terms)
    if answer is None:
        return _without_json(exchange, now)
    doubt = _doubt(exchange, answer, sent, terms)
    if doubt is not None:
        return doubt
    return _business(exchange, answer, sent, terms)


# --- protocol ---------------------------------------------------------------------------------------


def _platform_json(exchange: Exchange, terms: Terms) -> dict[str, Any] | None:
    """Return the platform's own JSON object, decrypted if need be; None when the body is not one."""
    answer = _object(exchange.body)
    if answer is None or "code" in answer:
        return answer
    text = answer.get("data")
    if not isinstance(text, str) or terms.cipher_key is None or terms.conventions.decrypt_answer == "off":
        return None
    try:
        inner = _object(cipher.decrypted(text, terms.cipher_key))
    except ValueError:
        return None
    return inner if inner is not None and "code" in inner else None


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body.removeprefix(b"\xef\xbb\xbf").decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are not JSON


def _without_json(exchange: Exchange, now: datetime) -> Outcome:
    status = exchange.status
    detail = f"HTTP {status}"
    if status in _OVERLOADED:
        return PlatformDown("E4201", detail, retry_after_s(exchange, now))
    if status in _DESTINATION:
        return PlatformDown(_DESTINATION[status], detail)
    if 400 <= status < 500:
        return Refused("E5104" if status == 413 else "E5103", detail, None, "")
    if status == 200 and exchange.body.lstrip()[:1] == b"<":
        return PlatformDown("E4302", "HTML")
    # 5xx, or a 2xx that cannot be read: the record may have been taken.
    return Unknown("E5001" if status >= 500 else "E5002", detail)


def _doubt(exchange: Exchange, answer: Mapping[str, Any], sent: Sent, terms: Terms) -> Unknown | None:
    """Return why this answer cannot be believed, None when it can."""
    if terms.conventions.verify_answer != "off":
        signature = check_answer(
            terms.conventions, terms.identity, exchange.headers, sent.time, answer.get("returnTime")
        )
        if signature is Authenticity.WRONG:
            return Unknown("E5003", "signature")
        if signature is Authenticity.ABSENT and terms.conventions.verify_answer == "required":
            return Unknown("E5004", "no signature")
    if _canonical(answer.get("requestId")) != _canonical(sent.request_id):
        return Unknown("E5005", "requestId")
    return None


def _canonical(request_id: object) -> str:
    return str(request_id).replace("-", "").strip().lower()


# --- business ---------------------------------------------------------------------------------------


def _business(exchange: Exchange, answer: Mapping[str, Any], sent: Sent, terms: Terms) -> Outcome:
    code, exception = answer["code"], answer.get("exceptionCode")
    exception = None if exception is None else safe(str(exception))[:16]
    message = safe(str(answer.get("msg") or ""))
    if not _is_success(code):
        if exception is not None and exception[:1] in {"B", "C"} and exception != ALREADY_REGISTERED:
            return Unknown("E5006", f"{safe(str(code))[:16]} {exception} {message}")
        return Refused("E5103", safe(str(code))[:16], exception, message)
    if exchange.status >= 400 or exception not in ALL_WELL:
        return Unknown("E5007", f"HTTP {exchange.status} code 200 {exception or ''} {message}")
    signed = (
        check_answer(terms.conventions, terms.identity, exchange.headers, sent.time, answer.get("returnTime"))
        is Authenticity.RIGHT
    )
    return Delivered(
        Receipt(sent.request_id, _millis(answer.get("returnTime")), 200, exception, message, signed)
    )


def _is_success(code: object) -> bool:
    # P21: 200 and "200" and nothing else; bool is an int to Python, 200.0 equals 200.
    return (type(code) is int and code == 200) or code == "200"


def _millis(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    return value if type(value) is int and 0 <= value < 2**53 else None


def registered(outcome: Outcome) -> Outcome:
    """Return the outcome of a registration: "already added" is as good as added."""
    if isinstance(outcome, Refused) and outcome.exception_code == ALREADY_REGISTERED:
        return Delivered(Receipt("", None, 200, ALREADY_REGISTERED, outcome.message, signed=False))
    return outcome


# --- around it --------------------------------------------------------------------------------------


def safe(text: str) -> str:
    """Return the platform's text as it may be shown: printable, short, without long runs of digits."""
    printable = "".join(
        character if character.isprintable() else " " for character in text[: 4 * MAX_MESSAGE]
    )
    return _DIGITS.sub("#", printable)[:MAX_MESSAGE].strip()


def without(personal: Sequence[str], outcome: Outcome) -> Outcome:
    """Return the outcome with whatever the platform echoed of the person taken out of its text."""

    def cleaned(text: str) -> str:
        for word in personal:
            text = text.replace(word, "#")
        return text

    match outcome:
        case Delivered(receipt):
            return Delivered(replace(receipt, message=cleaned(receipt.message)))
        case Refused():
            return replace(outcome, message=cleaned(outcome.message))
        case Unknown() | PlatformDown():
            return replace(outcome, detail=cleaned(outcome.detail))


def retry_after_s(exchange: Exchange, now: datetime) -> float | None:
    """Return Retry-After in seconds, bounded; a date is measured against the answer's own Date."""
    text = exchange.headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        until = _http_date(text)
        if until is None:
            return None
        seconds = (until - (_http_date(exchange.headers.get("date", "")) or now)).total_seconds()
    return min(max(seconds, RETRY_AFTER_S[0]), RETRY_AFTER_S[1])


def skew_s(exchange: Exchange, now: datetime) -> float | None:
    """Return by how many seconds the platform's clock is ahead of ours, by the answer's Date."""
    date = _http_date(exchange.headers.get("date", ""))
    return None if date is None else (date - now).total_seconds()


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)
