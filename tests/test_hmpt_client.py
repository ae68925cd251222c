"""The client against the platform of the document, and against what a network can do, over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hmpt_support import APP_ID, PICTURES, SECRET, TICKET, client, config, connected
from outbox_support import verification

from agent.hmpt import transport
from agent.records import Delivered, Outcome, PlatformDown, Refused, Unknown
from agent.simulate.platform import Faults, SimulatedPlatform, parse_faults


def deliver(
    faults: Faults | None = None,
    *,
    encrypt: bool = True,
    signed: bool = True,
    secret: str = SECRET,
    **conventions: Any,
) -> tuple[Outcome, SimulatedPlatform]:
    with connected(faults, encrypt=encrypt, signed=signed, secret=secret, **conventions) as (
        speaker,
        platform,
        settings,
    ):
        one = verification()
        prepared = speaker.prepare(one, PICTURES, settings.platform.conventions)
        outcome = speaker.send(prepared)
        if isinstance(outcome, Delivered):
            (line,) = platform.accepted()
            assert line["bodySm3"] == prepared.sm3_hex
            assert line["bodyLength"] == prepared.length
            assert (
                line["requestId"].replace("-", "") == one.id or conventions.get("request_id_per") == "attempt"
            )
        return outcome, platform


@pytest.mark.parametrize("encrypt", [True, False])
@pytest.mark.parametrize("signed", [True, False])
def test_a_record_is_delivered_and_its_receipt_says_how(encrypt: bool, signed: bool) -> None:
    outcome, _ = deliver(encrypt=encrypt, signed=signed)
    assert isinstance(outcome, Delivered)
    assert outcome.receipt.code == 200
    assert outcome.receipt.signed is signed
    assert outcome.receipt.return_time is not None


@pytest.mark.parametrize(
    "conventions",
    [
        {"cipher_encoding": "hex"},
        {"cipher_encoding": "HEX"},
        {"request_id": "uuid36"},
        {"request_id_per": "attempt"},
        {"send_register_time": True},
        {"verify_answer": "required"},
        {"score_decimals": 4},
        {"content_type": "application/json"},
    ],
)
def test_conventions_that_the_document_allows_are_accepted(conventions: dict[str, Any]) -> None:
    assert isinstance(deliver(**conventions)[0], Delivered)


def test_a_secret_of_32_hex_digits_gives_its_bytes_as_the_key() -> None:
    assert isinstance(deliver(secret="00112233445566778899aabbccddeeff")[0], Delivered)


@pytest.mark.parametrize(
    "conventions",
    [{"sign_encoding": "base64"}, {"time_format": "seconds"}, {"sign_template": "{time}{id}"}, {"padding": "zero"},
     {"sm4_key": "md5"}, {"sex_width": 2}, {"nation_suffix": False}, {"types": "example"}, {"card_dates": "datetime"},
     {"body_shape": "data"}],
)  # fmt: skip
def test_conventions_that_contradict_the_document_are_noticed_by_the_platform(
    conventions: dict[str, Any],
) -> None:
    plain = "body_shape" in conventions
    outcome, platform = deliver(encrypt=not plain, **conventions)
    # An answer that is signed as the document says does not verify under a convention that differs.
    assert isinstance(outcome, Unknown if set(conventions) & {"sign_encoding", "sign_template"} else Refused)
    assert platform.accepted() == []


def test_registering_twice_is_as_good_as_once_and_the_ledger_remembers(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    for _ in range(2):
        with SimulatedPlatform(SECRET, APP_ID, TICKET, ledger) as platform:
            settings = config(platform.url)
            speaker = client(settings)
            assert isinstance(speaker.register(settings.device, "1" * 32), Delivered)
            assert isinstance(speaker.register(settings.device, "2" * 32), Delivered)
            speaker.close()
    assert ledger.read_text().count('"device"') == 1


def test_an_unregistered_device_is_refused() -> None:
    with SimulatedPlatform(SECRET, APP_ID, TICKET) as platform:
        settings = config(platform.url)
        speaker = client(settings)
        prepared = speaker.prepare(verification(), PICTURES, settings.platform.conventions)
        outcome = speaker.send(prepared)
        speaker.close()
    assert isinstance(outcome, Refused)
    assert outcome.exception_code == "A2301"


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ("lost-answer=1", Unknown, "E4105"),
        ("unavailable=1", PlatformDown, "E4201"),
        ("forge=1", Unknown, "E5003"),
        ("garbage=1", Unknown, "E5002"),
        ("refuse=1", Refused, "E5103"),
        ("html=1", PlatformDown, "E4302"),
    ],
)
def test_each_fault_of_the_platform_has_its_outcome(fault: str, kind: type[Outcome], code: str) -> None:
    outcome, _ = deliver(parse_faults([fault]))
    assert isinstance(outcome, kind)
    assert not isinstance(outcome, Delivered)
    assert outcome.code == code


def test_after_a_lost_answer_the_same_request_id_goes_again() -> None:
    with connected(Faults(lost_answer=2)) as (speaker, platform, settings):
        first = speaker.prepare(verification(), PICTURES, settings.platform.conventions)
        assert isinstance(speaker.send(first), Delivered)
        second = speaker.prepare(verification(), PICTURES, settings.platform.conventions)
        assert isinstance(speaker.send(second), Unknown)
        assert isinstance(speaker.send(second), Delivered)
        ids = [line["requestId"] for line in platform.accepted()]
        assert ids[1] == ids[2] != ids[0]


class Wire:
    """A server that answers each connection with the bytes it was told, whatever was asked."""

    def __init__(self, answer: bytes | Callable[[socket.socket], None]) -> None:
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    self._one(connection)
        except OSError:
            return

    def _one(self, connection: socket.socket) -> None:
        connection.settimeout(2)
        if callable(self._answer):
            self._answer(connection)
            return
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(
            next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")).split(
                b":"
            )[1]
        )
        while len(body) < length:
            body += connection.recv(65536)
        connection.sendall(self._answer)


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def send_to(url: str, stop: threading.Event | None = None) -> Outcome:
    settings = config(url)
    speaker = client(settings)
    try:
        return speaker.send(speaker.prepare(verification(), PICTURES, settings.platform.conventions), stop)
    finally:
        speaker.close()


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (http("302 Found", b"", "Location: http://127.0.0.1:9/steal"), PlatformDown, "E4302"),
        (http("404 Not Found"), PlatformDown, "E4302"),
        (http("401 Unauthorized", b"no ticket"), PlatformDown, "E4303"),
        (http("413 Too Large"), Refused, "E5104"),
        (http("415 No"), PlatformDown, "E4304"),
        (http("400 Bad"), Refused, "E5103"),
        (http("500 Oops", b"<html>"), Unknown, "E5001"),
        (http("502 Bad Gateway"), Unknown, "E4108"),
        (http("200 OK", b""), Unknown, "E5002"),
        (http("200 OK", "乱码".encode("gbk")), Unknown, "E5002"),
        (http("200 OK", b"x" * (2**20 + 1)), Unknown, "E5008"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"code\"", Unknown, "E4105"),
        (b"not http at all\r\n\r\n", Unknown, "E4105"),
        (http("429 Slow", b"", "Retry-After: 7"), PlatformDown, "E4201"),
    ],
)  # fmt: skip
def test_what_a_network_can_answer(answer: bytes, kind: type[Outcome], code: str) -> None:
    with Wire(answer) as url:
        outcome = send_to(url)
    assert isinstance(outcome, kind)
    assert not isinstance(outcome, Delivered)
    assert outcome.code == code
    if isinstance(outcome, PlatformDown) and code == "E4201":
        assert outcome.retry_after_s == 7.0


def test_nobody_there_is_told_as_that_after_a_second_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    outcome = send_to(f"http://127.0.0.1:{port}")
    assert isinstance(outcome, PlatformDown)
    assert outcome.code == "E4101"


def test_plain_http_behind_an_https_address_is_a_tls_fault() -> None:
    with Wire(lambda connection: connection.sendall(http("400 Bad Request"))) as url:
        outcome = send_to(url.replace("http://", "https://"))
    assert isinstance(outcome, PlatformDown)
    assert outcome.code == "E4103"


def test_a_stop_leaves_a_hanging_answer_and_calls_it_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "LEAVE_S", 0.2)
    stop, hang = threading.Event(), threading.Event()
    stop.set()

    def silent(connection: socket.socket) -> None:
        hang.wait(5)

    with Wire(silent) as url:
        outcome = send_to(url, stop)
        hang.set()
    assert outcome == Unknown("E4106", "no answer in time")


def test_the_environments_proxy_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert isinstance(deliver()[0], Delivered)


def test_nothing_secret_or_personal_shows_in_a_repr() -> None:
    settings = config("http://127.0.0.1:9")
    speaker = client(settings)
    prepared = speaker.prepare(verification(), PICTURES, settings.platform.conventions)
    speaker.close()
    shown = repr(prepared) + repr(speaker._identity) + repr(verification())
    assert SECRET not in shown
    assert TICKET not in shown
    assert "测试韦某某" not in shown
