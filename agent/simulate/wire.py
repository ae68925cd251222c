"""The platform's half of 2.2: keys from the secret, HMAC-SM3, SM4-ECB and their text forms, times.

Written with `cryptography` alone, straight from the document and the standards it names; no line is shared
with the client.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.padding import PKCS7

from agent.simulate.dialect import Dialect

BEIJING = timezone(timedelta(hours=8))
BLOCK = 16
_CALENDAR = {"yyyyMMddHHmmss": "%Y%m%d%H%M%S", "yyyy-MM-dd HH:mm:ss": "%Y-%m-%d %H:%M:%S"}
_DIGITS = {"millis": 13, "seconds": 10}


def sm3_hex(data: bytes) -> str:
    """Return SM3 in hex."""
    return _sm3(data).hex()


def _sm3(data: bytes) -> bytes:
    running = hashes.Hash(hashes.SM3())
    running.update(data)
    return running.finalize()


# --- signature ----------------------------------------------------------------------------------------


def sign(dialect: Dialect, secret: bytes, app_id: str, time: str) -> str:
    """Return HMAC_SM3(orgAppId + time, secret) as this platform writes it; `any` writes lower-case hex."""
    mac = _mac(dialect, secret, app_id, time)
    if dialect.sign_encoding == "base64":
        return base64.b64encode(mac).decode()
    return mac.hex().upper() if dialect.sign_encoding == "HEX" else mac.hex()


def sign_accepted(dialect: Dialect, secret: bytes, app_id: str, time: str, found: str) -> bool:
    """Return whether a request's signature is taken."""
    if dialect.sign_encoding != "any":
        return found == sign(dialect, secret, app_id, time)
    mac = _mac(dialect, secret, app_id, time)
    return found.lower() == mac.hex() or found == base64.b64encode(mac).decode()


def _mac(dialect: Dialect, secret: bytes, app_id: str, time: str) -> bytes:
    running = HMAC(_sign_key(dialect, secret), hashes.SM3())
    running.update(dialect.sign_template.replace("{id}", app_id).replace("{time}", time).encode())
    return running.finalize()


def _sign_key(dialect: Dialect, secret: bytes) -> bytes:
    if dialect.sign_key == "hex":
        return bytes.fromhex(secret.decode())
    return base64.b64decode(secret, validate=True) if dialect.sign_key == "base64" else secret


def check(dialect: Dialect, secret: bytes) -> None:
    """Raise ValueError when the secret gives no key by this dialect."""
    needed = {"sign_key": _sign_key}
    if dialect.encryption != "off" or dialect.answer_cipher != "off":
        needed["sm4_key"] = cipher_key
    for knob, derive in needed.items():
        try:
            derive(dialect, secret)
        except ValueError as error:
            # Without the cause's text: it may quote the secret.
            raise ValueError(f"{knob}={getattr(dialect, knob)}: the secret gives no such key") from error


# --- cipher -------------------------------------------------------------------------------------------


def cipher_key(dialect: Dialect, secret: bytes) -> bytes:
    """Return the SM4 key. ValueError when the secret gives none of 16 bytes by this dialect."""
    rule = dialect.sm4_key
    if rule == "auto":
        is_hex = re.fullmatch(rb"[0-9a-fA-F]{32}", secret) is not None
        rule = "utf8" if len(secret) == BLOCK else "hex" if is_hex else "first16"
    key = _KEYS[rule](secret)
    if len(key) != BLOCK:
        raise ValueError(f"{len(key)} bytes, not {BLOCK}")
    return key


def _md5(secret: bytes) -> bytes:
    return hashlib.md5(secret, usedforsecurity=False).digest()


_KEYS: dict[str, Callable[[bytes], bytes]] = {
    "utf8": lambda secret: secret,
    "hex": lambda secret: bytes.fromhex(secret.decode()),
    "first16": lambda secret: secret[:BLOCK],
    "md5": _md5,
    "md5hex16": lambda secret: _md5(secret).hex()[8:24].encode(),
    "sm3": lambda secret: _sm3(secret)[:BLOCK],
}


def decrypted(dialect: Dialect, secret: bytes, text: str) -> bytes:
    """Return a request's plaintext. ValueError for a text form, key or padding that is not this dialect's."""
    running = Cipher(SM4(cipher_key(dialect, secret)), modes.ECB()).decryptor()  # noqa: S305 -- the document's mode
    plain = running.update(_from_text(dialect.cipher_encoding, text)) + running.finalize()
    if dialect.padding == "zero":
        return plain.rstrip(b"\0")
    unpadder = PKCS7(8 * BLOCK).unpadder()
    return unpadder.update(plain) + unpadder.finalize()


def _from_text(encoding: str, text: str) -> bytes:
    forms = {"hex": r"[0-9a-f]+", "HEX": r"[0-9A-F]+", "any": r"[0-9a-fA-F]+"}
    # `any` decides as the widespread Java library does: hex when it looks like hex, else base64.
    if encoding != "base64" and re.fullmatch(forms[encoding], text):
        return bytes.fromhex(text)
    if encoding in {"hex", "HEX"}:
        raise ValueError("not hex")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def encrypted(dialect: Dialect, secret: bytes, plain: bytes) -> str:
    """Return the ciphertext of an answer in this platform's text form."""
    running = Cipher(SM4(cipher_key(dialect, secret)), modes.ECB()).encryptor()  # noqa: S305 -- the document's mode
    if dialect.padding == "zero":
        padded = plain + b"\0" * (-len(plain) % BLOCK)
    else:
        padder = PKCS7(8 * BLOCK).padder()
        padded = padder.update(plain) + padder.finalize()
    raw = running.update(padded) + running.finalize()
    return _TEXTS[dialect.answer_encoding](raw)


_TEXTS: dict[str, Callable[[bytes], str]] = {
    "hex": lambda raw: raw.hex(),
    "HEX": lambda raw: raw.hex().upper(),
    "base64": lambda raw: base64.b64encode(raw).decode(),
    "base64-lines": lambda raw: base64.encodebytes(raw).decode(),
    "base64url": lambda raw: base64.urlsafe_b64encode(raw).decode(),
}


# --- times --------------------------------------------------------------------------------------------


def time_text(dialect: Dialect, now: float) -> str:
    """Return the platform's own time as it writes it; `any` writes milliseconds."""
    if dialect.time_format in _CALENDAR:
        return datetime.fromtimestamp(now, BEIJING).strftime(_CALENDAR[dialect.time_format])
    return str(int(now)) if dialect.time_format == "seconds" else str(int(now * 1000))


def sent_at(dialect: Dialect, text: str) -> float | None:
    """Return the time a request claims, in seconds; None for a form that is not this dialect's."""
    names = [*_DIGITS, *_CALENDAR] if dialect.time_format == "any" else [dialect.time_format]
    found = (_read(name, text) for name in names)
    return next((moment for moment in found if moment is not None), None)


def _read(form: str, text: str) -> float | None:
    if form in _DIGITS:
        if not re.fullmatch(rf"[0-9]{{{_DIGITS[form]}}}", text):
            return None
        return int(text) / (1000 if form == "millis" else 1)
    try:
        moment = datetime.strptime(text, _CALENDAR[form]).replace(tzinfo=BEIJING)
    except ValueError:
        return None
    return moment.timestamp() if moment.strftime(_CALENDAR[form]) == text else None
