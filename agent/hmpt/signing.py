"""The five headers of a request (2.1.2), its signature (2.2.1), and the signature of an answer."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from agent import sm
from agent.config.schema import Conventions
from agent.hmpt.conventions import signing_key

SIGN, TIME = "hmpt-portal-sign", "hmpt-portal-time"
REQUEST_ID, APP_ID = "hmpt-portal-request-id", "hmpt-portal-org-app-id"


@dataclass(frozen=True)
class Identity:
    """Who we are to the platform."""

    app_id: str
    secret: bytes = field(repr=False)
    authorization: str = field(repr=False)


def canonical(conventions: Conventions, who: Identity, time: str) -> str:
    """Return the text that is signed (P3)."""
    return conventions.sign_template.replace("{id}", who.app_id).replace("{time}", time)


def sign(conventions: Conventions, who: Identity, time: str) -> str:
    """Return the signature over id and time (P1, P2, P3)."""
    message = canonical(conventions, who, time)
    mac = sm.hmac_sm3(signing_key(conventions, who.secret), message.encode())
    if conventions.sign_encoding == "base64":
        return base64.b64encode(mac).decode()
    return mac.hex().upper() if conventions.sign_encoding == "HEX" else mac.hex()


def headers(conventions: Conventions, who: Identity, request_id: str, time: str) -> dict[str, str]:
    """Return the headers of one attempt; Authorization goes verbatim (P8)."""
    return {
        SIGN: sign(conventions, who, time),
        TIME: time,
        REQUEST_ID: request_id,
        APP_ID: who.app_id,
        "Authorization": who.authorization,
        "Content-Type": conventions.content_type,
    }


class Authenticity(Enum):
    """What an answer's signature says."""

    RIGHT = auto()
    WRONG = auto()
    ABSENT = auto()


def check_answer(
    conventions: Conventions,
    who: Identity,
    answer_headers: Mapping[str, str],
    sent_time: str,
    return_time: object,
) -> Authenticity:
    """Return whether an answer is signed, and rightly (P18, P19). Header names are lower-case."""
    found = answer_headers.get(SIGN)
    if not found:
        return Authenticity.ABSENT
    own = answer_headers.get(TIME)
    returned = None if return_time is None else str(return_time)
    times: dict[str, list[str | None]] = {
        "own": [own],
        "request": [sent_time],
        "return_time": [returned],
        # Its own time, where it has one, is what it signed; the others are for answers without one.
        "auto": [own] if own else [sent_time, returned],
    }
    for time in times[conventions.answer_time]:
        if time is not None and _equal(sign(conventions, who, time), found):
            return Authenticity.RIGHT
    return Authenticity.WRONG


def _equal(expected: str, found: str) -> bool:
    # Platforms compare hex without regard to case, and so send either.
    left, right = expected, found.strip()
    if len(right) == 64:
        left, right = left.lower(), right.lower()
    return hmac.compare_digest(left.encode(), right.encode("utf-8", "replace"))
