"""What a probe calls found, the daemon can work with: both judge one answer by one set of rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hmpt_support import APP_ID, SECRET, TICKET
from hmpt_support import config as platform_config
from probe_support import Probed, probe

from agent.clock import SystemClock
from agent.hmpt import cipher
from agent.hmpt.answers import Exchange, Sent
from agent.hmpt.body import of_pieces
from agent.hmpt.client import PlatformClient
from agent.hmpt.likelihood import Guess, space
from agent.hmpt.probing import Cause
from agent.hmpt.readings import Reader, Stage
from agent.hmpt.signing import Identity
from agent.records import Delivered, Unknown
from agent.simulate.dialect import Dialect
from agent.simulate.faults import Faults
from agent.simulate.platform import SimulatedPlatform


@dataclass(frozen=True)
class Case:
    """A platform, our configuration, and what both the probe and the daemon must make of its answer."""

    dialect: dict[str, Any] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    conventions: dict[str, Any] = field(default_factory=dict)
    encrypt: bool = True
    signed_before: bool = False
    cause: Cause | None = None
    code: str = ""
    settled: dict[str, str] = field(default_factory=dict)


WHO = Identity(APP_ID, SECRET.encode(), TICKET)
UNSIGNED = {"answer_time": "unsigned"}
PLAIN = {"encryption": "off", "answer_cipher": "whole", "sm4_key": "md5"}
CASES = {
    "signed": Case(settled={"answer_time": "auto"}),
    "unsigned": Case(UNSIGNED),
    "unsigned after signed ones": Case(UNSIGNED, signed_before=True, cause=Cause.UNSIGNED, code="E5009"),
    "unsigned where required": Case(
        UNSIGNED, conventions={"verify_answer": "required"}, cause=Cause.UNSIGNED, code="E5004"
    ),
    "unsigned after signed ones, nobody looks": Case(
        UNSIGNED, signed_before=True, conventions={"verify_answer": "off"}
    ),
    "a day old": Case(faults={"stale": 1}, cause=Cause.STALE, code="E5010"),
    "a day old, in seconds": Case(
        {"time_format": "seconds"},
        {"stale": 1},
        {"time_format": "seconds"},
        cause=Cause.STALE,
        code="E5010",
    ),
    "a day old, in digits": Case(
        {"time_format": "yyyyMMddHHmmss"},
        {"stale": 1},
        {"time_format": "yyyyMMddHHmmss"},
        cause=Cause.STALE,
        code="E5010",
    ),
    "a day old, nobody looks": Case(faults={"stale": 1}, conventions={"verify_answer": "off"}),
    "forged": Case(faults={"forge": 1}, cause=Cause.ANSWER_SIGNATURE, code="E5003"),
    "forged, nobody looks": Case(faults={"forge": 1}, conventions={"verify_answer": "off"}),
    "without a request id": Case(faults={"no_id": 1}, cause=Cause.FOREIGN, code="E5005"),
    "another request's": Case(faults={"wrong_id": 1}, cause=Cause.FOREIGN, code="E5005"),
    "signs our time, which is not what is configured": Case(
        {"answer_time": "request"},
        conventions={"answer_time": "own"},
        settled={"answer_time": "auto"},
    ),
    "signs its own time, which is not what is configured": Case(
        conventions={"answer_time": "request"}, settled={"answer_time": "auto"}
    ),
    "encrypted, and not to be read": Case(
        {"answer_cipher": "whole"},
        conventions={"decrypt_answer": "off"},
        cause=Cause.GARBLED,
        code="E5002",
    ),
    "plain asked, encrypted answered by another key": Case(
        PLAIN, encrypt=False, settled={"answer_time": "auto", "sm4_key": "md5"}
    ),
    "no exceptionCode": Case({"answer_exception": "absent"}, settled={"answer_time": "auto"}),
    "exceptionCode null": Case({"answer_exception": "null"}, settled={"answer_time": "auto"}),
}


class Remembered:
    """The daemon's memory of signed answers, as it stood before."""

    def __init__(self, *, signed: bool) -> None:
        self._signed = signed

    def seen(self) -> bool:
        return self._signed

    def saw(self) -> None:
        self._signed = True


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_probe_and_the_daemon_believe_the_same_answers(case: Case) -> None:
    faults = Faults(on="all", **case.faults)
    with SimulatedPlatform(SECRET, APP_ID, TICKET, dialect=Dialect(**case.dialect), faults=faults) as there:
        probed = probe(there, encrypt=case.encrypt, signed_before=case.signed_before, **case.conventions)
        assert (probed.end.cause, probed.count) == (case.cause, 1)
        outcome = daemon_s(probed, case) if case.code != "E5005" else None
    assert probed.end.reading is not None
    if case.cause is None:
        assert isinstance(outcome, Delivered)
        assert case.settled.items() <= dict(probed.end.reading.settled).items()
    elif outcome is not None:
        assert isinstance(outcome, Unknown)
        assert outcome.code == case.code
    if case.code:
        assert probed.end.reading.doubt is not None
        assert probed.end.reading.doubt.code == case.code


def daemon_s(probed: Probed, case: Case) -> object:
    """Register by the conventions that were understood, and return what the daemon's client makes of it."""
    settings = probed.understood()
    memory = Remembered(signed=case.signed_before)
    speaker = PlatformClient(lambda: settings, WHO, SystemClock(), memory)
    try:
        return speaker.register(settings.device, "0" * 32)
    finally:
        speaker.close()


def test_answers_that_were_signed_within_one_probe_count_as_well() -> None:
    """Its refusals are signed and its acceptance is not: the daemon would doubt each receipt."""
    with SimulatedPlatform(SECRET, APP_ID, TICKET, dialect=Dialect(sign_encoding="base64")) as there:
        there.faults = Faults(on="all")
        there.order("ok", "unsigned")
        probed = probe(there)
    assert (probed.end.cause, probed.count) == (Cause.UNSIGNED, 2)


def test_what_only_the_probe_can_open_is_not_called_found() -> None:
    """Under HTTP 401 the daemon, told not to decrypt, would not even call it the platform's answer."""
    known = b'{"code": 500, "exceptionCode": "B2301", "requestId": "%s"}' % (b"a" * 32)
    settings = platform_config("http://127.0.0.1:1", decrypt_answer="off")
    base = settings.platform.conventions
    sealed = b"".join(cipher.encrypted(of_pieces([known]), SECRET.encode(), base).chunks())
    guess = Guess.configured(base, encrypt=True)
    reader = Reader.of(WHO, space(guess, SECRET.encode()), base, SystemClock().now)
    reading = reader.read(Exchange(401, {}, sealed), Sent("a" * 32, "1"), guess)
    assert reading.stage is Stage.DONE
    assert reading.doubt is not None
    assert reading.doubt.code == "E5002"
