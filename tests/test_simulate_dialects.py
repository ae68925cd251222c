"""Every dialect of the simulated platform, by hand-made requests: each takes its own form and no other."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from platform_support import (
    APP_ID,
    ENCODINGS,
    JPEG,
    MACHINE,
    PLAIN,
    REQUEST_ID,
    SECRET,
    TICKET,
    VERIFICATION,
    VERIFY,
    Hand,
    mac,
    sm4_opened,
    times,
)

from agent.simulate import rules
from agent.simulate.dialect import LENIENT, LIKELY, STRICT, Dialect, parse_dialect
from agent.simulate.platform import SimulatedPlatform

HAND = Hand()
HEX_SECRET = "00112233445566778899aabbccddeeff"
LONG_SECRET = "a secret of more than sixteen"
TIMES = ("millis", "seconds", "yyyyMMddHHmmss", "yyyy-MM-dd HH:mm:ss")
UUID36 = "01234567-89ab-cdef-0123-456789abcdef"


@contextmanager
def serving(
    secret: str = SECRET, *, dialect: Dialect = LIKELY, **options: Any
) -> Iterator[SimulatedPlatform]:
    with SimulatedPlatform(secret, APP_ID, TICKET, dialect=dialect, **options) as platform:
        yield platform


def understood(hand: Hand, platform: SimulatedPlatform) -> bool:
    answer = hand.says(platform)
    return bool(answer["code"] == 200 or answer["exceptionCode"] == "B2301")


def takes_only(dialect: Dialect, right: Hand, wrong: list[Hand], secret: str = SECRET) -> None:
    """Check that a platform takes one way of asking and refuses the others."""
    with serving(secret, dialect=dialect) as platform:
        for hand in wrong:
            assert not understood(hand, platform), hand
            assert platform.ledger.devices() == set()
        assert understood(right, platform)


@pytest.mark.parametrize("value", ENCODINGS)
def test_signature_encodings(value: str) -> None:
    others = [HAND.but(sign_encoding=other) for other in ENCODINGS if other != value]
    takes_only(Dialect(sign_encoding=value), HAND.but(sign_encoding=value), others)


def test_signature_keys() -> None:
    text, raw = HEX_SECRET.encode(), bytes.fromhex(HEX_SECRET)
    by_base64 = base64.b64decode(HEX_SECRET)
    hand = HAND.but(cipher_key=raw)
    for value, key in {"utf8": text, "hex": raw, "base64": by_base64}.items():
        others = [hand.but(sign_key=other) for other in (text, raw, by_base64) if other != key]
        takes_only(Dialect(sign_key=value), hand.but(sign_key=key), others, HEX_SECRET)


@pytest.mark.parametrize("template", ["{id}{time}", "{id}+{time}", "{time}{id}", "{id}&{time}"])
def test_signature_messages(template: str) -> None:
    others = [HAND.but(sign_template=other) for other in ("{id}|{time}", "{id}", "{time}")]
    takes_only(Dialect(sign_template=template), HAND.but(sign_template=template), others)


@pytest.mark.parametrize("value", TIMES)
def test_time_formats(value: str) -> None:
    others = [HAND.but(time_format=other) for other in TIMES if other != value]
    takes_only(Dialect(time_format=value), HAND.but(time_format=value), others)


def test_time_windows_and_a_platform_whose_clock_is_wrong() -> None:
    takes_only(Dialect(window_s=300), HAND.but(ago_s=200), [HAND.but(ago_s=400), HAND.but(ago_s=-400)])
    with serving(dialect=Dialect(window_s=0)) as platform:
        assert understood(HAND.but(ago_s=86400 * 365), platform)
    with serving() as platform:
        platform.faults = platform.faults.__class__(skew=3600)
        answer = HAND.post(platform)
        assert answer.json()["msg"] == "时间戳无效"
        assert answer.json()["returnTime"] / 1000 == pytest.approx(
            int(times(0)["seconds"]) + platform.now(), abs=60
        )
        assert understood(HAND.but(ago_s=-3600), platform)


def test_request_ids_and_repeats() -> None:
    dashed, upper = HAND.but(request_id=UUID36), HAND.but(request_id=REQUEST_ID.upper())
    takes_only(Dialect(request_id="hex32"), HAND, [dashed, upper])
    takes_only(Dialect(request_id="uuid36"), dashed, [HAND, upper])
    with serving(dialect=Dialect(encryption="off", repeats="refused")) as platform:
        plain = HAND.but(cipher_key=None)
        plain.says(platform)
        assert plain.says(platform, VERIFY, VERIFICATION)["code"] == 200
        assert plain.but(request_id=UUID36).says(platform, VERIFY, VERIFICATION)["msg"] == "重复请求"
        assert platform.ledger.count == 1


def test_content_types() -> None:
    other = HAND.but(headers={"Content-Type": "application/json"})
    none = HAND.but(headers={"Content-Type": None})
    takes_only(Dialect(content_type="application/json; charset=utf-8"), HAND, [other, none])
    takes_only(Dialect(content_type="application/json"), other, [HAND, none])


def md5(secret: str) -> Any:
    return hashlib.md5(secret.encode())


KEYS = {
    ("utf8", SECRET): SECRET.encode(),
    ("auto", SECRET): SECRET.encode(),
    ("hex", HEX_SECRET): bytes.fromhex(HEX_SECRET),
    ("auto", HEX_SECRET): bytes.fromhex(HEX_SECRET),
    ("first16", HEX_SECRET): HEX_SECRET[:16].encode(),
    ("auto", LONG_SECRET): LONG_SECRET[:16].encode(),
    ("md5", LONG_SECRET): md5(LONG_SECRET).digest(),
    ("md5hex16", LONG_SECRET): md5(LONG_SECRET).hexdigest()[8:24].encode(),
    ("sm3", LONG_SECRET): hashlib.new("sm3", LONG_SECRET.encode()).digest()[:16],
}


@pytest.mark.parametrize(("value", "secret"), KEYS)
def test_cipher_keys(value: str, secret: str) -> None:
    hand = HAND.but(sign_key=secret.encode())
    key = KEYS[value, secret]
    others = {bytes(16), *(made for (_, of), made in KEYS.items() if of == secret)} - {key}
    takes_only(
        Dialect(sm4_key=value), hand.but(cipher_key=key), [hand.but(cipher_key=o) for o in others], secret
    )


def test_a_dialect_that_the_secret_cannot_serve_is_told_at_once() -> None:
    for wrong in (Dialect(sm4_key="hex"), Dialect(sign_key="hex"), Dialect(sm4_key="utf8")):
        with pytest.raises(ValueError, match=r"sm4_key|sign_key"):
            SimulatedPlatform(LONG_SECRET, APP_ID, TICKET, dialect=wrong)


@pytest.mark.parametrize("value", ENCODINGS)
def test_cipher_encodings(value: str) -> None:
    others = [HAND.but(cipher_encoding=other) for other in ENCODINGS if other != value]
    takes_only(Dialect(cipher_encoding=value), HAND.but(cipher_encoding=value), others)
    with serving() as platform:
        assert all(understood(HAND.but(cipher_encoding=one), platform) for one in ENCODINGS)


def test_paddings() -> None:
    zero = HAND.but(padding="zero")
    takes_only(Dialect(padding="pkcs7"), HAND, [zero])
    takes_only(Dialect(padding="zero"), zero, [HAND])


def test_encryption_and_the_shape_of_plain_bodies() -> None:
    plain, wrapped = HAND.but(cipher_key=None), HAND.but(cipher_key=None, wrapped=True)
    takes_only(Dialect(encryption="required"), HAND, [plain, wrapped])
    takes_only(PLAIN, plain, [HAND, wrapped])
    takes_only(Dialect(encryption="off", body_shape="data"), wrapped, [HAND, plain])
    with serving(dialect=LENIENT) as platform:
        assert all(understood(hand, platform) for hand in (HAND, plain, wrapped))


def test_a_path_before_the_interfaces() -> None:
    with serving(dialect=Dialect(prefix="/hmpt")) as platform:
        assert platform.url.endswith("/hmpt")
        assert understood(HAND, platform)
        platform.dialect = Dialect(prefix="/elsewhere")
        assert HAND.post(platform, "/machine/information").status_code == 404


# --- answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["own", "request", "return_time"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_answers_are_signed_over_the_time_that_the_dialect_names(value: str, encoding: str) -> None:
    with serving(dialect=Dialect(answer_time=value, sign_encoding=encoding)) as platform:
        answer = HAND.but(sign_encoding=encoding).post(platform)
        own = answer.headers.get("hmpt-portal-time")
        over = {
            "own": own,
            "request": answer.request.headers["hmpt-portal-time"],
            "return_time": str(answer.json()["returnTime"]),
        }[value]
        assert (own is not None) == (value == "own")
        assert answer.headers["hmpt-portal-sign"] == ENCODINGS[encoding](
            mac(f"{APP_ID}{over}", SECRET.encode())
        )


def test_answers_need_not_be_signed() -> None:
    with serving(dialect=Dialect(answer_time="unsigned")) as platform:
        assert "hmpt-portal-sign" not in HAND.post(platform).headers


UNTEXT: dict[str, Callable[[str], bytes]] = {
    "hex": bytes.fromhex, "HEX": bytes.fromhex, "base64": base64.b64decode,
    "base64-lines": base64.b64decode, "base64url": base64.urlsafe_b64decode,
}  # fmt: skip


@pytest.mark.parametrize("encoding", UNTEXT)
@pytest.mark.parametrize("extent", ["data", "whole"])
def test_answers_are_encrypted_in_each_text_form(encoding: str, extent: str) -> None:
    with serving(dialect=Dialect(answer_cipher=extent, answer_encoding=encoding)) as platform:
        outer = HAND.says(platform)
    opened = sm4_opened(UNTEXT[encoding](outer["data"]), SECRET.encode())
    assert ("\n" in outer["data"].strip()) == (encoding == "base64-lines" and extent == "whole")
    if extent == "whole":
        assert set(outer) == {"data"}
        outer = json.loads(opened)
    assert (outer["code"], outer["requestId"]) == (200, REQUEST_ID)


def test_the_answer_s_id_and_code_in_every_form() -> None:
    hand, bare = HAND.but(request_id=UUID36), UUID36.replace("-", "")
    found: dict[str, str | None] = {}
    for form in ("echo", "bare", "own", "absent"):
        with serving(dialect=Dialect(answer_id=form)) as platform:
            found[form] = hand.says(platform).get("requestId")
    assert (found["echo"], found["bare"], found["absent"]) == (UUID36, bare, None)
    assert found["own"] not in {UUID36, bare, None}
    with serving(dialect=Dialect(answer_code="text")) as platform:
        assert HAND.says(platform)["code"] == "200"


BAD = {
    "signature": HAND.but(sign_key=b"wrong"),
    "cipher": HAND.but(cipher_key=b"0123456789abcdef"),
    "parameter": HAND,
}


def test_refusals_by_temper() -> None:
    """Spec 3.3: a bad signature is told by a code, by HTTP, by a bare 500, or not at all."""
    found: dict[tuple[str, str], Any] = {}
    for temper, (kind, hand) in itertools.product(
        ("named", "vague", "alike", "http", "http500"), BAD.items()
    ):
        with serving(dialect=Dialect(refusals=temper)) as platform:
            content = MACHINE | {"status": 7} if kind == "parameter" else MACHINE
            answer = hand.post(platform, content=content)
            is_json = answer.headers["Content-Type"].startswith("application/json")
            found[temper, kind] = (answer.status_code, answer.json()["msg"] if is_json else None)
    assert found["named", "signature"] == (200, "签名错误")
    assert found["named", "cipher"] == (200, "解密失败")
    assert found["vague", "signature"] == found["vague", "cipher"] == (200, "系统异常")
    assert {found["alike", kind] for kind in ("signature", "cipher")} == {(200, "参数错误")}
    assert found["http", "signature"] == (401, "签名错误")
    assert found["http500", "signature"] == (500, None)
    for temper in ("named", "vague", "alike", "http", "http500"):
        assert found[temper, "parameter"] == (200, "参数错误：status")


def test_the_bus_may_refuse_the_ticket_before_the_platform_does() -> None:
    stranger = HAND.but(headers={"Authorization": "Bearer " + TICKET})
    with serving(dialect=Dialect(ticket_refusal="http")) as platform:
        answer = stranger.post(platform)
        assert (answer.status_code, answer.headers["Content-Type"][:9]) == (401, "text/html")
        platform.dialect = LIKELY
        assert stranger.says(platform)["msg"] == "ESB票据无效"


# --- devices and fields -------------------------------------------------------------------------------


def test_devices_entered_by_hand_switched_off_or_unknown() -> None:
    device = (MACHINE["machineCode"], MACHINE["deviceNo"])
    plain = HAND.but(cipher_key=None)
    with serving(dialect=PLAIN) as platform:
        platform.enter_by_hand([device])
        assert plain.says(platform)["exceptionCode"] == "B2301"
        assert plain.says(platform, VERIFY, VERIFICATION)["code"] == 200
        platform.enter_by_hand([device], enabled=False)
        assert plain.says(platform, VERIFY, VERIFICATION)["msg"] == "设备未注册或未启用"
        assert plain.says(platform)["exceptionCode"] == "B2301", "a second call does not switch it on"
        platform.dialect = Dialect(encryption="off", unknown_device="silent")
        assert plain.says(platform, VERIFY, VERIFICATION)["code"] == 200
        assert platform.ledger.count == 1
        platform.enter_by_hand([device])
        plain.says(platform, VERIFY, VERIFICATION)
        assert platform.ledger.count == 2


#: dialect, a field, and values of which the first half is taken there and the rest refused.
FIELDS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"types": "example"}, {"cardType": 0, "faceResult": 1}, {"cardType": "0", "faceResult": "1"}),
    ({"sex_width": "2"}, {"sexCode": "02"}, {"sexCode": "2"}),
    ({"nation_suffix": "no"}, {"nationalName": "汉"}, {"nationalName": "汉族"}),
    ({"card_dates": "datetime"}, {"cardStartDate": "2019-11-30 00:00:00", "cardEndDate": "-"}, {"cardStartDate": "2019-11-30"}),
    ({"permanent_date": "长期"}, {"cardEndDate": "长期"}, {"cardEndDate": "-"}),
    ({"score_decimals": 2}, {"faceScore": 0.88}, {"faceScore": 0.881}),
    ({"score_decimals": 0}, {"faceScore": 1}, {"faceScore": 0.8}),
    ({"cert_status": "1,2"}, {"certTimeoutStatus": 1}, {"certTimeoutStatus": 0}),
    ({"cert_status": "0,1"}, {"cardEndDate": "2024-06-10", "certTimeoutStatus": 1}, {"cardEndDate": "2024-06-11", "certTimeoutStatus": 1}),
    ({"absent_finger": "omit"}, {}, {"fingerScore": None}),
    ({"absent_finger": "null"}, {"fingerCollectImg": None, "fingerScore": None, "fingerResult": None}, {}),
    ({"card_types": "01"}, {"cardType": "1"}, {"cardType": "2"}),
    ({"name_limit": 10}, {"realName": "一" * 10}, {"realName": "一" * 11}),
    ({"name_limit": 10, "length_unit": "utf8"}, {"realName": "一" * 3}, {"realName": "一" * 4}),
    ({"name_limit": 10, "length_unit": "gbk"}, {"realName": "一" * 5}, {"realName": "一" * 6}),
    ({"characters": "bmp"}, {"realName": "\ue000"}, {"realName": "\U00020000"}),
    ({"characters": "assigned"}, {"realName": "吴"}, {"realName": "\ue000"}),
    ({"picture_limit": 100}, {}, {"headImg": base64.b64encode(b"\xff\xd8\xff" + bytes(75) + b"\xff\xd9").decode()}),
    ({"unknown_fields": "ignored"}, {"extra": "x"}, {"realName": ""}),
]  # fmt: skip


@pytest.mark.parametrize(("knobs", "taken", "refused"), FIELDS)
def test_each_reading_of_the_upload_table(
    knobs: dict[str, Any], taken: dict[str, Any], refused: dict[str, Any]
) -> None:
    dialect = Dialect(**knobs)
    base = VERIFICATION | taken
    assert rules.faults(base, rules.verification(dialect), dialect) == []
    wrong = VERIFICATION | refused
    assert set(rules.faults(wrong, rules.verification(dialect), dialect)) & {*refused, "fingerScore"}


def test_the_any_readings_take_every_form() -> None:
    variants: list[dict[str, Any]] = [
        {"cardType": 0, "faceResult": 1}, {"sexCode": "02"}, {"nationalName": "汉"}, {"cardStartDate": "2019-11-30 00:00:00"},
        {"extra": 1}, {"fingerScore": None}, {},
    ]  # fmt: skip
    for variant in variants:
        assert rules.faults(VERIFICATION | variant, rules.verification(LENIENT), LENIENT) == []


def test_register_time_may_be_wanted_or_unwanted() -> None:
    given = MACHINE | {"registerTime": "2024-06-11T15:39:15.0722461"}
    for value, with_it, without in (
        ("any", [], []),
        ("required", [], ["registerTime"]),
        ("refused", ["registerTime"], []),
    ):
        dialect = Dialect(register_time=value)
        assert rules.faults(given, rules.machine(dialect), dialect) == with_it
        assert rules.faults(MACHINE, rules.machine(dialect), dialect) == without


def test_the_strict_platform_takes_the_document_s_own_form() -> None:
    with serving(dialect=STRICT) as platform:
        assert understood(HAND, platform)
        assert HAND.says(platform, VERIFY, VERIFICATION)["code"] == 200


def test_a_dialect_is_read_from_texts_and_wrong_ones_are_told_with_what_there_is() -> None:
    found = parse_dialect(["sign-encoding=base64", "window_s=0", "sign_template={time}{id}"], STRICT)
    assert (found.sign_encoding, found.window_s, found.sign_template, found.name_limit) == (
        "base64",
        0,
        "{time}{id}",
        10,
    )
    for wrong, told in (
        ("sign=hex", "sign_encoding"),
        ("padding=none", r"pkcs7 \| zero"),
        ("window_s=soon", "no number"),
    ):
        with pytest.raises(ValueError, match=told):
            parse_dialect([wrong])


def test_a_body_over_the_limit_is_not_even_read() -> None:
    with serving(dialect=Dialect(body_limit=1000)) as platform:
        platform.ledger.append({"kind": "device", "machineCode": "123456", "deviceNo": "1234567"})
        assert HAND.post(platform, VERIFY, VERIFICATION | {"headImg": JPEG * 100}).status_code == 413
        assert platform.ledger.count == 0


def test_a_ledger_file_goes_on_after_a_kill_and_holds_no_person(tmp_path: Path) -> None:
    file = tmp_path / "ledger"
    with serving(ledger=file, dialect=Dialect(repeats="refused")) as platform:
        HAND.says(platform)
        HAND.says(platform, VERIFY, VERIFICATION)
    file.write_text(file.read_text("utf-8") + '{"kind": "rec', "utf-8")
    with serving(ledger=file, dialect=Dialect(repeats="refused")) as platform:
        assert platform.ledger.count == 1
        assert HAND.says(platform, VERIFY, VERIFICATION)["msg"] == "重复请求", "it remembers across a restart"
        assert HAND.but(request_id="f" * 32).says(platform, VERIFY, VERIFICATION)["code"] == 200
        assert [line["requestId"] for line in platform.accepted()] == [REQUEST_ID, "f" * 32]
    assert not {VERIFICATION[name] for name in ("realName", "cardNo", "address")} & set(
        file.read_text("utf-8").split('"')
    )
