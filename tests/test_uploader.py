"""The uploader with a real outbox and a real platform: faults, refusals, stops, and whose fault it is."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from outbox_support import damage_body, verification
from uploader_support import CLOCK, Bench, bench, platform, quick, settings

from agent.hmpt.answers import Exchange
from agent.live import Live, changed
from agent.records import Hold, Verification
from agent.simulate.platform import Faults


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)


def shown(desk: Bench) -> dict[str, Any]:
    return desk.board.snapshot().get("platform", {})


def test_the_device_is_registered_first_and_then_records_flow(tmp_path: Path) -> None:
    with platform() as there, bench(tmp_path, there.url) as desk:
        ids = [desk.put() for _ in range(5)]
        desk.until(lambda: desk.outbox.counts().delivered == 5)
        assert [line["requestId"] for line in there.accepted()] == ids
        assert there.ledger.devices() == {("SIM-0000777", "0000777")}
        assert desk.audit.count("device.registered") == 1
        desk.until(lambda: desk.audit.count("record.delivered") == 5)
        sent = desk.outbox.administration.attempts(ids[0])[0]
        assert sent.sm3 == there.accepted()[0]["bodySm3"]
        assert sent.length == there.accepted()[0]["bodyLength"]


def test_a_registration_is_remembered_over_restarts(tmp_path: Path) -> None:
    with platform() as there:
        for _ in range(2):
            with bench(tmp_path, there.url) as desk:
                desk.put()
                desk.until(lambda: desk.outbox.counts().ready == 0)
        assert desk.audit.count("device.registered") == 1


def test_lost_answers_double_with_the_same_id_and_nothing_is_missing(tmp_path: Path) -> None:
    faults = Faults(lost_answer=3, unavailable=7, garbage=5)
    with platform(faults) as there, bench(tmp_path, there.url) as desk:
        ids = {desk.put() for _ in range(20)}
        desk.until(lambda: desk.outbox.counts().delivered == 20, 60)
        seen = [line["requestId"] for line in there.accepted()]
        assert set(seen) == ids
        assert len(seen) > 20
        assert {row.request_id for row in desk.outbox.administration.receipts(50)} == ids
        assert desk.outbox.counts().difference == 0


def test_a_wrong_secret_parks_nothing_and_is_told_as_the_lanes_fault(tmp_path: Path) -> None:
    with platform(secret="another secret!!") as there, bench(tmp_path, there.url, register="never") as desk:
        for _ in range(4):
            desk.put()
        desk.until(lambda: bool({"E5102", "E5003", "E5002"} & desk.codes()))
        desk.until(lambda: desk.board.snapshot()["platform"]["state"] == "waiting")
        counts = desk.outbox.counts()
        assert counts.parked == 0
        assert counts.ready + counts.sending == 4


def test_a_refused_record_is_parked_only_after_others_passed(tmp_path: Path) -> None:
    with platform() as there, bench(tmp_path, there.url) as desk:
        # A long address goes whole (R9), and the platform's column has a hundred.
        bad = Verification.from_facts(verification().to_facts() | {"address": "路" * 101})
        lonely = desk.put(bad)
        desk.until(lambda: "E5105" in desk.codes())
        assert desk.outbox.administration.row(lonely).state in {"ready", "sending"}
        good = [desk.put() for _ in range(3)]
        desk.until(lambda: desk.outbox.administration.row(lonely).state == "parked")
        desk.until(lambda: all(desk.outbox.administration.row(one).state == "delivered" for one in good))
        assert "E5101" in desk.codes()
        desk.outbox.administration.retry(lonely)
        assert desk.outbox.counts().difference == 0


def test_what_the_platform_would_refuse_is_held_with_the_field_named_and_never_sent(tmp_path: Path) -> None:
    with platform() as there, bench(tmp_path, there.url) as desk:
        bad = Verification.from_facts(verification().to_facts() | {"birth": "19900231"})
        record = desk.put(bad)
        desk.until(lambda: desk.outbox.administration.row(record).state == "held")
        assert "birthday" in desk.outbox.administration.row(record).holds[Hold.FIELD.value]
        good = desk.put()
        desk.until(lambda: desk.outbox.administration.row(good).state == "delivered")
        assert [line["requestId"] for line in there.accepted()] == [good]


def test_a_platform_that_is_down_is_waited_for_and_found_again(tmp_path: Path) -> None:
    with platform() as reserved:
        port = int(reserved.url.rpartition(":")[2])
    with bench(tmp_path, f"http://127.0.0.1:{port}") as desk:
        record = desk.put()
        desk.until(lambda: "E4101" in desk.codes())
        assert desk.board.snapshot()["platform"]["state"] == "waiting"
        with platform(port=port):
            desk.until(lambda: desk.outbox.administration.row(record).state == "delivered")
        assert desk.board.snapshot()["platform"]["state"] == "ok"
        # One event for the whole outage, however often it was tried.
        assert [event.code for event in desk.board.events()].count("E4101") == 1


def test_a_platform_that_is_back_is_found_while_nothing_waits(tmp_path: Path) -> None:
    with platform() as reserved:
        port = int(reserved.url.rpartition(":")[2])
    url = f"http://127.0.0.1:{port}"
    with bench(tmp_path, url, register="never") as desk:
        record = desk.put()
        desk.until(lambda: "E4101" in desk.codes())
    with bench(tmp_path, url, register="never", started=False) as desk:
        desk.outbox.administration.set_aside(record, "W5107")
        desk.start()
        desk.until(lambda: shown(desk).get("next_try") is not None)
        before = shown(desk)["next_try"]
        desk.until(lambda: shown(desk)["next_try"] > before)  # still down: it is asked again
        assert shown(desk)["code"] == "E4101"
    # The daemon starts again, and the platform as well; a gateway in front of it is not the platform.
    with platform(port=port) as there, bench(tmp_path, url, register="never", started=False) as desk:
        gateway = Exchange(503, {}, b"")
        asked = iter([gateway, gateway])
        line = desk.client._line
        got, line.get = line.get, lambda stop: next(asked, None) or got(stop)  # type: ignore[method-assign]
        desk.start()
        desk.until(lambda: "E4201" in desk.codes())
        desk.until(lambda: shown(desk)["state"] == "ok")
        assert not shown(desk)["code"]
        assert there.accepted() == []
        assert there.ledger.devices() == set()


def test_what_only_a_record_can_show_is_no_alarm_while_none_waits(tmp_path: Path) -> None:
    with platform(secret="another secret!!") as there:
        with bench(tmp_path, there.url, register="never") as desk:
            record = desk.put()
            desk.until(lambda: shown(desk)["state"] == "waiting")
            fault = shown(desk)["code"]
        with bench(tmp_path, there.url, register="never", started=False) as desk:
            desk.outbox.administration.set_aside(record, "W5107")
            desk.start()
            desk.until(lambda: shown(desk).get("state") == "idle")
            told = shown(desk)
            assert (told["code"], told["next_try"], told["failed_with"]) == ("", None, fault)
            assert CLOCK.now() >= datetime.fromisoformat(told["failed_at"])
            desk.outbox.administration.retry(record)
            desk.uploader.wake()
            desk.until(lambda: shown(desk)["state"] == "waiting")


def test_a_changed_convention_applies_to_what_waits(tmp_path: Path) -> None:
    wrong = {"nation_suffix": False}
    with platform() as there, bench(tmp_path, there.url, conventions=wrong) as desk:
        record = desk.put()
        desk.until(lambda: "E5105" in desk.codes())
        desk.live.replace(settings(there.url))
        desk.until(lambda: desk.outbox.administration.row(record).state == "delivered")
        used = {row.conventions for row in desk.outbox.administration.attempts(record)}
        assert len(used) == 2


def test_a_changed_configuration_is_tried_at_once_however_long_the_lane_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.uploader.backoff.BASE_S", 10_000.0)
    monkeypatch.setattr("agent.uploader.backoff.PLATFORM_CAP_S", 10_000.0)
    monkeypatch.setattr("agent.uploader.backoff.RECORD_CAP_S", 10_000.0)
    with platform() as there, bench(tmp_path, there.url, conventions={"nation_suffix": False}) as desk:
        record = desk.put()
        desk.until(lambda: "E5105" in desk.codes())
        desk.live.replace(settings(there.url))
        desk.uploader.reconsider()
        desk.until(lambda: desk.outbox.administration.row(record).state == "delivered")


def test_a_secret_that_fits_no_convention_is_told_and_kills_nothing(tmp_path: Path) -> None:
    with platform() as there, bench(tmp_path, there.url, conventions={"sm4_key": "hex"}) as desk:
        record = desk.put()
        desk.until(lambda: "E7401" in desk.codes())
        assert desk.outbox.administration.row(record).state == "ready"
        desk.live.replace(settings(there.url))
        desk.uploader.reconsider()
        desk.until(lambda: desk.outbox.administration.row(record).state == "delivered")


def test_a_loop_that_died_over_a_record_does_not_strand_it(tmp_path: Path) -> None:
    with platform() as there, bench(tmp_path, there.url, started=False) as desk:
        record = desk.put()
        assert desk.outbox.claim(CLOCK.now()) is not None
        assert desk.outbox.administration.row(record).state == "sending"
        desk.start()
        desk.until(lambda: desk.outbox.administration.row(record).state == "delivered")


def test_a_damaged_picture_costs_its_record_alone(tmp_path: Path) -> None:
    with platform() as there:
        with bench(tmp_path, there.url, started=False) as desk:
            bad, good = desk.put(), desk.put()
        damage_body(tmp_path, "picture:camera")
        with bench(tmp_path, there.url) as desk:
            desk.until(lambda: desk.outbox.administration.row(good).state == "delivered")
            desk.until(lambda: desk.outbox.administration.row(bad).state == "quarantined")
            counts = desk.outbox.counts()
            assert (counts.quarantined, counts.difference) == (1, 0)


def test_a_slow_drain_is_kept_to_its_rate(tmp_path: Path) -> None:
    with platform() as there, bench(tmp_path, there.url, drain_per_minute=60) as desk:
        for _ in range(8):
            desk.put()
        desk.until(lambda: desk.outbox.counts().delivered >= 5)
        # Five may leave at once; at one a second the others are still there.
        assert desk.outbox.counts().delivered <= 6


def test_only_reloadable_keys_may_change(tmp_path: Path) -> None:
    old = settings("http://127.0.0.1:1")
    new = settings("http://127.0.0.1:1", conventions={"sex_width": 2}, drain_per_minute=7)
    assert changed(old, new) == ["platform.conventions.sex_width", "platform.drain_per_minute"]
    live = Live(old)
    live.replace(new)
    assert live.config() is new
    with pytest.raises(Exception, match="E8105") as refused:
        live.replace(settings("http://127.0.0.1:2"))
    assert "platform.base_url" in str(refused.value)
    assert live.config() is new
