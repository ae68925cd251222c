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
from agent.hmpt import cipher, refusals
from agent.hmpt.conventions import written_time
from agent.hmpt.refusals import ALREADY_REGISTERED
from agent.hmpt.signing import TIME, Authenticity, Identity, check_answer
from agent.records import About, Delivered, Outcome, PlatformDown, Receipt, Refused, Unknown

ALL_WELL = frozenset({"00000", ""})
MAX_MESSAGE = 200
#: Retry-After is believed between these: below, the platform would be hammered; above, forgotten.
RETRY_AFTER_S = (1.0, 86400.0)

#: A returnTime before 2024 is no clock's.
EARLIEST_MS = 1_704_067_200_000

#: An answer's own time may be this far from our clock; a platform that checks our time is far stricter.
OLDEST_S = 86400.0

_GATEWAY = frozenset({502, 504})
_OVERLOADED = frozenset({408, 425, 429, 503})
#: What the platform's own JSON says of every request, by its code or by the HTTP status it came under.
_LANE_CODES = {"429": "E4201", "503": "E4201", "415": "E4304"}
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
    registers: bool = False  # "already added" is then as good as added


@dataclass(frozen=True)
class Terms:
    """What both sides agreed on; `cipher_key` is None where the secret gives none.

    `signed_before`: this platform has signed an answer rightly, and so signs them all (P18).
    """

    conventions: Conventions
    identity: Identity
    cipher_key: bytes | None = field(repr=False)
    signed_before: bool = False


def judge(exchange: Exchange, sent: Sent, terms: Terms, now: datetime) -> Outcome:
    """Return what the answer means for the record that was sent."""
    answer = _platform_json(exchange, terms)
    if answer is None or somebody_elses(exchange, answer):
        return _without_json(exchange, now)
    doubt = _doubt(exchange, answer, sent, terms) or _stale(exchange, answer, sent, terms, now)
    if doubt is not None:
        return doubt
    return _business(exchange, answer, sent, terms, now)


# --- protocol ---------------------------------------------------------------------------------------


def _platform_json(exchange: Exchange, terms: Terms) -> dict[str, Any] | None:
    """Return the platform's own JSON object, decrypted if need be; None when the body is not one."""
    answer = json_object(exchange.body)
    if answer is None or "code" in answer:
        return answer
    text = answer.get("data")
    if not isinstance(text, str) or terms.cipher_key is None or terms.conventions.decrypt_answer == "off":
        return None
    try:
        inner = json_object(cipher.decrypted(text, terms.cipher_key))
    except ValueError:
        return None
    return inner if inner is not None and "code" in inner else None


def somebody_elses(exchange: Exchange, answer: Mapping[str, Any]) -> bool:
    """Return whether JSON under an HTTP error says no more than the status: a bus's or a gateway's.

    The platform's own names a requestId. That somebody has too much to do is believed of anybody.
    """
    if exchange.status == 200 or is_success(answer.get("code")):
        return False
    return answer.get("requestId") is None or exchange.status in _OVERLOADED


def json_object(body: bytes) -> dict[str, Any] | None:
    """Return a body's JSON object, None where it is anything else or can be read in two ways."""
    try:
        value = json.loads(
            body.removeprefix(b"\xef\xbb\xbf").decode("utf-8"),
            parse_constant=_no_constant,
            object_pairs_hook=_unambiguous,
        )
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are not JSON


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice: one reader's code 200 is the next one's 500."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def in_the_way(exchange: Exchange, now: datetime) -> PlatformDown | Unknown | None:
    """Return who answered that the platform cannot be had; None: whatever it says, it is there."""
    if exchange.status in _OVERLOADED | _GATEWAY:
        outcome = _without_json(exchange, now)
        return outcome if isinstance(outcome, PlatformDown | Unknown) else None
    return None


def _without_json(exchange: Exchange, now: datetime) -> Outcome:
    status = exchange.status
    detail = f"HTTP {status}"
    if status in _OVERLOADED:
        return PlatformDown("E4201", detail, retry_after_s(exchange, now))
    if status in _DESTINATION:
        return PlatformDown(_DESTINATION[status], detail)
    if status == 413:
        return Refused("E5104", detail, None, "", About.SIZE)
    if 400 <= status < 500:
        return Refused("E5103", detail, None, "")
    if status == 200 and exchange.body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        return PlatformDown("E4302", "HTML")
    if status in _GATEWAY:
        return Unknown("E4108", detail)
    # 5xx, or a 2xx that cannot be read: the record may have been taken.
    return Unknown("E5001" if status >= 500 else "E5002", f"{detail}{_charset(exchange.body)}")


def _charset(body: bytes) -> str:
    """Return what a person should hear of an answer's character set: GBK is read for that alone."""
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        try:
            body.decode("gb18030")
        except UnicodeDecodeError:
            return ", no text"
        return ", GBK"
    return "" if body.strip() else ", empty"


def authenticity(exchange: Exchange, sent: Sent, terms: Terms) -> Authenticity:
    """Return what the answer's signature says; ABSENT for an answer that is not the platform's JSON."""
    answer = _platform_json(exchange, terms)
    if answer is None or somebody_elses(exchange, answer):
        return Authenticity.ABSENT
    return _signature(exchange, answer, sent, terms)


def _signature(exchange: Exchange, answer: Mapping[str, Any], sent: Sent, terms: Terms) -> Authenticity:
    return check_answer(
        terms.conventions, terms.identity, exchange.headers, sent.time, answer.get("returnTime")
    )


def _doubt(exchange: Exchange, answer: Mapping[str, Any], sent: Sent, terms: Terms) -> Unknown | None:
    """Return why this answer cannot be believed, None when it can."""
    rule = terms.conventions.verify_answer
    if rule != "off":
        signature = _signature(exchange, answer, sent, terms)
        if signature is Authenticity.WRONG:
            return Unknown("E5003", "signature")
        if signature is Authenticity.ABSENT and rule == "required":
            return Unknown("E5004", "no signature")
        if signature is Authenticity.ABSENT and terms.signed_before:
            return Unknown("E5009", "no signature")
    if canonical(answer.get("requestId")) != canonical(sent.request_id):
        return Unknown("E5005", "no requestId" if answer.get("requestId") is None else "requestId")
    return None


def _stale(
    exchange: Exchange, answer: Mapping[str, Any], sent: Sent, terms: Terms, now: datetime
) -> Unknown | None:
    """Return a doubt about an answer whose own time is days off: signed once, shown again."""
    if terms.conventions.verify_answer == "off":
        return None
    own = written_time(exchange.headers.get(TIME, ""))
    if own is None and _signs_return_time(exchange, answer, sent, terms):
        own = written_time(str(answer.get("returnTime")))
    off_s = 0.0 if own is None else abs((own[1] - now).total_seconds())
    return Unknown("E5010", f"{off_s / 3600:.0f} h") if off_s > OLDEST_S else None


def _signs_return_time(exchange: Exchange, answer: Mapping[str, Any], sent: Sent, terms: Terms) -> bool:
    """Return whether a right signature covers another time than ours, which alone cannot be replayed."""
    by_request = terms.conventions.model_copy(update={"answer_time": "request"})
    signature = _signature(exchange, answer, sent, replace(terms, conventions=by_request))
    return signature is Authenticity.WRONG


def canonical(request_id: object) -> str:
    return str(request_id).replace("-", "").strip().lower()


# --- business ---------------------------------------------------------------------------------------


def _business(
    exchange: Exchange, answer: Mapping[str, Any], sent: Sent, terms: Terms, now: datetime
) -> Outcome:
    code, raw = answer["code"], answer.get("exceptionCode")
    exception = None if raw is None else safe(str(raw))[:16]
    message = safe(str(answer.get("msg") or ""))
    if sent.registers and exception == ALREADY_REGISTERED:
        # B2301 says so under whatever code it comes.
        return _delivered(exchange, answer, sent, terms, exception, message)
    if not is_success(code):
        shown = safe(str(code))[:16]
        if down := _LANE_CODES.get(shown) or _LANE_CODES.get(str(exchange.status)):
            detail = f"{shown} {exception or '-'} {message}".strip()
            return PlatformDown(down, detail, retry_after_s(exchange, now))
        about = refusals.about(shown, exception, message)
        if about is About.RECORD and refusals.inside(shown, exception):
            return Unknown("E5006" if exception else "E5011", f"{shown} {exception or '-'} {message}")
        return Refused("E5103", shown, exception, message, about)
    # Whether all is well is read from what came, not from what of it may be shown.
    if exchange.status != 200 or not all_well(raw):
        return Unknown("E5007", f"HTTP {exchange.status} code 200 {exception or ''} {message}")
    return _delivered(exchange, answer, sent, terms, exception, message)


def _delivered(
    exchange: Exchange,
    answer: Mapping[str, Any],
    sent: Sent,
    terms: Terms,
    exception: str | None,
    message: str,
) -> Delivered:
    signed = _signature(exchange, answer, sent, terms) is Authenticity.RIGHT
    returned = return_time(answer.get("returnTime"))
    return Delivered(Receipt(sent.request_id, returned, 200, exception, message, signed))


def is_success(code: object) -> bool:
    # P21: 200 and "200" and nothing else; bool is an int to Python, 200.0 equals 200.
    return (type(code) is int and code == 200) or code == "200"


def all_well(exception: object) -> bool:
    """Return whether an exceptionCode leaves a success one: 00000, null, blank or absent (P24)."""
    return exception is None or (isinstance(exception, str) and exception in ALL_WELL)


def return_time(value: object) -> int | None:
    """Return returnTime in milliseconds, None for what is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    return value if type(value) is int and 0 <= value < 2**53 else None


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
        until = http_date(text)
        if until is None:
            return None
        seconds = (until - (http_date(exchange.headers.get("date", "")) or now)).total_seconds()
    return min(max(seconds, RETRY_AFTER_S[0]), RETRY_AFTER_S[1])


def skew_s(exchange: Exchange, terms: Terms, now: datetime) -> float | None:
    """Return by how many seconds the platform's clock is ahead of ours, None where the answer does not say.

    returnTime where the answer is the platform's own JSON (to the millisecond, and from the machine that
    checks our time); else Date, whole seconds, from whatever answered.
    """
    answer = _platform_json(exchange, terms)
    stamp = None if answer is None else return_time(answer.get("returnTime"))
    if stamp is not None and stamp >= EARLIEST_MS:
        return stamp / 1000 - now.timestamp()
    return date_skew_s(exchange, now)


def date_skew_s(exchange: Exchange, now: datetime) -> float | None:
    """Return the same by the Date header alone."""
    date = http_date(exchange.headers.get("date", ""))
    return None if date is None else (date - now).total_seconds()


def http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)
