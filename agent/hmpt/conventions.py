"""What each convention means: keys, times, ids. Pure functions of `config.schema.Conventions`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timezone

from agent import sm
from agent.catalogue import AgentError
from agent.clock import SHANGHAI
from agent.config.schema import Conventions

SM4_KEY_BYTES = 16
#: Beyond this our clock is not skewed but unset, and nothing may be signed with the platform's time (P5).
MAX_SKEW_S = 86400.0


def signing_key(conventions: Conventions, secret: bytes) -> bytes:
    """Return the HMAC key (P2). AgentError E7401 when the secret has not the form the convention names."""
    try:
        if conventions.sign_key == "hex":
            return bytes.fromhex(secret.decode("ascii"))
        if conventions.sign_key == "base64":
            return base64.b64decode(secret, validate=True)
    except (ValueError, UnicodeDecodeError, binascii.Error):
        raise AgentError("E7401", convention=f"sign_key={conventions.sign_key}") from None
    return secret


def sm4_key(conventions: Conventions, secret: bytes) -> bytes:
    """Return the 16-byte SM4 key (P14). AgentError E7401 when the secret does not give one."""
    derive = _SM4_KEYS[_sm4_rule(secret) if conventions.sm4_key == "auto" else conventions.sm4_key]
    try:
        key = derive(secret)
    except (ValueError, UnicodeDecodeError):
        key = b""
    if len(key) != SM4_KEY_BYTES:
        raise AgentError("E7401", convention=f"sm4_key={conventions.sm4_key}")
    return key


def _sm4_rule(secret: bytes) -> str:
    if len(secret) == SM4_KEY_BYTES:
        return "utf8"
    return "hex" if re.fullmatch(rb"[0-9A-Fa-f]{32}", secret) else "first16"


def _md5(secret: bytes) -> bytes:
    return hashlib.md5(secret, usedforsecurity=False).digest()


_SM4_KEYS: Mapping[str, Callable[[bytes], bytes]] = {
    "utf8": lambda secret: secret,
    "hex": lambda secret: bytes.fromhex(secret.decode("ascii")),
    "first16": lambda secret: secret[:SM4_KEY_BYTES],
    "md5": _md5,
    # hutool's md5Hex16: the middle sixteen of the 32 digits, as text.
    "md5hex16": lambda secret: _md5(secret).hex()[8:24].encode(),
    "sm3": lambda secret: sm.sm3(secret)[:SM4_KEY_BYTES],
}

_TIME_FORMS = {"yyyyMMddHHmmss": "%Y%m%d%H%M%S", "yyyy-MM-dd HH:mm:ss": "%Y-%m-%d %H:%M:%S"}


def time_text(conventions: Conventions, now: datetime) -> str:
    """Return the text of hmpt-portal-time (P4)."""
    if conventions.time_format == "millis":
        return str(int(now.timestamp() * 1000))
    if conventions.time_format == "seconds":
        return str(int(now.timestamp()))
    return now.astimezone(SHANGHAI).strftime(_TIME_FORMS[conventions.time_format])


def written_time(text: str) -> tuple[str, datetime] | None:
    """Return a time's form and the moment it names, None for anything else: the inverse of `time_text`."""
    try:
        if re.fullmatch(r"[0-9]{13}|[0-9]{10}", text):
            form, unit = ("millis", 1000) if len(text) == 13 else ("seconds", 1)
            return form, datetime.fromtimestamp(int(text) / unit, timezone.utc)
        for form, pattern in _TIME_FORMS.items():
            # Not what strptime would take: 2026-3-1 is nobody's.
            if re.sub(r"[0-9]", "0", text) == re.sub(r"[A-Za-z]", "0", form):
                return form, datetime.strptime(text, pattern).replace(tzinfo=SHANGHAI)
    except ValueError:
        pass
    return None


def request_id(conventions: Conventions, record: str) -> str:
    """Return the request id of a record's attempt (P6, P7)."""
    base = record if conventions.request_id_per == "record" else uuid.uuid4().hex
    return base if conventions.request_id == "hex32" else str(uuid.UUID(base))


def fingerprint(conventions: Conventions, *, encrypt: bool) -> str:
    """Return 12 hex digits that name a set of conventions: kept with every attempt."""
    text = conventions.model_dump_json() + str(encrypt)
    return sm.sm3(text.encode()).hex()[:12]
