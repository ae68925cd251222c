"""The simulated platform against its document, by hand-made requests: it shares no code with the client."""

from __future__ import annotations

import base64
import copy
import json
import shutil
import subprocess
import time
from typing import Any

import pytest
import requests
from platform_support import APP_ID, JPEG, MACHINE, PLAIN, SECRET, TICKET, VERIFICATION

from agent.simulate import rules, wire
from agent.simulate.platform import SimulatedPlatform


def openssl(*arguments: str, given: bytes) -> bytes:
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    return subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True).stdout


def test_signature_and_cipher_agree_with_the_openssl_command() -> None:
    with SimulatedPlatform(SECRET, APP_ID, TICKET) as platform:
        key = SECRET.encode().hex()
        mac = openssl(
            "dgst",
            "-sm3",
            "-mac",
            "HMAC",
            "-macopt",
            f"hexkey:{key}",
            given=f"{APP_ID}1718091794408".encode(),
        )
        assert mac.decode().split("= ")[-1].strip() == platform.sign("1718091794408")
        assert (
            platform.sign("1718091794408")
            == "34d63f827c987013ce3d8f00b96782c290bbfaee4e027a1a0994586f773b7f2c"
        )
        plain = json.dumps(MACHINE).encode()
        sealed = openssl("enc", "-sm4-ecb", "-K", key, given=plain)
        for text in (sealed.hex(), sealed.hex().upper(), base64.b64encode(sealed).decode()):
            assert wire.decrypted(platform.dialect, SECRET.encode(), text) == plain


class Caller:
    """Sends hand-made requests."""

    def __init__(self, platform: SimulatedPlatform) -> None:
        self.platform = platform
        self.session = requests.Session()

    def post(self, path: str, content: Any, headers: dict[str, str | None] | None = None) -> dict[str, Any]:
        now = str(int(time.time() * 1000))
        made: dict[str, str | None] = {
            "hmpt-portal-sign": self.platform.sign(now),
            "hmpt-portal-time": now,
            "hmpt-portal-request-id": "a" * 32,
            "hmpt-portal-org-app-id": APP_ID,
            "Authorization": TICKET,
        }
        made |= headers or {}
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        answer = self.session.post(self.platform.url + path, data=raw, headers=made, timeout=10)
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def caller() -> Any:
    with SimulatedPlatform(SECRET, APP_ID, TICKET, dialect=PLAIN) as platform:
        one = Caller(platform)
        yield one
        one.session.close()


def registered(caller: Caller) -> Caller:
    assert caller.post("/machine/info", MACHINE)["code"] == 200
    return caller


def test_the_documented_answers(caller: Caller) -> None:
    first = caller.post("/machine/info", MACHINE)
    assert {name: first[name] for name in ("code", "data", "msg", "exceptionCode", "requestId")} == {
        "code": 200, "data": None, "msg": "设备注册成功", "exceptionCode": "00000", "requestId": "a" * 32,
    }  # fmt: skip
    assert abs(first["returnTime"] - time.time() * 1000) < 60_000
    again = caller.post("/machine/info", MACHINE)
    assert (again["code"] == 200, again["exceptionCode"]) == (False, "B2301")
    accepted = caller.post("/verification/pregnant_woman/first", VERIFICATION)
    assert (accepted["code"], accepted["exceptionCode"]) == (200, "00000")
    (line,) = caller.platform.accepted()
    assert line["requestId"] == "a" * 32
    assert not {"realName", "cardNo", "address"} & set(line)


def test_an_unregistered_device_and_a_repeat(caller: Caller) -> None:
    assert caller.post("/verification/pregnant_woman/first", VERIFICATION)["exceptionCode"] == "A2301"
    registered(caller)
    for _ in range(2):
        assert caller.post("/verification/pregnant_woman/first", VERIFICATION)["code"] == 200
    assert len(caller.platform.accepted()) == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"hmpt-portal-sign": "0" * 64},
        {"hmpt-portal-sign": None},
        {"hmpt-portal-time": "1718091794408"},
        {"hmpt-portal-time": "now"},
        {"hmpt-portal-request-id": None},
        {"hmpt-portal-org-app-id": "other"},
        {"Authorization": "Bearer ticket"},
    ],
)
def test_each_header_is_required_and_checked(caller: Caller, headers: dict[str, str | None]) -> None:
    assert caller.post("/machine/info", MACHINE, headers)["code"] != 200
    assert caller.platform.ledger.devices() == set()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[(name, None) for name in VERIFICATION],
        *[(name, "") for name, value in VERIFICATION.items() if isinstance(value, str)],
        ("cardType", 0), ("cardType", "7"), ("sexCode", "02"), ("sexName", "男"), ("nationalCode", "57"), ("nationalName", "汉"),
        ("nationalName", "侗 族"), ("operationUser", "一二三四五六七八九十一"), ("birthday", "1998-02-30"), ("birthday", "19980130"),
        ("cardStartDate", "2019-11-30 23:58:14"), ("cardEndDate", "长期"), ("headImg", "data:image/jpeg;base64," + JPEG),
        ("headImg", base64.b64encode(b"BM").decode()), ("cameraImg", JPEG[:8] + "\n" + JPEG[8:]), ("faceScore", "0.88"),
        ("faceScore", 88), ("faceScore", True), ("faceResult", 1), ("faceResult", "3"), ("verifyDate", "2024-06-12"),
        ("verifyTime", "2024-06-11T17:33:55"), ("certTimeoutStatus", "0"), ("fingerScore", 1.5), ("fingerResult", "1"), ("extra", "x"),
    ],
)  # fmt: skip
def test_every_rule_of_the_upload_table(field: str, value: object) -> None:
    fields = copy.deepcopy(VERIFICATION)
    fields[field] = value
    assert field in rules.faults(fields, rules.verification())


@pytest.mark.parametrize("field", sorted(MACHINE))
def test_every_field_of_the_registration_is_required(field: str) -> None:
    fields = {name: value for name, value in MACHINE.items() if name != field}
    assert rules.faults(fields, rules.machine()) == [field]


def test_the_permanent_mark_and_the_finger_fields_are_allowed() -> None:
    extra = {"cardEndDate": "-", "fingerCollectImg": JPEG, "fingerScore": 0.5, "fingerResult": 1}
    assert rules.faults(VERIFICATION | extra, rules.verification()) == []


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'{"deptId": "1",}', "汉".encode("gbk"), b'{"data": "zz"}']
)
def test_a_body_that_is_no_strict_json_object_is_refused(caller: Caller, raw: bytes) -> None:
    assert caller.post("/machine/info", raw)["exceptionCode"] == "A2301"


def test_an_encrypted_platform_takes_no_plain_body() -> None:
    with SimulatedPlatform(SECRET, APP_ID, TICKET) as platform:
        one = Caller(platform)
        assert one.post("/machine/info", MACHINE)["msg"] == "数据未加密"
        one.session.close()
