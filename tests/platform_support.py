"""Requests to the platform made by hand, from its document, with libraries that neither side of ours uses there.

SM3 comes from hashlib, SM4 from gmssl; the simulated platform uses `cryptography`, the client OpenSSL or gmssl
through `agent.sm`, which is not touched here.
"""

from __future__ import annotations

import base64
import hmac
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

import requests
from gmssl.sm4 import SM4_DECRYPT, SM4_ENCRYPT, CryptSM4

from agent.simulate.dialect import Dialect
from agent.simulate.platform import SimulatedPlatform

SECRET, APP_ID, TICKET = "Kx7pQ2mZ9sR4tV1w", "ORG-TEST-0001", "ticket"
REQUEST_ID = "0123456789abcdef0123456789abcdef"
BEIJING = timezone(timedelta(hours=8))
JPEG = base64.b64encode(b"\xff\xd8\xffpicture\xff\xd9").decode()
PLAIN = Dialect(encryption="off")

# The document's own examples, with what its tables add or correct.
MACHINE: dict[str, Any] = {
    "deptId": "123456", "deptName": "妇产科", "machineManufacturer": "M", "machineMode": "TSR-R3", "machineCode": "123456",
    "deviceNo": "1234567", "purchaseTime": "2024-06-01", "status": 0, "registerUser": "刘xx",
}  # fmt: skip
VERIFICATION: dict[str, Any] = {
    "realName": "吴xx", "cardType": "0", "cardNo": "450211190000000516", "sexCode": "2", "sexName": "女", "nationalCode": "01",
    "nationalName": "汉族", "operationUser": "刘xx", "birthday": "1998-01-30", "address": "宁夏回族自治区常州市崇礼县",
    "police": "宁夏回族自治区常州市公安局", "cardStartDate": "2019-11-30", "cardEndDate": "2029-02-04", "headImg": JPEG,
    "cameraImg": JPEG, "faceScore": 0.88, "faceResult": "1", "verifyDate": "2024-06-11", "verifyTime": "2024-06-11 17:33:55",
    "certTimeoutStatus": 0, "deviceNo": "1234567", "machineCode": "123456",
}  # fmt: skip
REGISTER, VERIFY = "/machine/info", "/verification/pregnant_woman/first"


def mac(message: str, key: bytes) -> bytes:
    return hmac.new(key, message.encode(), "sm3").digest()


def sm4(plain: bytes, key: bytes, *, padding: str = "pkcs7") -> bytes:
    """SM4-ECB, block by block: gmssl's own padding is left out of it."""
    count = 16 - len(plain) % 16 if padding == "pkcs7" else -len(plain) % 16
    padded = plain + bytes((count if padding == "pkcs7" else 0,)) * count
    cipher = CryptSM4()
    cipher.set_key(key, SM4_ENCRYPT)
    return b"".join(
        bytes(cipher.one_round(cipher.sk, list(padded[at : at + 16]))) for at in range(0, len(padded), 16)
    )


def sm4_opened(raw: bytes, key: bytes) -> bytes:
    cipher = CryptSM4()
    cipher.set_key(key, SM4_DECRYPT)
    plain = b"".join(
        bytes(cipher.one_round(cipher.sk, list(raw[at : at + 16]))) for at in range(0, len(raw), 16)
    )
    return plain[: -plain[-1]]


ENCODINGS: dict[str, Callable[[bytes], str]] = {
    "hex": lambda raw: raw.hex(),
    "HEX": lambda raw: raw.hex().upper(),
    "base64": lambda raw: base64.b64encode(raw).decode(),
}


def times(moment: float) -> dict[str, str]:
    local = datetime.fromtimestamp(moment, BEIJING)
    return {
        "millis": str(int(moment * 1000)),
        "seconds": str(int(moment)),
        "yyyyMMddHHmmss": f"{local:%Y%m%d%H%M%S}",
        "yyyy-MM-dd HH:mm:ss": f"{local:%Y-%m-%d %H:%M:%S}",
    }


@dataclass(frozen=True)
class Hand:
    """How a request is made. Every attribute is one thing that a platform may want otherwise."""

    sign_encoding: str = "hex"
    sign_key: bytes = SECRET.encode()
    sign_template: str = "{id}{time}"
    time_format: str = "millis"
    ago_s: float = 0
    request_id: str = REQUEST_ID
    cipher_key: bytes | None = SECRET.encode()
    padding: str = "pkcs7"
    cipher_encoding: str = "base64"
    wrapped: bool = False
    headers: dict[str, str | None] = field(default_factory=dict)

    def request(self, content: Any) -> tuple[dict[str, str | None], bytes]:
        moment = times(time.time() - self.ago_s)[self.time_format]
        message = self.sign_template.replace("{id}", APP_ID).replace("{time}", moment)
        made: dict[str, str | None] = {
            "hmpt-portal-sign": ENCODINGS[self.sign_encoding](mac(message, self.sign_key)),
            "hmpt-portal-time": moment,
            "hmpt-portal-request-id": self.request_id,
            "hmpt-portal-org-app-id": APP_ID,
            "Authorization": TICKET,
            "Content-Type": "application/json;charset=UTF-8",
        }
        return made | self.headers, self.body(content)

    def body(self, content: Any) -> bytes:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        if self.cipher_key is not None:
            text = ENCODINGS[self.cipher_encoding](sm4(raw, self.cipher_key, padding=self.padding))
            return json.dumps({"data": text}).encode()
        return b'{"data":' + raw + b"}" if self.wrapped else raw

    def post(
        self, platform: SimulatedPlatform, path: str = REGISTER, content: Any = None
    ) -> requests.Response:
        headers, body = self.request(MACHINE if content is None else content)
        with requests.Session() as session:
            session.trust_env = False
            return session.post(
                platform.url + path, data=body, headers=headers, timeout=10, allow_redirects=False
            )

    def says(self, platform: SimulatedPlatform, path: str = REGISTER, content: Any = None) -> dict[str, Any]:
        answer: dict[str, Any] = self.post(platform, path, content).json()
        return answer

    def but(self, **changes: Any) -> Hand:
        return replace(self, **changes)

    def raw(self, platform: SimulatedPlatform, path: str = VERIFY, content: Any = VERIFICATION) -> bytes:
        """Return everything that comes back on a bare socket; OSError as the socket raises it."""
        headers, body = self.request(content)
        lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
        where = urlsplit(platform.url)
        with socket.create_connection((where.hostname or "", where.port or 0), 10) as connection:
            connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            received = b""
            while data := connection.recv(65536):
                received += data
            return received
