"""Faults of the simulated platform, seen on a bare socket: what comes back, and what stands in the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from platform_support import APP_ID, PLAIN, SECRET, TICKET, VERIFICATION, VERIFY, Hand, mac

from agent.cli.main import cli
from agent.simulate import faults as fault_names
from agent.simulate import ledger as ledgers
from agent.simulate.faults import Faults, Schedule, parse_faults
from agent.simulate.platform import SimulatedPlatform

HAND = Hand(cipher_key=None)


@pytest.fixture
def platform() -> Iterator[SimulatedPlatform]:
    with SimulatedPlatform(SECRET, APP_ID, TICKET, dialect=PLAIN) as one:
        HAND.says(one)
        yield one


def received(platform: SimulatedPlatform, fault: str) -> tuple[bytes, bytes, int]:
    """Return head and body of what came back, and how many records were taken."""
    platform.order(fault)
    head, _, body = HAND.raw(platform).partition(b"\r\n\r\n")
    return head, body, platform.ledger.count


STATUSES = {
    "unauthorized": 401, "forbidden": 403, "missing": 404, "redirect": 302, "too_large": 413, "limited": 429,
    "unavailable": 503, "error": 500,
}  # fmt: skip


@pytest.mark.parametrize("name", STATUSES)
def test_statuses_come_from_in_front_of_the_platform(platform: SimulatedPlatform, name: str) -> None:
    head, body, count = received(platform, name)
    assert head.startswith(f"HTTP/1.1 {STATUSES[name]} ".encode())
    assert b'"code"' not in body
    assert count == 0
    assert (b"Retry-After: 1" in head) == (name in {"limited", "unavailable"})
    assert (b"Location: " in head) == (name == "redirect")


def test_retry_after_as_a_date(platform: SimulatedPlatform) -> None:
    platform.faults = Faults(limited=1, retry_after=60, retry_after_date=1)
    head = HAND.raw(platform)
    assert b"Retry-After: " in head
    assert b" GMT\r\n" in head.split(b"Retry-After: ")[1]


@pytest.mark.parametrize(
    ("name", "exception"), [("refuse", "A2301"), ("system", "B0001"), ("duplicate", "A2301")]
)
def test_refusals_to_order(platform: SimulatedPlatform, name: str, exception: str) -> None:
    _, body, count = received(platform, name)
    assert (json.loads(body)["code"], json.loads(body)["exceptionCode"], count) == (500, exception, 0)


def test_a_silent_refusal_says_well_and_keeps_nothing(platform: SimulatedPlatform) -> None:
    _, body, count = received(platform, "silent")
    assert (json.loads(body)["code"], count) == (200, 0)


def test_pages_in_the_platform_s_place_before_and_after_the_record_was_taken(
    platform: SimulatedPlatform,
) -> None:
    for number, (name, count) in enumerate({"html": 0, "html_after": 1}.items()):
        head, body, taken = received(platform, name)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert body.startswith(b"<!DOCTYPE html>")
        assert taken == count, number


@pytest.mark.parametrize("name", ["reset", "cut_request"])
def test_resets(platform: SimulatedPlatform, name: str) -> None:
    platform.order(name)
    with pytest.raises(ConnectionResetError):
        HAND.raw(platform, content=VERIFICATION | {"address": "长" * 100})
    assert platform.ledger.count == (1 if name == "reset" else 0)


def test_an_answer_is_lost_cut_or_late_when_the_record_is_already_taken(platform: SimulatedPlatform) -> None:
    assert received(platform, "lost_answer") == (b"", b"", 1)
    head, body, count = received(platform, "truncated")
    length = int(head.split(b"Content-Length: ")[1].split(b"\r")[0])
    assert (len(body), count) == (length // 2, 2)
    _, body, count = received(platform, "slow")
    assert (json.loads(body)["code"], count) == (200, 3)
    platform.order("hang")
    headers, content = HAND.request(VERIFICATION)
    with requests.Session() as session, pytest.raises(requests.ReadTimeout):
        session.post(platform.url + VERIFY, data=content, headers=headers, timeout=0.5)
    assert platform.ledger.count == 4


BODIES: dict[str, Any] = {
    "garbage": lambda body: body == b"{broken",
    "empty": lambda body: body == b"",
    "huge": lambda body: len(body) > 2**22 and body.strip().startswith(b"{"),
    "charset": lambda body: "核验".encode("gbk") in body,
    "bom": lambda body: body.startswith(b"\xef\xbb\xbf{"),
    "wrong_id": lambda body: json.loads(body)["requestId"] != HAND.request_id,
    "no_id": lambda body: "requestId" not in json.loads(body),
    "undecipherable": lambda body: set(json.loads(body)) == {"data"},
    "contradict": lambda body: (
        (json.loads(body)["code"], json.loads(body)["exceptionCode"]) == (200, "A2301")
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_spoilt_answer_comes_after_the_record_was_taken(platform: SimulatedPlatform, name: str) -> None:
    head, body, count = received(platform, name)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert BODIES[name](body)
    assert count == 1


def test_bad_gateway_comes_after_the_record_was_taken(platform: SimulatedPlatform) -> None:
    head, _, count = received(platform, "gateway")
    assert (head[9:12], count) == (b"502", 1)


def header(head: bytes, name: str) -> str | None:
    found = [
        line.partition(b": ")[2] for line in head.split(b"\r\n") if line.startswith(name.encode() + b":")
    ]
    return found[0].decode() if found else None


def test_forged_stale_and_missing_signatures(platform: SimulatedPlatform) -> None:
    def signature(fault: str) -> tuple[str | None, str | None, bool]:
        head, _, _ = received(platform, fault)
        time, found = header(head, "hmpt-portal-time"), header(head, "hmpt-portal-sign")
        return time, found, found == mac(f"{APP_ID}{time}", SECRET.encode()).hex()

    now, _, right = signature("ok")
    assert right
    assert not signature("forge")[2]
    then, _, right = signature("stale")
    assert right
    assert int(now or 0) - int(then or 0) > 86_000_000
    assert signature("unsigned")[:2] == (None, None)


def test_every_fault_that_can_be_ordered_is_tried_here() -> None:
    tried = {*STATUSES, *BODIES, "refuse", "system", "duplicate", "silent", "html", "html_after", "reset"}
    tried |= {
        "cut_request",
        "lost_answer",
        "truncated",
        "slow",
        "hang",
        "gateway",
        "forge",
        "stale",
        "unsigned",
    }
    assert tried == set(fault_names.NAMES)


def test_a_lock_after_bad_signatures_holds_for_the_good_ones_too(platform: SimulatedPlatform) -> None:
    platform.faults = Faults(lock_after=3, lock_s=1e6)
    bad = HAND.but(sign_key=b"wrong")
    assert [bad.says(platform)["msg"] for _ in range(4)][:3] == ["签名错误"] * 3
    assert "锁定" in HAND.says(platform)["msg"]
    platform.faults = Faults()
    assert HAND.says(platform)["exceptionCode"] == "B2301"


def test_down_is_down_for_everything(platform: SimulatedPlatform) -> None:
    platform.faults = Faults(down=1)
    assert HAND.post(platform).status_code == 503
    assert HAND.post(platform, VERIFY, VERIFICATION).status_code == 503


def test_faults_befall_what_they_are_meant_for_and_every_nth() -> None:
    schedule = Schedule()
    on_records = Faults(reset=2, refuse=3)
    due = [schedule.next(on_records, record=True) for _ in range(6)]
    assert due == [set(), {"reset"}, {"refuse"}, {"reset"}, set(), {"reset", "refuse"}]
    assert schedule.next(Faults(reset=1), record=False) == set()
    assert schedule.next(Faults(reset=1, on="registrations"), record=False) == {"reset"}
    assert schedule.next(Faults(reset=1, on="registrations"), record=True) == set()
    assert schedule.next(Faults(reset=1, on="all"), record=True) == {"reset"}


def test_orders_come_first_one_after_the_other_and_are_bounded() -> None:
    schedule = Schedule()
    schedule.order("reset", "ok", "garbage")
    assert [schedule.next(Faults(), record=True) for _ in range(4)] == [{"reset"}, set(), {"garbage"}, set()]
    with pytest.raises(ValueError, match="no fault"):
        schedule.order("fire")
    with pytest.raises(ValueError, match="more than"):
        schedule.order(*["ok"] * (fault_names.MAX_ORDERS + 1))


def test_faults_are_read_and_wrong_ones_refused() -> None:
    assert parse_faults(["lost-answer=3", "delay=0.5", "on=all"]) == Faults(
        lost_answer=3, delay=0.5, on="all"
    )
    for wrong in ("lost=1", "on=sundays", "reset=often"):
        with pytest.raises(ValueError, match=r"no fault 'lost'|on: there are|invalid literal"):
            parse_faults([wrong])


def test_memory_is_bounded_however_long_a_rehearsal_lasts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, bound in (("MAX_LINES", 50), ("MAX_IDS", 40), ("MAX_DEVICES", 5)):
        monkeypatch.setattr(ledgers, name, bound)
    for path in (None, tmp_path / "ledger"):
        ledger = ledgers.Ledger(path)
        for number in range(200):
            ledger.append({"kind": "record", "requestId": f"{number:032x}"})
        ledger.append({"kind": "device", "machineCode": "1", "deviceNo": "2", "status": 1})
        assert (ledger.count, len(ledger._ids)) == (200, 40)
        assert len(ledger.records()) == (49 if path is None else 200)
        assert ledger.accepted(f"{199:032x}")
        assert not ledger.accepted(f"{1:032x}")
        assert ledger.devices() == {("1", "2")}
        assert not ledger.enabled(("1", "2"))
        assert not ledger.full()
        ledger.close()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (["--fault", "fire=1"], "fire"), (["--dialect", "sign=hex"], "sign"), (["--device", "no colon"], "no colon"),
        (["--ledger", "/nowhere/at/all"], "--ledger"), (["--port", "TAKEN"], "地址已被占用"),
    ],
)  # fmt: skip
def test_wrong_options_of_the_command_are_usage_errors(
    platform: SimulatedPlatform, option: list[str], told: str, tmp_path: Path
) -> None:
    from agent.simulate import site

    config = site.build(
        tmp_path / "site",
        site.Credentials.made_up(),
        base_url="http://127.0.0.1:1",
        reader_port="auto",
        camera="none",
    )
    arguments = [
        "simulate",
        "platform",
        "--config",
        str(config),
        "--port",
        "0",
        "--ledger",
        str(tmp_path / "ledger"),
    ]
    taken = platform.url.rpartition(":")[2]
    chosen = [taken if one == "TAKEN" else one for one in option]
    result = CliRunner().invoke(cli, [*arguments, "--lang", "zh", *chosen])
    assert result.exit_code == 2
    assert told in result.output
