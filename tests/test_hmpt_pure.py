"""Signature, cipher, rendering and judging against the document's vectors, and against anything at all."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hmpt_support import APP_ID, JPEG, PICTURES, SECRET
from hypothesis import given
from hypothesis import strategies as st
from outbox_support import START, verification

from agent.catalogue import AgentError
from agent.config.schema import Conventions
from agent.hmpt import answers, checks, cipher, conventions, render, signing
from agent.hmpt.answers import Exchange, Sent, Terms
from agent.hmpt.body import Body, gathered, of_pieces
from agent.hmpt.codes import NATIONS
from agent.records import (
    About,
    Delivered,
    FaceResult,
    FaceVerdict,
    Finger,
    PictureKind,
    PlatformDown,
    Refused,
    Unknown,
)
from drivers.card import CardKind

DEFAULT = Conventions()
WHO = signing.Identity(APP_ID, SECRET.encode(), "ticket")
TIME = "1718091794408"
SIGNATURE = "34d63f827c987013ce3d8f00b96782c290bbfaee4e027a1a0994586f773b7f2c"


def body(content: bytes) -> Body:
    return of_pieces([content])


def joined(one: Body) -> bytes:
    return b"".join(one.chunks())


# --- signature and keys: vectors that five implementations agree on ----------------------------------


@pytest.mark.parametrize(
    ("secret", "knobs", "expected"),
    [
        (SECRET, {}, SIGNATURE),
        (SECRET, {"sign_encoding": "HEX"}, SIGNATURE.upper()),
        (SECRET, {"sign_encoding": "base64"}, base64.b64encode(bytes.fromhex(SIGNATURE)).decode()),
        ("00112233445566778899aabbccddeeff", {}, "ae82b95d49b40d985788c726db1859461ba8f75104398a4a0a8fbabdb00a45ce"),
        ("00112233445566778899aabbccddeeff", {"sign_key": "hex"},
         "7a4cd1531e70df9386d695be0a6c848789ea77de4c553478a581bde3f6fd10c2"),
    ],
)  # fmt: skip
def test_the_signature_vectors(secret: str, knobs: dict[str, Any], expected: str) -> None:
    who = signing.Identity(APP_ID, secret.encode(), "")
    assert signing.sign(Conventions(**knobs), who, TIME) == expected


def test_the_five_headers() -> None:
    made = signing.headers(DEFAULT, WHO, "a" * 32, TIME)
    assert made == {
        "hmpt-portal-sign": SIGNATURE,
        "hmpt-portal-time": TIME,
        "hmpt-portal-request-id": "a" * 32,
        "hmpt-portal-org-app-id": APP_ID,
        "Authorization": "ticket",
        "Content-Type": "application/json;charset=UTF-8",
    }


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({}, "1718091794408"),
        ({"time_format": "seconds"}, "1718091794"),
        ({"time_format": "yyyyMMddHHmmss"}, "20240611154314"),
        ({"time_format": "yyyy-MM-dd HH:mm:ss"}, "2024-06-11 15:43:14"),
    ],
)
def test_the_forms_of_the_time_are_beijings(knobs: dict[str, Any], expected: str) -> None:
    now = datetime(2024, 6, 11, 7, 43, 14, 408000, tzinfo=timezone.utc)
    assert conventions.time_text(Conventions(**knobs), now) == expected


@pytest.mark.parametrize(
    ("secret", "rule", "expected"),
    [
        (b"Kx7pQ2mZ9sR4tV1w", "auto", b"Kx7pQ2mZ9sR4tV1w"),
        (b"00112233445566778899aabbccddeeff", "auto", bytes.fromhex("00112233445566778899aabbccddeeff")),
        (b"a secret of some other length", "auto", b"a secret of some"),
        (b"00112233445566778899aabbccddeeff", "first16", b"0011223344556677"),
        (b"abc", "md5", bytes.fromhex("900150983cd24fb0d6963f7d28e17f72")),
        (b"abc", "md5hex16", b"3cd24fb0d6963f7d"),
        (b"abc", "sm3", bytes.fromhex("66c7f0f462eeedd9d1f2d46bdc10e4e2")),
    ],
)
def test_the_cipher_keys(secret: bytes, rule: Any, expected: bytes) -> None:
    assert conventions.sm4_key(Conventions(sm4_key=rule), secret) == expected


@pytest.mark.parametrize(
    ("secret", "rule"), [(b"short", "auto"), (b"xx", "hex"), (b"\xff" * 32, "hex"), (b"x" * 15, "utf8")]
)
def test_a_secret_that_gives_no_key_is_told(secret: bytes, rule: Any) -> None:
    with pytest.raises(AgentError, match="E7401"):
        conventions.sm4_key(Conventions(sm4_key=rule), secret)


def test_a_fingerprint_changes_with_every_convention() -> None:
    marks = {conventions.fingerprint(DEFAULT, encrypt=flag) for flag in (True, False)}
    marks.add(conventions.fingerprint(Conventions(padding="zero"), encrypt=True))
    marks.add(conventions.fingerprint(Conventions(substitutes={"address": "x"}), encrypt=True))  # type: ignore[arg-type]  # pydantic takes a mapping
    assert len(marks) == 4


# --- cipher -----------------------------------------------------------------------------------------


def test_the_cipher_vectors() -> None:
    sealed = cipher.encrypted(body('{"realName":"韦某某"}'.encode()), SECRET.encode(), DEFAULT)
    assert json.loads(joined(sealed))["data"] == "Z57n4WeB/jw1yD62pnas4HnQQnXn7qzzjUn9ZrBWurg="
    in_hex = Conventions(cipher_encoding="hex")
    full = json.loads(joined(cipher.encrypted(body(b"0123456789abcdef"), SECRET.encode(), in_hex)))["data"]
    assert full == "1f9171599c640521ff4b6bd415a37b39d4257388f16aaa32eaf6f62bbfe3bb1e"
    key = bytes.fromhex("00112233445566778899aabbccddeeff")
    assert (
        json.loads(joined(cipher.encrypted(body(b""), key, in_hex)))["data"]
        == "a82679f39b30ef738000b5421e005672"
    )
    text = json.loads(joined(cipher.encrypted(body("test中文".encode()), b"1234567812345678", in_hex)))[
        "data"
    ]
    assert text == "7c6c77552ae2ed7dbdc1e4bb2bc91726"


chunked = st.lists(st.binary(max_size=100), max_size=6)


@given(chunked, st.sampled_from(["base64", "hex", "HEX"]), st.sampled_from(["pkcs7", "zero"]))
def test_what_is_encrypted_has_its_announced_length_and_comes_back(
    pieces: list[bytes], encoding: Any, padding: Any
) -> None:
    plain = b"".join(pieces) + b"}"
    knobs = Conventions(cipher_encoding=encoding, padding=padding)
    sealed = cipher.encrypted(of_pieces([*pieces, b"}"]), SECRET.encode(), knobs)
    sent = joined(sealed)
    assert len(sent) == sealed.length
    text = json.loads(sent)["data"]
    for form in (text, text[:7] + "\r\n" + text[7:], text.replace("+", "-").replace("/", "_").rstrip("=")):
        assert cipher.decrypted(form, SECRET.encode()) == plain


@given(st.text(max_size=200))
def test_any_ciphertext_is_decrypted_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        cipher.decrypted(text, SECRET.encode())


# --- rendering --------------------------------------------------------------------------------------


def rendered(change: dict[str, Any] | None = None, **knobs: Any) -> dict[str, Any]:
    one = replace(verification(), **(change or {}))
    sent: dict[str, Any] = json.loads(joined(render.render(one, PICTURES, Conventions(**knobs))))
    return sent


def test_a_body_by_the_tables() -> None:
    sent = rendered()
    pictures = {name: base64.b64decode(sent.pop(name)) for name in ("headImg", "cameraImg")}
    assert pictures == {"headImg": PICTURES[PictureKind.CARD], "cameraImg": PICTURES[PictureKind.CAMERA]}
    assert sent == {
        "realName": "测试韦某某",
        "cardType": "0",
        "cardNo": "45010219900101004X",
        "sexCode": "2",
        "sexName": "女",
        "nationalCode": "08",
        "nationalName": "壮族",
        "operationUser": "测试员",
        "birthday": "1990-01-01",
        "address": "广西测试市测试路一号",
        "police": "测试市公安局",
        "cardStartDate": "2020-01-01",
        "cardEndDate": "2040-01-01",
        "faceScore": 0.95,
        "faceResult": "1",
        "verifyDate": "2026-03-01",
        "verifyTime": "2026-03-01 09:00:00",
        "certTimeoutStatus": 0,
        "deviceNo": "0000777",
        "machineCode": "SIM-0000777",
    }


FAILED = FaceVerdict(FaceResult.FAILED, cosine=0.1, score=0.137)
UNVERIFIED = FaceVerdict(FaceResult.NOT_VERIFIED, reason="no_face")


@pytest.mark.parametrize(
    ("change", "knobs", "expected"),
    [
        ({}, {"types": "example"}, {"cardType": 0, "faceResult": 1}),
        ({}, {"sex_width": 2}, {"sexCode": "02", "sexName": "女"}),
        ({}, {"nation_suffix": False}, {"nationalName": "壮"}),
        ({"nation_code": ""}, {"substitutes": {"nation_code": "01"}}, {"nationalCode": "01", "nationalName": "汉族"}),
        ({"nation_code": "97"}, {"substitutes": {"nation_code": "97", "nation_name": "其他"}}, {"nationalName": "其他"}),
        ({"address": ""}, {"substitutes": {"address": "无"}}, {"address": "无"}),
        ({"issuer": ""}, {"substitutes": {"police": "无"}}, {"police": "无"}),
        ({}, {"card_dates": "datetime"}, {"cardStartDate": "2020-01-01 00:00:00", "birthday": "1990-01-01"}),
        ({"valid_until": "长期"}, {}, {"cardEndDate": "-", "certTimeoutStatus": 0}),
        ({"valid_until": "长期"}, {"permanent_date": "9999-12-31"}, {"cardEndDate": "9999-12-31"}),
        ({"valid_until": "20260228"}, {}, {"certTimeoutStatus": 1}),
        ({"valid_until": "20260301"}, {}, {"certTimeoutStatus": 0}),
        ({"valid_until": "20200101"}, {"cert_status": {"expired": 9}}, {"certTimeoutStatus": 9}),
        ({"face": FAILED}, {}, {"faceResult": "0", "faceScore": 0.13}),
        ({"face": FAILED}, {"score_decimals": 3}, {"faceScore": 0.137}),
        ({"face": UNVERIFIED}, {}, {"faceResult": "2", "faceScore": 0}),
        ({}, {"absent_finger": "null"}, {"fingerCollectImg": None, "fingerScore": None, "fingerResult": None}),
        ({"finger": Finger(0.5, 1)}, {}, {"fingerScore": 0.5, "fingerResult": 1}),
        ({"card_kind": CardKind.HMT_PERMIT}, {}, {"cardType": "1"}),
        ({"card_kind": CardKind.FOREIGNER_2023}, {"card_types": {"Y": "9"}}, {"cardType": "9"}),
        ({"number": " 45010219900101004x "}, {}, {"cardNo": "45010219900101004X"}),
        ({"newest_address": "新址"}, {}, {"address": "广西测试市测试路一号"}),
        ({"newest_address": "新址"}, {"address": "newest"}, {"address": "新址"}),
        ({"name": "A" * 60}, {}, {"realName": "A" * 60}),
        ({"verified_at": START.replace(hour=23)}, {}, {"verifyTime": "2026-03-02 07:00:00", "verifyDate": "2026-03-02"}),
    ],
)  # fmt: skip
def test_every_convention_of_the_body(
    change: dict[str, Any], knobs: dict[str, Any], expected: dict[str, Any]
) -> None:
    sent = rendered(change, **knobs)
    assert {name: sent[name] for name in expected} == expected


def test_a_plain_body_may_be_wrapped() -> None:
    wrapped = render.shaped(body(b"{}"), Conventions(body_shape="data"))
    assert joined(wrapped) == b'{"data":{}}'
    assert wrapped.length == 11


def problems(change: dict[str, Any] | None = None, pictures: Any = None, **knobs: Any) -> list[str]:
    one = replace(verification(), **(change or {}))
    found = checks.problems(one, PICTURES if pictures is None else pictures, Conventions(**knobs), 3_000_000)
    return sorted({problem.field for problem in found})


@pytest.mark.parametrize(
    ("change", "knobs", "expected"),
    [
        ({}, {}, []),
        ({"nation_code": ""}, {}, ["nationalCode", "nationalName"]),
        ({"nation_code": "97"}, {}, ["nationalCode", "nationalName"]),
        ({"address": ""}, {}, ["address"]),
        ({"operator": " "}, {}, ["operationUser"]),
        ({"operator": "一二三四五六七八九十一"}, {}, ["operationUser"]),
        ({"operator": "一二三四"}, {"length_unit": "utf8"}, ["operationUser"]),
        ({"operator": "一二三四五"}, {"length_unit": "gbk"}, []),
        ({"birth": "19900231"}, {}, ["birthday"]),
        ({"valid_until": ""}, {}, ["cardEndDate"]),
        ({"sex_code": "9"}, {}, ["sexCode"]),
        ({"card_kind": CardKind.UNKNOWN}, {}, ["cardType"]),
        ({"name": "A" * 11}, {}, []),
        ({"name": "A" * 11}, {"long_name": "hold"}, ["realName"]),
        ({"name": "韦\ue863"}, {}, []),
        ({"name": "韦\ue863"}, {"private_use": "hold"}, ["realName"]),
        ({"name": "韦\ud800"}, {}, ["realName"]),
    ],
)  # fmt: skip
def test_what_the_platform_would_refuse_is_found_before(
    change: dict[str, Any], knobs: dict[str, Any], expected: list[str]
) -> None:
    assert problems(change, **knobs) == expected


def test_bad_pictures_are_found_before() -> None:
    assert problems(pictures={}) == ["cameraImg", "headImg"]
    assert problems(pictures=PICTURES | {PictureKind.CARD: b"BM"}) == ["headImg"]
    huge = JPEG[:3] + bytes(2_250_000) + JPEG[-2:]
    assert problems(pictures=PICTURES | {PictureKind.CAMERA: huge}) == ["cameraImg"]


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(words, words, st.binary(max_size=5000), st.sampled_from(sorted(NATIONS)))
def test_any_record_renders_to_json_of_the_announced_length(
    name: str, address: str, picture: bytes, nation: str
) -> None:
    one = replace(verification(), name=name, address=address, nation_code=nation)
    made = render.render(one, {PictureKind.CARD: picture, PictureKind.CAMERA: JPEG}, DEFAULT)
    sent = joined(made)
    assert len(sent) == made.length
    assert joined(made) == sent
    parsed = json.loads(sent)
    assert parsed["realName"] == render.trimmed(name)
    assert base64.b64decode(parsed["headImg"]) == picture


def test_a_large_body_is_never_held_whole() -> None:
    pictures = {
        kind: JPEG[:3] + bytes(2_000_000) + JPEG[-2:] for kind in (PictureKind.CARD, PictureKind.CAMERA)
    }
    sealed = cipher.encrypted(render.render(verification(), pictures, DEFAULT), SECRET.encode(), DEFAULT)
    assert max(len(chunk) for chunk in sealed.chunks()) < 128 * 1024


# --- judging ----------------------------------------------------------------------------------------

SENT = Sent("a" * 32, TIME)
TERMS = Terms(DEFAULT, WHO, SECRET.encode())


def answer(status: int = 200, headers: dict[str, str] | None = None, **fields: Any) -> Exchange:
    content = {
        "code": 200,
        "msg": "ok",
        "exceptionCode": "00000",
        "requestId": SENT.request_id,
        "returnTime": 1,
        **fields,
    }
    return Exchange(status, headers or {}, json.dumps(content).encode())


def bus(status: int) -> Exchange:
    """Return an error of something before the platform, in JSON of its own."""
    return Exchange(status, {}, json.dumps({"code": status, "message": "no", "data": None}).encode())


def signed(at: datetime) -> dict[str, str]:
    """Return the headers of an answer that was signed at a time."""
    time = str(int(at.timestamp() * 1000))
    return {"hmpt-portal-sign": signing.sign(DEFAULT, WHO, time), "hmpt-portal-time": time}


def judged(exchange: Exchange, **knobs: Any) -> Any:
    return answers.judge(exchange, SENT, replace(TERMS, conventions=Conventions(**knobs)), START)


@pytest.mark.parametrize("code", [200, "200"])
def test_200_and_its_text_are_success(code: object) -> None:
    assert isinstance(judged(answer(code=code)), Delivered)


@pytest.mark.parametrize("code", [200.0, True, "200.0", None, 0, [200], "OK"])
def test_nothing_else_is(code: object) -> None:
    assert not isinstance(judged(answer(code=code)), Delivered)


@pytest.mark.parametrize(
    ("exchange", "knobs", "kind", "code"),
    [
        (answer(exceptionCode=None), {}, Delivered, ""),
        (answer(requestId=("a" * 8 + "-" + "a" * 24).upper()), {}, Delivered, ""),
        (answer(requestId="b" * 32), {}, Unknown, "E5005"),
        (answer(requestId=None), {}, Unknown, "E5005"),
        (answer(exceptionCode="A2301"), {}, Unknown, "E5007"),
        (answer(status=500), {}, Unknown, "E5007"),
        (answer(code=500, exceptionCode="A2301"), {}, Refused, "E5103"),
        (answer(code=500, exceptionCode="B0001"), {}, Unknown, "E5006"),
        (answer(status=401, code=401, exceptionCode=None), {}, Refused, "E5103"),
        (answer(), {"verify_answer": "required"}, Unknown, "E5004"),
        (answer(headers={"hmpt-portal-sign": "0" * 64, "hmpt-portal-time": TIME}), {}, Unknown, "E5003"),
        (answer(headers={"hmpt-portal-sign": "0" * 64}), {"verify_answer": "off"}, Delivered, ""),
        (answer(headers={"hmpt-portal-sign": SIGNATURE, "hmpt-portal-time": TIME}), {"verify_answer": "required"}, Unknown, "E5010"),
        (answer(headers=signed(START)), {"verify_answer": "required"}, Delivered, ""),
        (answer(headers=signed(START - timedelta(days=2))), {"verify_answer": "off"}, Delivered, ""),
        (answer(code=500, exceptionCode=None), {}, Unknown, "E5011"),
        (answer(code=500, exceptionCode=None, msg="签名错误"), {}, Refused, "E5103"),
        (Exchange(200, {}, b'{"code": 500, "code": 200, "requestId": "' + SENT.request_id.encode() + b'"}'), {}, Unknown, "E5002"),
        (answer(headers={"hmpt-portal-sign": SIGNATURE.upper()}), {"verify_answer": "required"}, Delivered, ""),
        (answer(headers={"hmpt-portal-sign": SIGNATURE}), {"answer_time": "own"}, Unknown, "E5003"),
        (Exchange(200, {}, b"\xef\xbb\xbf" + answer().body), {}, Delivered, ""),
        (Exchange(200, {}, b'{"code": NaN}'), {}, Unknown, "E5002"),
        (bus(401), {}, PlatformDown, "E4303"),
        (bus(403), {}, PlatformDown, "E4303"),
        (bus(404), {}, PlatformDown, "E4302"),
        (bus(413), {}, Refused, "E5104"),
        (bus(415), {}, PlatformDown, "E4304"),
        (bus(429), {}, PlatformDown, "E4201"),
        (bus(500), {}, Unknown, "E5001"),
        (bus(502), {}, Unknown, "E4108"),
        (bus(503), {}, PlatformDown, "E4201"),
        (answer(status=401, code=401, requestId="b" * 32), {}, Unknown, "E5005"),
        (answer(status=429, code=429, requestId="b" * 32), {"verify_answer": "required"}, PlatformDown, "E4201"),
        (answer(code=429), {}, PlatformDown, "E4201"),
        (answer(code=503, exceptionCode="B0001"), {}, PlatformDown, "E4201"),
        (answer(code=429, requestId="b" * 32), {}, Unknown, "E5005"),
        (answer(status=503), {}, Unknown, "E5007"),
        (answer(code=415, exceptionCode="A2301"), {}, PlatformDown, "E4304"),
        (answer(status=415, code=500), {}, PlatformDown, "E4304"),
        (Exchange(200, {}, b"[" * 100_000), {}, Unknown, "E5002"),
    ],
)  # fmt: skip
def test_the_classes_of_answers(exchange: Exchange, knobs: dict[str, Any], kind: type, code: str) -> None:
    outcome = judged(exchange, **knobs)
    assert isinstance(outcome, kind)
    assert getattr(outcome, "code", "") == code


@pytest.mark.parametrize("code", [200, 500, "B2301"])
def test_b2301_is_registered_under_whatever_code_it_comes(code: object) -> None:
    known = answer(code=code, exceptionCode="B2301", headers=signed(START))
    outcome = answers.judge(known, replace(SENT, registers=True), TERMS, START)
    assert isinstance(outcome, Delivered)
    assert (outcome.receipt.exception_code, outcome.receipt.signed) == ("B2301", True)
    assert not isinstance(judged(known), Delivered), "of a record it says nothing"
    forged = answer(code=code, exceptionCode="B2301", headers={"hmpt-portal-sign": "0" * 64})
    assert isinstance(answers.judge(forged, replace(SENT, registers=True), TERMS, START), Unknown)


def test_an_answer_signed_days_ago_is_doubted_however_its_time_is_written() -> None:
    old = START - timedelta(days=2)
    for form in FORMS:
        written = conventions.time_text(Conventions.model_validate({"time_format": form}), old)
        assert conventions.written_time(written) == (form, old)
        headers = {"hmpt-portal-sign": signing.sign(DEFAULT, WHO, written), "hmpt-portal-time": written}
        assert judged(answer(headers=headers)) == Unknown("E5010", "48 h")


def test_without_a_time_of_its_own_an_answer_is_as_old_as_what_it_signs() -> None:
    old = int((START - timedelta(days=2)).timestamp() * 1000)
    for over, code in ((SENT.time, ""), (str(old), "E5010")):
        headers = {"hmpt-portal-sign": signing.sign(DEFAULT, WHO, over)}
        assert getattr(judged(answer(headers=headers, returnTime=old)), "code", "") == code
    assert isinstance(judged(answer(returnTime=old)), Delivered), "unsigned, it says nothing of the time"


FORMS = ("millis", "seconds", "yyyyMMddHHmmss", "yyyy-MM-dd HH:mm:ss")
moments = st.datetimes(datetime(2002, 1, 1), datetime(2200, 1, 1), timezones=st.just(timezone.utc))  # noqa: DTZ001 -- bounds


@given(
    moments, st.sampled_from(FORMS), st.text(max_size=20) | st.from_regex(r"[0-9 :-]{10,19}", fullmatch=True)
)
def test_a_written_time_is_read_back_and_anything_else_is_none(
    moment: datetime, form: str, other: str
) -> None:
    found = conventions.written_time(
        conventions.time_text(Conventions.model_validate({"time_format": form}), moment)
    )
    assert found is not None
    assert found[0] == form
    assert abs(found[1] - moment) <= timedelta(seconds=1)
    read = conventions.written_time(other)
    assert read is None or read[0] in FORMS


def test_a_platform_that_asks_for_patience_in_its_own_json_is_given_it() -> None:
    wait = {"retry-after": "7"}
    for busy in (answer(status=429, code=429, headers=wait), answer(code=429, headers=wait)):
        outcome = judged(busy)
        assert isinstance(outcome, PlatformDown)
        assert outcome.retry_after_s == 7.0
    too_large = judged(answer(code=413, exceptionCode="A2301"))
    assert isinstance(too_large, Refused)
    assert too_large.about is About.SIZE


def test_an_encrypted_answer_is_read_unless_that_is_off() -> None:
    sealed = Exchange(
        200,
        {},
        joined(cipher.encrypted(body(answer().body), SECRET.encode(), Conventions(cipher_encoding="hex"))),
    )
    assert isinstance(judged(sealed), Delivered)
    assert isinstance(judged(sealed, decrypt_answer="off"), Unknown)


@given(st.integers(100, 599), st.binary(max_size=300), st.dictionaries(st.sampled_from(["hmpt-portal-sign", "retry-after", "date"]), st.text(max_size=40)))  # fmt: skip
def test_any_answer_is_judged_and_never_taken_for_a_receipt(
    status: int, content: bytes, headers: dict[str, str]
) -> None:
    outcome = answers.judge(Exchange(status, headers, content), SENT, TERMS, START)
    assert not isinstance(outcome, Delivered)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("code", "msg", "exceptionCode", "requestId", "returnTime", "data"), json_values
        ),
    )
)
def test_any_json_answer_without_our_request_id_is_no_receipt(fields: dict[str, Any]) -> None:
    outcome = judged(Exchange(200, {}, json.dumps(fields).encode()))
    assert isinstance(outcome, Unknown | Refused | PlatformDown)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", 7.0), ("0", 1.0), ("99999999", 86400.0), ("soon", None), ("", None),
     ("Sun, 01 Mar 2026 01:00:30 GMT", 30.0), ("Sun, 01 Mar 2020 01:00:30 GMT", 1.0)],
)  # fmt: skip
def test_retry_after_in_both_forms_within_bounds(text: str, expected: float | None) -> None:
    assert answers.retry_after_s(Exchange(503, {"retry-after": text}, b""), START) == expected


def test_a_retry_after_date_is_measured_by_the_platforms_own_clock() -> None:
    headers = {"retry-after": "Sun, 01 Mar 2026 09:00:30 GMT", "date": "Sun, 01 Mar 2026 09:00:00 GMT"}
    assert answers.retry_after_s(Exchange(503, headers, b""), START) == 30.0
    assert answers.skew_s(Exchange(200, headers, b""), TERMS, START) == timedelta(hours=8).total_seconds()
    ahead = answer(headers=headers, returnTime=int(START.timestamp() * 1000) + 1500)
    assert answers.skew_s(ahead, TERMS, START) == pytest.approx(1.5)
    assert answers.skew_s(Exchange(200, {}, b""), TERMS, START) is None


def test_what_the_platform_echoes_of_the_person_is_not_kept() -> None:
    outcome = judged(answer(code=500, exceptionCode="A2301", msg="姓名测试韦某某有误"))
    cleaned = answers.without(("测试韦某某", "广西"), outcome)
    assert isinstance(cleaned, Refused)
    assert cleaned.message == "姓名#有误"


def test_the_platforms_text_is_shown_without_what_could_name_a_person() -> None:
    shown = answers.safe("参数错误\x00\x1b[31m 45010219900101004X\n" + "x" * 900)
    assert "450102" not in shown
    assert shown.isprintable()
    assert len(shown) <= 200


# --- any record under any conventions ----------------------------------------------------------------

knob_sets = st.fixed_dictionaries(
    {
        "long_name": st.sampled_from(["send", "hold"]),
        "length_unit": st.sampled_from(["chars", "utf8", "gbk"]),
        "types": st.sampled_from(["table", "example"]),
        "sex_width": st.sampled_from([1, 2]),
        "nation_suffix": st.booleans(),
        "card_dates": st.sampled_from(["date", "datetime"]),
        "permanent_date": st.sampled_from(["-", "长期", "9999-12-31"]),
        "score_decimals": st.integers(0, 6),
        "absent_finger": st.sampled_from(["omit", "null"]),
        "private_use": st.sampled_from(["send", "hold"]),
        "address": st.sampled_from(["printed", "newest"]),
    }
)
anything = st.text(max_size=30)
dates = st.one_of(st.dates().map(lambda day: f"{day:%Y%m%d}"), st.just("长期"), anything)
people = st.fixed_dictionaries(
    {
        "name": anything,
        "number": anything,
        "sex_code": st.sampled_from(["0", "1", "2", "9", ""]),
        "nation_code": st.one_of(st.sampled_from([*NATIONS, "97", ""]), anything),
        "birth": dates,
        "address": anything,
        "newest_address": st.none() | anything,
        "issuer": anything,
        "valid_from": dates,
        "valid_until": dates,
        "operator": anything,
        "card_kind": st.sampled_from(CardKind),
        "face": st.builds(
            FaceVerdict, st.sampled_from(FaceResult), score=st.none() | st.floats(-0.5, 1.5) | st.just(float("nan"))
        ),
        "finger": st.none() | st.builds(Finger, st.floats(-0.5, 1.5), st.integers(-1, 3)),
    }
)  # fmt: skip


# Mostly sound, so that the rules below are tried and not only the checks before them.
written = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12).map(
    lambda text: f"某{text}"
)
days = st.dates().map(lambda day: f"{day:%Y%m%d}")
sound_people = st.fixed_dictionaries(
    {
        "name": written,
        "number": st.sampled_from(["45010219900101004X", "45010219900101004x ", "HMT1234567"]),
        "sex_code": st.sampled_from(["1", "2"]),
        "nation_code": st.sampled_from(sorted(NATIONS)),
        "birth": days,
        "address": written,
        "newest_address": st.none() | written,
        "issuer": written,
        "valid_from": days,
        "valid_until": days | st.just("长期"),
        "operator": st.sampled_from(["测试员", " a ", "十个字以内的名字啊", "eleven characters"]),
        "card_kind": st.sampled_from([kind for kind in CardKind if kind is not CardKind.UNKNOWN]),
        "face": st.builds(FaceVerdict, st.sampled_from(FaceResult), score=st.floats(0, 1)),
        "finger": st.none() | st.builds(Finger, st.floats(0, 1), st.integers(0, 2)),
    }
)


@given(sound_people, knob_sets)
def test_what_has_no_problem_keeps_every_rule_of_the_table(
    person: dict[str, Any], knobs: dict[str, Any]
) -> None:
    one, site = replace(verification(), **person), Conventions(**knobs)
    if checks.problems(one, PICTURES, site, 3_000_000):
        return
    checks.oddities(one, site)
    made = render.render(one, PICTURES, site)
    raw = joined(made)
    assert len(raw) == made.length
    sent = json.loads(raw)
    example = site.types == "example"
    assert str(sent["cardType"]) in {"0", "1", "2", "9"}
    assert isinstance(sent["cardType"], int if example else str)
    assert isinstance(sent["faceResult"], int if example else str)
    assert (sent["sexCode"], sent["sexName"]) in {
        ("1".zfill(site.sex_width), "男"),
        ("2".zfill(site.sex_width), "女"),
    }
    assert sent["nationalName"] == NATIONS[sent["nationalCode"]] + "族" * site.nation_suffix
    assert 0 <= sent["faceScore"] <= 1
    assert b"e-" not in raw.partition(b'"faceScore":')[2][:12]
    assert datetime.strptime(sent["birthday"], "%Y-%m-%d").replace(tzinfo=timezone.utc).year > 0
    assert sent["verifyTime"].startswith(sent["verifyDate"])
    for name in ("realName", "cardNo", "address", "police", "operationUser", "cardStartDate", "cardEndDate"):
        assert sent[name].strip()
        assert not any(ord(character) < 32 for character in sent[name])
    assert len(sent["cardNo"]) <= 18
    assert len(sent["operationUser"]) <= 10
    if site.long_name == "hold":
        assert len(sent["realName"]) <= 10
    if one.finger is not None:
        assert sent["fingerResult"] in {0, 1, 2}
    else:
        assert ("fingerScore" in sent) is (site.absent_finger == "null")


@given(people, knob_sets)
def test_no_record_makes_a_check_fall_over_or_tell_a_value(
    person: dict[str, Any], knobs: dict[str, Any]
) -> None:
    one = replace(verification(), **person)
    marked = replace(one, name="\ue000" + "廿" * 40 + one.name, address="卅" * 120, issuer="卌" * 120)
    said = [
        *(
            f"{problem.field} {problem.reason}"
            for problem in checks.problems(marked, {}, Conventions(**knobs), 1)
        ),
        *checks.oddities(marked, Conventions(**knobs)),
    ]
    assert said
    assert not any(character in text for text in said for character in "廿卅卌\ue000")


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(1, 25))
def test_small_pieces_leave_together_and_large_ones_as_they_are(chunks: list[bytes], size: int) -> None:
    pieces = list(gathered(chunks, size))
    assert b"".join(pieces) == b"".join(chunks)
    assert all(pieces)
    for before, after in itertools.pairwise(pieces):
        assert len(before) >= size or len(after) >= size  # never two small ones in a row
    large = [chunk for chunk in chunks if len(chunk) >= size]
    assert [piece for piece in pieces if any(piece is chunk for chunk in large)] == large
