"""The platform's answer on the wire: its fields, signature, cipher and temper, and what may go wrong."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from agent.simulate import wire
from agent.simulate.dialect import Dialect
from agent.simulate.faults import Faults
from agent.simulate.judgement import Party, Refusal

JSON = {"Content-Type": "application/json;charset=UTF-8"}
HTML = {"Content-Type": "text/html;charset=UTF-8"}
PAGE = "<!DOCTYPE html><html><title>登录</title><form action=/login></form></html>".encode()
HUGE = 4 * 2**20
DAY_S = 86400

#: Refusals that say "your request is not understood", not "your data is wrong".
_PROTOCOL = frozenset(
    {"ticket", "org", "media", "time", "signature", "id", "lock", "cipher", "plain", "json"}
)


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. `manner` is how it leaves: whole, cut or dripping; `none` leaves nothing."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    manner: str = "whole"  # whole | truncated | slow | close | reset | hang


def before(names: frozenset[str], faults: Faults, now: float, dialect: Dialect) -> Answer | None:
    """Return what answers in the platform's place, None when the request reaches it."""
    busy = 503 if faults.down or "unavailable" in names else 429 if "limited" in names else None
    if busy is not None:
        error = _error(busy, dialect) if dialect.errors == "json" else Answer(busy, {}, b"")
        return replace(error, headers={**error.headers, **_retry_after(faults, now)})
    statuses = {"unauthorized": 401, "forbidden": 403, "missing": 404, "too_large": 413, "error": 500}
    for name, status in statuses.items():
        if name in names:
            return _error(status, dialect)
    if "redirect" in names:
        return Answer(302, {"Location": "/login"}, b"")
    return Answer(200, HTML, PAGE) if "html" in names else None


def _error(status: int, dialect: Dialect) -> Answer:
    """Return an error of a bus or gateway: a page, or JSON of its own that knows no requestId."""
    if dialect.errors == "page":
        return Answer(status, HTML, b"<html>error</html>")
    said = {"code": status, "message": HTTPStatus(status).phrase, "data": None}
    return Answer(status, JSON, json.dumps(said).encode())


def _retry_after(faults: Faults, now: float) -> dict[str, str]:
    if faults.retry_after_date:
        return {"Retry-After": formatdate(now + faults.retry_after, usegmt=True)}
    return {"Retry-After": str(int(faults.retry_after))}


def ordered_refusal(names: frozenset[str]) -> Refusal | None:
    """Return the refusal that was ordered, if any."""
    if "refuse" in names:
        return Refusal("parameter", "参数错误")
    if "system" in names:
        return Refusal("system", "系统异常", exception="B0001")
    return Refusal("repeat", "重复请求") if "duplicate" in names else None


def refused(refusal: Refusal, dialect: Dialect) -> tuple[int, dict[str, Any] | None]:
    """Return HTTP status and fields of a refusal as this platform words it; no fields: a bare error page."""
    if refusal.kind == "ticket" and dialect.ticket_refusal == "http":
        return 401, None
    fields = {"code": refusal.code, "msg": refusal.message, "exceptionCode": refusal.exception}
    if refusal.kind == "known" or dialect.refusals == "named":
        return 200, fields
    protocol = refusal.kind in _PROTOCOL
    if dialect.refusals == "alike" or not protocol:
        return 200, fields if not protocol else {"code": 500, "msg": "参数错误", "exceptionCode": "A2301"}
    if dialect.refusals == "http":
        return refusal.code, fields
    if dialect.refusals in {"http401", "http500"}:
        return int(dialect.refusals[4:]), None
    return 200, {"code": 500, "msg": "系统异常", "exceptionCode": None}


def bare(status: int, dialect: Dialect, *, from_bus: bool) -> Answer:
    """Return a refusal without the platform's JSON; a bus says what it wants instead."""
    realm = {"WWW-Authenticate": "Bearer"} if from_bus else {}
    error = _error(status, dialect)
    return replace(error, headers={**error.headers, **realm})


class Composer:
    """Puts an answer's fields on the wire for one organisation."""

    def __init__(self, party: Party) -> None:
        self._party = party

    def answer(
        self,
        status: int,
        content: Mapping[str, Any],
        request_id: str,
        sent_time: str,
        now: float,
        dialect: Dialect,
        names: frozenset[str],
    ) -> Answer:
        """Return the answer, signed and encrypted by the dialect, spoilt by what is due."""
        returned = int(now * 1000)
        code = str(content["code"]) if dialect.answer_code == "text" else content["code"]
        fields: dict[str, Any] = {**content, "code": code, "data": None, "returnTime": returned}
        if fields["exceptionCode"] == "00000" and dialect.answer_exception != "00000":
            fields["exceptionCode"] = None
            if dialect.answer_exception == "absent":
                del fields["exceptionCode"]
        identity = _request_id(request_id, dialect, names)
        if identity is not None:
            fields["requestId"] = identity
        if "contradict" in names:
            fields["exceptionCode"] = "A2301"
        body = self._body(fields, dialect)
        headers = {**JSON, **self._signature(sent_time, returned, now, dialect, names)}
        return _spoilt(Answer(status, headers, body), names)

    def _body(self, fields: dict[str, Any], dialect: Dialect) -> bytes:
        secret = self._party.secret
        if dialect.answer_cipher == "data":
            fields["data"] = wire.encrypted(dialect, secret, b"{}")
        text = json.dumps(fields, ensure_ascii=False).encode()
        if dialect.answer_cipher == "whole":
            return json.dumps({"data": wire.encrypted(dialect, secret, text)}).encode()
        return text

    def _signature(
        self, sent_time: str, returned: int, now: float, dialect: Dialect, names: frozenset[str]
    ) -> dict[str, str]:
        if dialect.answer_time == "unsigned" or "unsigned" in names:
            return {}
        own = wire.time_text(dialect, now - DAY_S if "stale" in names else now)
        over = {"own": own, "request": sent_time, "return_time": str(returned)}[dialect.answer_time]
        sign = wire.sign(dialect, self._party.secret, self._party.app_id, over)
        headers = {"hmpt-portal-sign": sign[::-1] if "forge" in names else sign}
        return headers | ({"hmpt-portal-time": own} if dialect.answer_time == "own" else {})


def _request_id(request_id: str, dialect: Dialect, names: frozenset[str]) -> str | None:
    if dialect.answer_id == "absent" or "no_id" in names:
        return None
    if dialect.answer_id == "own" or "wrong_id" in names:
        return uuid.uuid4().hex
    return request_id.replace("-", "") if dialect.answer_id == "bare" else request_id


def _spoilt(answer: Answer, names: frozenset[str]) -> Answer:
    body = answer.body
    spoilt = {
        "garbage": b"{broken",
        "empty": b"",
        "huge": b" " * HUGE + body,
        "charset": body.decode().encode("gb18030"),
        "bom": b"\xef\xbb\xbf" + body,
        "undecipherable": b'{"data":"' + b"00" * 32 + b'"}',
    }
    for name, changed in spoilt.items():
        if name in names:
            return Answer(answer.status, answer.headers, changed)
    if "html_after" in names:
        return Answer(200, HTML, PAGE)
    if "gateway" in names:
        return Answer(502, HTML, b"<html>bad gateway</html>")
    manners = {
        "lost_answer": "close",
        "reset": "reset",
        "hang": "hang",
        "truncated": "truncated",
        "slow": "slow",
    }
    manner = next((manner for name, manner in manners.items() if name in names), "whole")
    return Answer(answer.status, answer.headers, body, manner)
