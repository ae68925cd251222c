"""The platform as its document describes it, on loopback: for demo, tests and rehearsals.

Written from the document, not from the client: both endpoints, five headers, HMAC-SM3 over id and time,
SM4-ECB bodies, every field's rule, registered and enabled devices only, the documented answers. It knows
no idempotency, because the document has none: the same request id twice gives two lines in the ledger.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import json
import re
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.padding import PKCS7

from agent.simulate import rules
from agent.simulate.ledger import Ledger

MACHINE_INFO = "/machine/info"
VERIFICATION = "/verification/pregnant_woman/first"
WINDOW_MS = 5 * 60 * 1000
MAX_BODY = 64 * 2**20


@dataclass(frozen=True)
class Faults:
    """How the platform misbehaves. N: every Nth request for a record. 0: never."""

    lost_answer: int = 0  # accepted and written down, the connection closed without an answer
    unavailable: int = 0  # 503 with Retry-After: 1
    forge: int = 0  # accepted, the answer's signature wrong
    garbage: int = 0  # accepted, the answer unreadable
    refuse: int = 0  # A2301
    html: int = 0  # a page with status 200
    down: int = 0  # 1: 503 for everything
    delay: float = 0.0  # seconds before each answer


def parse_faults(texts: Iterable[str]) -> Faults:
    """Read NAME=VALUE texts, names with dashes or underscores. ValueError for one that is none."""
    known = {field.name for field in fields(Faults)}
    chosen: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        name = name.replace("-", "_")
        if name not in known:
            raise ValueError(f"no fault {name!r}; there are {', '.join(sorted(known))}")
        chosen[name] = float(value) if name == "delay" else int(value)
    return Faults(**chosen)


class Refusal(Exception):
    """The platform says no, in the document's way."""

    def __init__(self, message: str, code: int = 500, exception: str = "A2301") -> None:
        super().__init__(message)
        self.answer = {"code": code, "msg": message, "exceptionCode": exception}


class SimulatedPlatform:
    """Serves until closed. Whether answers are signed the document leaves open, so both exist."""

    def __init__(
        self,
        secret: str,
        app_id: str,
        authorization: str,
        ledger: Path | None = None,
        *,
        port: int = 0,
        faults: Faults | None = None,
        encrypted: bool = True,
        answers_signed: bool = True,
    ) -> None:
        self.secret = secret.encode()
        self.app_id = app_id
        self.authorization = authorization
        self.faults = faults or Faults()
        self.encrypted = encrypted
        self.answers_signed = answers_signed
        self.ledger = Ledger(ledger)
        self._count = 0
        self._lock = threading.Lock()
        self._server = _Server(port, self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="platform", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> SimulatedPlatform:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Return the base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def accepted(self) -> list[dict[str, Any]]:
        """Return every accepted record's ledger line."""
        return self.ledger.records()

    def close(self) -> None:
        """Stop serving and close the ledger."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.ledger.close()

    # --- one request --------------------------------------------------------------------------------

    def number(self) -> int:
        """Return the running number of a request for a record."""
        with self._lock:
            self._count += 1
            return self._count

    def take(self, path: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """Return the answer's fields. Refusal for whatever the document does not allow."""
        self._check_headers(headers)
        content = self._content(body)
        if path == MACHINE_INFO:
            return self._register(content)
        return self._verify(content, headers["hmpt-portal-request-id"], body)

    def sign(self, time_text: str) -> str:
        """Return HMAC_SM3(orgAppId + time, secret) in lower-case hex."""
        mac = HMAC(self.secret, hashes.SM3())
        mac.update((self.app_id + time_text).encode())
        return mac.finalize().hex()

    def _check_headers(self, headers: Mapping[str, str]) -> None:
        if headers.get("Authorization") != self.authorization:
            raise Refusal("ESB票据无效", 401)
        if headers.get("hmpt-portal-org-app-id") != self.app_id:
            raise Refusal("机构不存在", 401)
        sent = headers.get("hmpt-portal-time", "")
        if not re.fullmatch(r"\d{13}", sent) or abs(int(sent) - time.time() * 1000) > WINDOW_MS:
            raise Refusal("时间戳无效", 401)
        if not hmac.compare_digest(headers.get("hmpt-portal-sign", "").encode(), self.sign(sent).encode()):
            raise Refusal("签名错误", 401)
        if not re.fullmatch(r"[0-9A-Fa-f-]{32,36}", headers.get("hmpt-portal-request-id", "")):
            raise Refusal("请求ID无效", 400)

    def _content(self, body: bytes) -> dict[str, Any]:
        outer = _json_object(body)
        if not self.encrypted:
            return outer
        text = outer.get("data")
        if set(outer) != {"data"} or not isinstance(text, str):
            raise Refusal("数据未加密")
        return _json_object(self._decrypted(text))

    def _decrypted(self, text: str) -> bytes:
        key = bytes.fromhex(self.secret.decode()) if len(self.secret) == 32 else self.secret
        try:
            # Either text form, as the widespread Java library takes it.
            raw = (
                bytes.fromhex(text)
                if re.fullmatch(r"[0-9a-fA-F]+", text)
                else base64.b64decode(text, validate=True)
            )
            running = Cipher(SM4(key), modes.ECB()).decryptor()  # noqa: S305 -- the document's mode
            unpadder = PKCS7(128).unpadder()
            return unpadder.update(running.update(raw) + running.finalize()) + unpadder.finalize()
        except (ValueError, binascii.Error):
            raise Refusal("解密失败") from None

    def _register(self, content: Mapping[str, Any]) -> dict[str, Any]:
        _refuse_faults(rules.faults(content, rules.MACHINE))
        device = (content["machineCode"], content["deviceNo"])
        if device in self.ledger.devices():
            raise Refusal("设备已经添加，请勿重复添加", exception="B2301")
        self.ledger.append(
            {"kind": "device", "machineCode": device[0], "deviceNo": device[1], "status": content["status"]}
        )
        return {"code": 200, "msg": "设备注册成功", "exceptionCode": "00000"}

    def _verify(self, content: Mapping[str, Any], request_id: str, body: bytes) -> dict[str, Any]:
        _refuse_faults(rules.faults(content, rules.VERIFICATION))
        if (content["machineCode"], content["deviceNo"]) not in self.ledger.devices():
            raise Refusal("设备未注册或未启用")
        head, camera = (base64.b64decode(content[name]) for name in ("headImg", "cameraImg"))
        self.ledger.append(
            {
                "kind": "record",
                "requestId": request_id,
                "acceptedAt": int(time.time() * 1000),
                "deviceNo": content["deviceNo"],
                "machineCode": content["machineCode"],
                "faceResult": content["faceResult"],
                "faceScore": content["faceScore"],
                "verifyTime": content["verifyTime"],
                "bodyLength": len(body),
                "bodySm3": _sm3(body),
                "headImgLength": len(head),
                "headImgSm3": _sm3(head),
                "cameraImgLength": len(camera),
                "cameraImgSm3": _sm3(camera),
            }
        )
        passed = {"0": "核验不通过", "1": "核验通过", "2": "未核验"}[content["faceResult"]]
        return {"code": 200, "msg": f"人脸核验完成，{passed}", "exceptionCode": "00000"}


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8"))
    except ValueError:
        raise Refusal("JSON格式错误") from None
    if not isinstance(value, dict):
        raise Refusal("JSON格式错误")
    return value


def _refuse_faults(names: list[str]) -> None:
    if names:
        raise Refusal("参数错误：" + "，".join(names))


def _sm3(data: bytes) -> str:
    running = hashes.Hash(hashes.SM3())
    running.update(data)
    return running.finalize().hex()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Server

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        if length > MAX_BODY:
            self._plain(413, b"")
            return
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        if self.path not in {MACHINE_INFO, VERIFICATION}:
            self._plain(404, b"not found")
            return
        self._serve(body)

    def _serve(self, body: bytes) -> None:
        platform = self.server.platform
        faults = platform.faults
        number = platform.number() if self.path == VERIFICATION else 0
        threading.Event().wait(faults.delay)
        if faults.down or _due(faults.unavailable, number):
            self._plain(503, b"", {"Retry-After": "1"})
            return
        if _due(faults.html, number):
            self._plain(200, b"<html>login</html>", {"Content-Type": "text/html"})
            return
        try:
            if _due(faults.refuse, number):
                raise Refusal("参数错误")
            answer = platform.take(self.path, self.headers, body)  # type: ignore[arg-type]  # Message reads like a Mapping
        except Refusal as refusal:
            answer = refusal.answer
        if _due(faults.lost_answer, number):
            self.close_connection = True
            return
        self._answer(answer, number)

    def _answer(self, answer: dict[str, Any], number: int) -> None:
        now = str(int(time.time() * 1000))
        answer |= {
            "data": None,
            "requestId": self.headers.get("hmpt-portal-request-id"),
            "returnTime": int(now),
        }
        content = json.dumps(answer, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json;charset=UTF-8"}
        if self.server.platform.answers_signed:
            signature = self.server.platform.sign(now)
            forged = _due(self.server.platform.faults.forge, number)
            headers |= {"hmpt-portal-time": now, "hmpt-portal-sign": "0" * 64 if forged else signature}
        self._plain(
            200, b"{broken" if _due(self.server.platform.faults.garbage, number) else content, headers
        )

    def _plain(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing: what came in is in the ledger."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, platform: SimulatedPlatform) -> None:
        self.platform = platform
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, known for as long as it is open."""
        self._open.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.discard(request)

    def server_close(self) -> None:
        """End connections that a client keeps alive, too: nobody answers there any more."""
        for request in list(self._open):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
        super().server_close()


def _due(every: int, number: int) -> bool:
    return bool(every) and number > 0 and number % every == 0
