"""Answers spoilt in every way: never an exception, never a wrong "delivered". A judge of its own holds the two apart."""

from __future__ import annotations

import base64
import hmac as stdlib_hmac
import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hmpt_support import APP_ID, SECRET

from agent.config.schema import Conventions
from agent.hmpt import answers, cipher, signing
from agent.hmpt.answers import Exchange, Sent, Terms
from agent.hmpt.body import of_pieces
from agent.records import Delivered, PlatformDown, Refused, Unknown

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=timezone.utc)
SENT = Sent("a" * 32, str(int(NOW.timestamp() * 1000)))
TERMS = Terms(Conventions(), signing.Identity(APP_ID, SECRET.encode(), "t"), SECRET.encode())
GOOD = {
    "code": 200,
    "msg": "人脸核验完成，核验通过",
    "exceptionCode": "00000",
    "requestId": SENT.request_id,
    "returnTime": int(NOW.timestamp() * 1000),
    "data": None,
}
VALUES: list[Any] = [
    *(None, True, False, 0, 1, 200, 200.0, 2e2, -200, "200", " 200", "２００", 500, "", "00000", "A2301"),
    *("B0001", [], {}, [200], {"code": 200}, "a" * 32, "A" * 32, "b" * 32, "a" * 31, 1e308, "\ud800", "\x00"),
]


def signed(time: str) -> dict[str, str]:
    mac = stdlib_hmac.new(SECRET.encode(), (APP_ID + time).encode(), "sm3").hexdigest()
    return {"hmpt-portal-sign": mac, "hmpt-portal-time": time}


def spoilt(rng: random.Random) -> Exchange:
    """Return an answer to our request with some things about it changed."""
    content: dict[str, Any] = dict(GOOD)
    headers = signed(str(GOOD["returnTime"])) if rng.random() < 0.5 else {}
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        name = rng.choice([*content, "surplus"]) if content else "surplus"
        if rng.random() < 0.3:
            content.pop(name, None)
        else:
            content[name] = rng.choice(VALUES)
    body = json.dumps(content, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    if rng.random() < 0.2:
        sealed = cipher.encrypted(of_pieces([body]), SECRET.encode(), Conventions(cipher_encoding="hex"))
        body = b"".join(sealed.chunks())
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        body = rng.choice(BYTES)(body, rng)
    if headers and rng.random() < 0.4:
        headers = rng.choice(HEADERS)(headers, rng)
    return Exchange(
        rng.choice((200, 200, 200, 200, 201, 204, 302, 400, 401, 413, 429, 500, 502, 503)), headers, body
    )


def _flip(body: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(body) + 1)
    return body[:at] + bytes((rng.randrange(256),)) + body[at + 1 :]


def _cut(body: bytes, rng: random.Random) -> bytes:
    return body[: rng.randrange(len(body) + 1)]


def _double(body: bytes, rng: random.Random) -> bytes:
    start, end = sorted((rng.randrange(len(body) + 1), rng.randrange(len(body) + 1)))
    return body[:end] + body[start:end] + body[end:]


def _gbk(body: bytes, _rng: random.Random) -> bytes:
    return body.decode("utf-8", "replace").encode("gb18030", "replace")


BYTES: list[Callable[[bytes, random.Random], bytes]] = [
    _flip,
    _cut,
    _double,
    _gbk,
    lambda body, _: b"\xef\xbb\xbf" + body,
    lambda body, _: body + b"\r\n",
    lambda body, _: body + body,
    lambda body, _: b"<html>" + body,
    lambda body, _: base64.b64encode(body),
]
HEADERS: list[Callable[[dict[str, str], random.Random], dict[str, str]]] = [
    lambda headers, rng: headers | {"hmpt-portal-sign": headers["hmpt-portal-sign"][: rng.randrange(64)]},
    lambda headers, _: headers | {"hmpt-portal-sign": "0" * 64},
    lambda headers, _: headers | {"hmpt-portal-sign": headers["hmpt-portal-sign"].upper()},
    lambda headers, _: headers | {"hmpt-portal-time": str(int(headers["hmpt-portal-time"]) + 1)},
    lambda headers, _: signed(str(int((NOW - timedelta(days=3)).timestamp() * 1000))),
    lambda headers, _: {"hmpt-portal-sign": headers["hmpt-portal-sign"]},
    lambda headers, _: {"hmpt-portal-time": headers["hmpt-portal-time"]},
    lambda headers, _: headers | {"hmpt-portal-sign": "签名"},
]


def may_be_delivered(exchange: Exchange, terms: Terms) -> bool:
    """Return whether an answer says, beyond doubt, that our record was taken: by rules written down anew."""
    text = exchange.body.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        content = json.loads(text)
        if isinstance(content, dict) and "code" not in content and isinstance(content.get("data"), str):
            content = json.loads(cipher.decrypted(content["data"], SECRET.encode()))
    except (ValueError, RecursionError):
        return False
    if not isinstance(content, dict) or exchange.status != 200:
        return False
    right_code = repr(content.get("code")) in {"200", "'200'"}
    right_id = str(content.get("requestId")).replace("-", "").strip().lower() == SENT.request_id
    well = repr(content.get("exceptionCode")) in {"None", "''", "'00000'"}
    sign, time = (exchange.headers.get(f"hmpt-portal-{name}") for name in ("sign", "time"))
    if not sign:
        genuine = not terms.signed_before
    else:
        times = [time] if time else [SENT.time, str(content.get("returnTime"))]
        genuine = any(signed(str(one))["hmpt-portal-sign"] == sign.strip().lower() for one in times)
        genuine = genuine and (not time or abs(int(time) / 1000 - NOW.timestamp()) <= 86400)
    return right_code and right_id and well and genuine


def fuzz(count: int, seed: int) -> tuple[int, int]:
    """Judge so many spoilt answers. Return how many were receipts, and how many were not."""
    rng, receipts = random.Random(seed), 0
    for number in range(count):
        terms = replace(TERMS, signed_before=number % 2 == 0)
        exchange = spoilt(rng)
        outcome = answers.judge(exchange, SENT, terms, NOW)
        assert isinstance(outcome, Delivered | Refused | Unknown | PlatformDown)
        answers.skew_s(exchange, terms, NOW)
        answers.authenticity(exchange, SENT, terms)
        if isinstance(outcome, Delivered):
            receipts += 1
            assert may_be_delivered(exchange, terms), exchange
            assert outcome.receipt.request_id == SENT.request_id
    return receipts, count - receipts


def test_a_few_thousand_spoilt_answers_are_judged_and_none_wrongly_taken() -> None:
    receipts, others = fuzz(6000, 1)
    # Enough of both, or it proves nothing.
    assert receipts > 300
    assert others > 3000


@pytest.mark.soak
def test_a_hundred_thousand_spoilt_answers() -> None:
    receipts, others = fuzz(100_000, 2)
    assert receipts > 5000
    assert others > 50_000
