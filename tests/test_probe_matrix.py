"""For each convention and value: the probe finds it over HTTP, and twenty records then arrive by what it found."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hmpt_support import APP_ID, JPEG, PICTURES, SECRET, TICKET, client
from outbox_support import verification
from probe_support import HEX_SECRET, Probed, probe, probe_dialect

from agent.config.schema import Config
from agent.hmpt.likelihood import Guess
from agent.hmpt.probing import Cause, Why
from agent.records import Delivered
from agent.simulate.dialect import LENIENT, LIKELY, STRICT, Dialect
from agent.simulate.faults import Faults
from agent.simulate.platform import SimulatedPlatform

RECORDS = 20
LONG_SECRET = "a secret of more than sixteen"
SMALL = dict.fromkeys(PICTURES, JPEG[:200] + JPEG[-2:])

#: What /machine/info can show: dialect of the platform, its secret, and what must be found.
PROBED: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({}, SECRET, {}),
    *[({"sign_encoding": value}, SECRET, {"sign_encoding": value}) for value in ("HEX", "base64")],
    *[({"sign_key": value}, HEX_SECRET, {"sign_key": value}) for value in ("hex", "base64")],
    *[({"sign_template": text}, SECRET, {"sign_template": text}) for text in ("{id}+{time}", "{time}{id}", "{id}&{time}")],
    *[({"time_format": form}, SECRET, {"time_format": form}) for form in ("seconds", "yyyyMMddHHmmss", "yyyy-MM-dd HH:mm:ss")],
    ({"request_id": "uuid36"}, SECRET, {"request_id": "uuid36"}),
    ({"content_type": "application/json"}, SECRET, {"content_type": "application/json"}),
    *[({"sm4_key": key}, LONG_SECRET, {"sm4_key": key}) for key in ("md5", "md5hex16", "sm3")],
    ({"sm4_key": "first16"}, HEX_SECRET, {"sm4_key": "first16"}),
    ({"sm4_key": "hex"}, HEX_SECRET, {"sm4_key": "auto"}),
    ({"padding": "zero"}, SECRET, {"padding": "zero"}),
    *[({"cipher_encoding": form}, SECRET, {"cipher_encoding": form}) for form in ("base64", "hex", "HEX")],
    ({"encryption": "off"}, SECRET, {"encrypt": False, "body_shape": "bare"}),
    ({"encryption": "off", "body_shape": "data"}, SECRET, {"encrypt": False, "body_shape": "data"}),
    ({"register_time": "required"}, SECRET, {"send_register_time": True}),
]  # fmt: skip

#: What answers may look like: nothing to find, and nothing in the way.
ANSWERS: list[dict[str, Any]] = [
    *[{"answer_time": time} for time in ("own", "request", "return_time", "unsigned")],
    *[{"answer_exception": way} for way in ("null", "absent")],
    *[{"answer_cipher": "data"}, {"answer_code": "text"}, {"answer_id": "bare", "request_id": "uuid36"}],
    *[{"answer_cipher": "whole", "answer_encoding": form} for form in ("hex", "HEX", "base64", "base64-lines", "base64url")],
]  # fmt: skip

#: What /machine/info cannot show, because it is about a person's record: set by hand, it arrives.
CONFIGURED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"types": "example"}, {"types": "example"}),
    ({"sex_width": "2"}, {"sex_width": 2}),
    ({"nation_suffix": "no"}, {"nation_suffix": False}),
    ({"card_dates": "datetime"}, {"card_dates": "datetime"}),
    ({"permanent_date": "长期"}, {"permanent_date": "长期"}),
    *[({"score_decimals": number}, {"score_decimals": number}) for number in (0, 1, 2, 4)],
    ({"cert_status": "1,2"}, {"cert_status": {"valid": 1, "expired": 2}}),
    *[({"absent_finger": way}, {"absent_finger": way}) for way in ("omit", "null")],
    ({"card_types": "9"}, {"card_types": {"R": "9"}}),
    ({"repeats": "refused"}, {"request_id_per": "attempt"}),
    ({"answer_time": "own"}, {"verify_answer": "required"}),
    ({"answer_time": "unsigned"}, {"verify_answer": "off"}),
    ({}, {"decrypt_answer": "off"}),
    ({"name_limit": 10}, {"long_name": "hold"}),
    ({"characters": "assigned"}, {"private_use": "hold"}),
    ({"name_limit": 30, "length_unit": "utf8"}, {"length_unit": "utf8"}),
]  # fmt: skip


def served(dialect: dict[str, Any], secret: str, base: Dialect = LIKELY) -> SimulatedPlatform:
    return SimulatedPlatform(secret, APP_ID, TICKET, dialect=replace(base, **dialect))


def deliver(platform: SimulatedPlatform, settings: Config, secret: str) -> None:
    """Send twenty records by these conventions and check that each arrived once."""
    speaker = client(settings, secret)
    conventions = settings.platform.conventions
    ids = [uuid.uuid4().hex for _ in range(RECORDS)]
    try:
        for one in ids:
            record = replace(verification(), id=one)
            assert speaker.problems(record, SMALL, conventions) == []
            outcome = speaker.send(speaker.prepare(record, SMALL, conventions))
            assert isinstance(outcome, Delivered), outcome
    finally:
        speaker.close()
    lines = platform.accepted()
    assert len(lines) == RECORDS
    if conventions.request_id_per == "record":
        assert [line["requestId"].replace("-", "") for line in lines] == ids


def expect(probed: Probed, secret: str, wanted: dict[str, Any]) -> Config:
    """Check what was found against what was wanted; everything else is as it was."""
    settings = probed.found()
    found = Guess.configured(settings.platform.conventions, encrypt=settings.platform.encrypt)
    before = Guess.configured(probed.settings.platform.conventions, encrypt=True)
    assert found == replace(before, **wanted)
    assert probed.count <= 40
    return settings


@pytest.mark.parametrize(("dialect", "secret", "wanted"), PROBED, ids=str)
def test_each_convention_is_found_and_records_arrive(
    dialect: dict[str, Any], secret: str, wanted: dict[str, Any]
) -> None:
    with served(dialect, secret) as platform:
        deliver(platform, expect(probe(platform, secret=secret), secret, wanted), secret)


@pytest.mark.parametrize("temper", ["vague", "alike", "http", "http500"])
@pytest.mark.parametrize(("dialect", "secret", "wanted"), PROBED, ids=str)
def test_each_convention_is_found_however_refusals_are_worded(
    dialect: dict[str, Any], secret: str, wanted: dict[str, Any], temper: str
) -> None:
    # Refused without a word and without a signature of the platform's own: too far down for forty requests.
    rare = temper == "http500" and (
        wanted.get("sign_key") == "base64" or wanted.get("sign_template") == "{id}&{time}"
    )
    with served(dialect | {"refusals": temper}, secret) as platform:
        probed = probe(platform, secret=secret)
        if rare:
            assert probed.end.cause is Cause.SECRET
        else:
            expect(probed, secret, wanted)


@pytest.mark.parametrize("dialect", ANSWERS, ids=str)
def test_whatever_answers_look_like_records_arrive(dialect: dict[str, Any]) -> None:
    with served(dialect, SECRET) as platform:
        deliver(platform, probe(platform).found(), SECRET)


@pytest.mark.parametrize(("dialect", "conventions"), CONFIGURED, ids=str)
def test_conventions_of_the_record_arrive_as_configured(
    dialect: dict[str, Any], conventions: dict[str, Any]
) -> None:
    with served(dialect, SECRET) as platform:
        probed = probe(platform, **conventions)
        assert probed.count == 1
        deliver(platform, probed.found(), SECRET)


@pytest.mark.parametrize("base", [STRICT, LENIENT], ids=["strict", "lenient"])
def test_the_strict_and_the_lenient_platform_take_what_is_sent_by_default(base: Dialect) -> None:
    with served({}, SECRET, base) as platform:
        probed = probe(platform)
        assert probed.count == 1
        deliver(platform, probed.found(), SECRET)


# --- pairwise -----------------------------------------------------------------------------------------

KNOBS: dict[str, tuple[str, ...]] = {
    "sign_encoding": ("hex", "HEX", "base64"),
    "sign_key": ("utf8", "hex", "base64"),
    "sign_template": ("{id}{time}", "{id}+{time}", "{time}{id}"),
    "time_format": ("millis", "seconds", "yyyyMMddHHmmss", "yyyy-MM-dd HH:mm:ss"),
    "request_id": ("hex32", "uuid36"),
    "content_type": ("application/json;charset=UTF-8", "application/json"),
    "sm4_key": ("hex", "first16", "md5", "md5hex16", "sm3"),
    "padding": ("pkcs7", "zero"),
    "cipher_encoding": ("base64", "hex", "HEX"),
    "register_time": ("refused", "required"),
    "answer_time": ("own", "request", "return_time"),
    "answer_cipher": ("off", "whole"),
}


def pairwise(knobs: dict[str, tuple[str, ...]]) -> Iterator[dict[str, str]]:
    """Yield rows in which every pair of values of every two knobs stands at least once; greedily."""
    names = list(knobs)
    missing = {
        ((a, x), (b, y)) for a, b in itertools.combinations(names, 2) for x in knobs[a] for y in knobs[b]
    }
    while missing:
        row = dict(min(missing))
        for name in (one for one in names if one not in row):
            row[name] = max(knobs[name], key=partial(_gain, row, missing, name))
        yield row
        missing -= set(itertools.combinations(((name, row[name]) for name in names), 2))


def _gain(row: dict[str, str], missing: set[Any], name: str, value: str) -> int:
    new = (name, value)
    return sum((pair, new) in missing or (new, pair) in missing for pair in row.items())


def test_the_rows_hold_every_pair() -> None:
    rows = list(pairwise(KNOBS))
    seen = {pair for row in rows for pair in itertools.combinations(((name, row[name]) for name in KNOBS), 2)}
    wanted = {
        ((a, x), (b, y))
        for a, b in itertools.combinations(KNOBS, 2)
        for x, y in itertools.product(KNOBS[a], KNOBS[b])
    }
    assert seen == wanted
    assert len(rows) < 50


@pytest.mark.parametrize("row", list(pairwise(KNOBS)), ids=lambda row: "-".join(row.values()))
def test_every_pair_of_conventions_is_found_and_records_arrive(row: dict[str, str]) -> None:
    with served(dict(row), HEX_SECRET) as platform:
        settings = probe(platform, secret=HEX_SECRET).found()
        conventions = settings.platform.conventions
        for name in (
            "sign_encoding",
            "sign_key",
            "sign_template",
            "time_format",
            "request_id",
            "padding",
            "cipher_encoding",
        ):
            assert getattr(conventions, name) == row[name]
        assert conventions.send_register_time is (row["register_time"] == "required")
        deliver(platform, settings, HEX_SECRET)


# --- what stands in the way ---------------------------------------------------------------------------

TEMPERS = ("named", "vague", "alike", "http", "http500")


@pytest.mark.parametrize("temper", TEMPERS)
@pytest.mark.parametrize("answers", ["own", "unsigned"])
def test_a_wrong_secret(temper: str, answers: str) -> None:
    dialect = Dialect(refusals=temper, answer_time=answers)
    probed = probe_dialect(dialect, theirs=SECRET, ours="Wrong0Secret0000")
    assert probed.end.cause is Cause.SECRET
    if answers == "own" and temper != "http500":
        assert probed.count <= 5, "their own signature tells that the secret is wrong"


@pytest.mark.parametrize("temper", TEMPERS)
def test_a_wrong_clock_with_its_skew(temper: str) -> None:
    for skew in (3600.0, -7200.0):
        with served({"refusals": temper, "cipher_encoding": "hex"}, SECRET) as platform:
            platform.faults = Faults(skew=skew)
            probed = probe(platform)
            assert probed.end.cause is Cause.CLOCK
            assert probed.end.reading is not None
            assert probed.end.reading.skew_s == pytest.approx(skew, abs=30)
            assert probed.end.guess is not None
            assert probed.end.guess.cipher_encoding == "hex", "found all the same"
            assert probe(platform, correct_skew=True).end.cause is None


@pytest.mark.parametrize("temper", ["named", "http"])
@pytest.mark.parametrize("refusal", ["json", "http"])
def test_a_wrong_ticket(temper: str, refusal: str) -> None:
    probed = probe_dialect(Dialect(refusals=temper, ticket_refusal=refusal), ticket="another")
    assert probed.end.cause is Cause.TICKET
    assert probed.count <= 3


def test_a_signature_refused_by_a_bare_401_is_not_taken_for_the_ticket() -> None:
    dialect = Dialect(refusals="http401", ticket_refusal="http", sign_encoding="base64")
    probed = probe_dialect(dialect)
    assert Why.BAD_TICKET in [attempt.why for attempt, _ in probed.steps]
    assert probed.end.cause is None
    assert probed.end.guess is not None
    assert probed.end.guess.sign_encoding == "base64"
    assert probe_dialect(dialect, ticket="another").end.cause is Cause.TICKET


def test_a_ticket_that_lacks_its_prefix() -> None:
    with SimulatedPlatform(SECRET, APP_ID, "Bearer abc", dialect=Dialect(cipher_encoding="hex")) as platform:
        probed = probe(platform, ticket="abc")
    assert probed.end.cause is Cause.TICKET_PREFIX
    assert probed.end.guess is not None
    assert probed.end.guess.cipher_encoding == "hex"


def test_an_unknown_organisation() -> None:
    assert probe_dialect(app_id="ORG-ANOTHER").end.cause is Cause.ORG


def test_a_device_whose_values_are_refused() -> None:
    for temper in TEMPERS:
        probed = probe_dialect(
            Dialect(refusals=temper, unknown_fields="ignored", length_unit="utf8", register_time="refused")
        )
        assert probed.end.cause is None
        with served({"refusals": temper, "sign_encoding": "base64"}, SECRET) as platform:
            platform.ledger.full = lambda: True  # type: ignore[method-assign]  # the one refusal of good values there is
            probed = probe(platform)
        assert probed.end.cause is Cause.VALUES
        assert probed.end.guess is not None
        assert probed.end.guess.sign_encoding == "base64", "what it understood is told"


@pytest.mark.parametrize(
    ("fault", "cause", "most"),
    [
        ("missing", Cause.ADDRESS, 1), ("redirect", Cause.ADDRESS, 1), ("html", Cause.PAGE, 1), ("limited", Cause.LOCK, 1),
        ("unavailable", Cause.BUSY, 1), ("gateway", Cause.BUSY, 1), ("unauthorized", Cause.TICKET, 3), ("lost_answer", Cause.SILENCE, 2),
        ("reset", Cause.SILENCE, 2), ("truncated", Cause.SILENCE, 2), ("cut_request", Cause.SILENCE, 2), ("huge", Cause.SILENCE, 2),
        ("garbage", Cause.GARBLED, 2), ("empty", Cause.GARBLED, 2), ("charset", Cause.GARBLED, 2), ("wrong_id", Cause.FOREIGN, 1),
        ("no_id", Cause.FOREIGN, 1), ("stale", Cause.STALE, 1), ("forge", Cause.ANSWER_SIGNATURE, 1), ("undecipherable", Cause.SECRET, 5),
    ],
)  # fmt: skip
def test_what_else_stands_in_the_way(fault: str, cause: Cause, most: int) -> None:
    with served({}, SECRET) as platform:
        platform.faults = Faults(on="all", **{fault: 1})
        probed = probe(platform)
    assert probed.end.cause is cause
    assert probed.count <= most


@pytest.mark.parametrize(
    ("fault", "cause", "most"),
    [
        ("unauthorized", Cause.TICKET, 3), ("forbidden", Cause.TICKET, 3), ("missing", Cause.ADDRESS, 1),
        ("limited", Cause.LOCK, 1), ("unavailable", Cause.BUSY, 1),
    ],
)  # fmt: skip
def test_a_bus_that_words_its_errors_as_json_is_no_platform_either(
    fault: str, cause: Cause, most: int
) -> None:
    with served({"errors": "json"}, SECRET) as platform:
        platform.faults = Faults(on="all", **{fault: 1})
        probed = probe(platform)
    assert probed.end.cause is cause
    assert probed.count <= most


@pytest.mark.parametrize("fault", ["bom", "slow"])
def test_what_does_not_stand_in_the_way(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Slow beside an answer's usual time, and far from its limit on a busy machine.
    monkeypatch.setattr("agent.simulate.platform.DRIP_S", 0.001)
    with served({}, SECRET) as platform:
        platform.faults = Faults(on="all", **{fault: 1})
        assert probe(platform).end.cause is None


def test_a_dead_network_and_a_name_that_nobody_knows() -> None:
    with served({}, SECRET) as platform:
        pass
    probed = probe(platform)
    assert (probed.end.cause, probed.count) == (Cause.NETWORK, 1)
    assert probed.end.reading is not None
    assert probed.end.reading.code == "E4101"


def test_not_one_request_more_after_a_lock() -> None:
    with served({"sign_encoding": "base64"}, SECRET) as platform:
        platform.faults = Faults(lock_after=1)
        probed = probe(platform)
        assert (probed.end.cause, platform.requests) == (Cause.LOCK, 2)


def test_no_more_than_the_limit_is_asked() -> None:
    with served({"refusals": "http500", "sign_template": "{id}##{time}"}, SECRET) as platform:
        probed = probe(platform)
        assert (probed.end.cause, platform.requests) == (Cause.SECRET, 40)
        platform.requests = 0
        probe(platform, limit=7)
        assert platform.requests == 7


def test_an_own_clock_that_nobody_minds_is_no_obstacle() -> None:
    with served({"window_s": 0, "sign_encoding": "base64"}, SECRET) as platform:
        platform.faults = Faults(skew=7200)
        probed = probe(platform)
    assert probed.end.cause is None
    assert Why.OWN_CLOCK in [attempt.why for attempt, _ in probed.steps]
