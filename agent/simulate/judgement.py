"""What the platform says to one request, in the document's order: protocol, then business.

Pure but for the ledger: a request in, an answer's fields or a `Refusal` out. It knows no idempotency, because
the document has none; a dialect may refuse repeats.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from agent.simulate import rules, wire
from agent.simulate.dialect import Dialect
from agent.simulate.faults import Faults
from agent.simulate.ledger import Ledger

MACHINE_INFO = "/machine/info"
VERIFICATION = "/verification/pregnant_woman/first"

_ID_FORMS = {
    "any": r"[0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
    "hex32": r"[0-9a-f]{32}",
    "uuid36": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
}


@dataclass(frozen=True)
class Request:
    """One request as it came. Header names are lower-case."""

    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def request_id(self) -> str:
        """Return the request's id, "" without one."""
        return self.headers.get("hmpt-portal-request-id", "")


@dataclass(frozen=True)
class Party:
    """Whom the platform knows: what the health commission allotted to one organisation."""

    secret: bytes = field(repr=False)
    app_id: str
    authorization: str = field(repr=False)


class Refusal(Exception):
    """The platform says no. `kind` is what a platform of another temper would not tell."""

    def __init__(self, kind: str, message: str, code: int = 500, exception: str | None = "A2301") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.code = code
        self.exception = exception


class Judge:
    """Judges requests by one dialect. Safe from any thread."""

    def __init__(self, party: Party, ledger: Ledger, clock: Callable[[], float]) -> None:
        self.party = party
        self.ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._bad_signatures = 0
        self._locked_until = 0.0

    def take(self, request: Request, dialect: Dialect, faults: Faults) -> dict[str, Any]:
        """Return the answer's code, msg and exceptionCode. Refusal for what this platform does not allow."""
        content = self.opened(request, dialect, faults)
        if request.path == MACHINE_INFO:
            return self._register(content, dialect)
        return self._verify(content, request, dialect)

    def knows_ticket(self, request: Request) -> bool:
        """Return whether the request's ticket is the one that was allotted."""
        return request.headers.get("authorization") == self.party.authorization

    def opened(self, request: Request, dialect: Dialect, faults: Faults) -> dict[str, Any]:
        """Return the request's fields, its headers checked and its body deciphered."""
        self._check_lock(faults)
        self._check_headers(request, dialect, faults)
        return self._content(request.body, dialect)

    # --- protocol -----------------------------------------------------------------------------------

    def _check_headers(self, request: Request, dialect: Dialect, faults: Faults) -> None:
        headers, party = request.headers, self.party
        if not self.knows_ticket(request):
            raise Refusal("ticket", "ESB票据无效", 401)
        if headers.get("hmpt-portal-org-app-id") != party.app_id:
            raise Refusal("org", "机构不存在", 401)
        taken = dialect.content_type
        if taken != "any" and _media_type(headers.get("content-type", "")) != _media_type(taken):
            raise Refusal("media", "不支持的Content-Type", 415)
        time = headers.get("hmpt-portal-time", "")
        sent = wire.sent_at(dialect, time)
        if sent is None or (dialect.window_s and abs(sent - self._clock() - faults.skew) > dialect.window_s):
            raise Refusal("time", "时间戳无效", 401)
        sign = headers.get("hmpt-portal-sign", "")
        if not wire.sign_accepted(dialect, party.secret, party.app_id, time, sign):
            self._note_bad_signature(faults)
            raise Refusal("signature", "签名错误", 401)
        if not re.fullmatch(_ID_FORMS[dialect.request_id], request.request_id):
            raise Refusal("id", "请求ID无效", 400)

    def _check_lock(self, faults: Faults) -> None:
        with self._lock:
            if faults.lock_after and self._clock() < self._locked_until:
                raise Refusal("lock", "签名错误次数过多，机构已锁定", 403)

    def _note_bad_signature(self, faults: Faults) -> None:
        with self._lock:
            self._bad_signatures += 1
            if faults.lock_after and self._bad_signatures >= faults.lock_after:
                self._bad_signatures, self._locked_until = 0, self._clock() + faults.lock_s

    def _content(self, body: bytes, dialect: Dialect) -> dict[str, Any]:
        outer = _json_object(body)
        text = outer.get("data")
        if set(outer) == {"data"} and isinstance(text, str) and dialect.encryption != "off":
            try:
                plain = wire.decrypted(dialect, self.party.secret, text)
            except ValueError:
                raise Refusal("cipher", "解密失败") from None
            return _json_object(plain)
        if dialect.encryption == "required":
            raise Refusal("plain", "数据未加密")
        wrapped = set(outer) == {"data"} and isinstance(text, dict)
        if dialect.body_shape != "any" and wrapped != (dialect.body_shape == "data"):
            raise Refusal("shape", "参数错误")
        return text if wrapped and text is not None else outer

    # --- business -----------------------------------------------------------------------------------

    def _register(self, content: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
        _refuse_faults(rules.faults(content, rules.machine(dialect), dialect))
        device = (content["machineCode"], content["deviceNo"])
        changed = self.ledger.enabled(device) != (content["status"] in {0, "0"})
        if device in self.ledger.devices() and not (dialect.registration == "updates" and changed):
            raise Refusal("known", "设备已经添加，请勿重复添加", exception="B2301")
        if self.ledger.full():
            raise Refusal("system", "系统繁忙", exception="B0001")
        status = int(content["status"])
        self.ledger.append(
            {"kind": "device", "machineCode": device[0], "deviceNo": device[1], "status": status}
        )
        return {"code": 200, "msg": "设备注册成功", "exceptionCode": "00000"}

    def _verify(self, content: Mapping[str, Any], request: Request, dialect: Dialect) -> dict[str, Any]:
        _refuse_faults(rules.faults(content, rules.verification(dialect), dialect))
        passed = {"0": "核验不通过", "1": "核验通过", "2": "未核验"}[str(content["faceResult"])]
        done = {"code": 200, "msg": f"人脸核验完成，{passed}", "exceptionCode": "00000"}
        if not self.ledger.enabled((content["machineCode"], content["deviceNo"])):
            if dialect.unknown_device == "silent":
                return done
            raise Refusal("device", "设备未注册或未启用")
        if dialect.repeats == "refused" and self.ledger.accepted(request.request_id):
            raise Refusal("repeat", "重复请求")
        self.ledger.append(self._line(content, request))
        return done

    def _line(self, content: Mapping[str, Any], request: Request) -> dict[str, Any]:
        head, camera = (base64.b64decode(content[name]) for name in ("headImg", "cameraImg"))
        return {
            "kind": "record",
            "requestId": request.request_id,
            "acceptedAt": int(self._clock() * 1000),
            "deviceNo": content["deviceNo"],
            "machineCode": content["machineCode"],
            "faceResult": content["faceResult"],
            "faceScore": float(content["faceScore"]),
            "verifyTime": content["verifyTime"],
            "bodyLength": len(request.body),
            "bodySm3": wire.sm3_hex(request.body),
            "headImgLength": len(head),
            "headImgSm3": wire.sm3_hex(head),
            "cameraImgLength": len(camera),
            "cameraImgSm3": wire.sm3_hex(camera),
        }


def _media_type(text: str) -> str:
    return "".join(text.split()).lower()


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8"), parse_float=Decimal)
    except (ValueError, RecursionError):
        raise Refusal("json", "JSON格式错误") from None
    if not isinstance(value, dict):
        raise Refusal("json", "JSON格式错误")
    return value


def _refuse_faults(names: list[str]) -> None:
    if names:
        raise Refusal("parameter", "参数错误：" + "，".join(names))
