"""The daemon as its users meet it: killed, stopped, misconfigured, with parts missing."""

from __future__ import annotations

import contextlib
import json
import random
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from e2e_support import PATIENCE_S, Process, Site, wait_for

from agent.simulate import portraits
from drivers.simulator import cards as deck
from drivers.simulator.reader import SimulatedReader

#: The promise to systemd and to whoever types Ctrl-C.
STOP_S = 5.0


def run_under_kills(site: Site, cards: int, kills: int, seed: int) -> None:
    """Have `cards` records accepted while the daemon is killed `kills` times at random moments."""
    rng = random.Random(seed)
    moments = sorted(rng.sample(range(1, cards - 1), kills))
    patience_s = PATIENCE_S + 6.0 * cards
    with site.platform("lost-answer=7"), site.registrar(2 * cards, patience_s=8.0):
        daemon = site.daemon()
        try:
            for moment in moments:
                wait_for(
                    f"{moment} records accepted",
                    lambda wanted=moment: len(set(site.accepted())) >= wanted,  # type: ignore[misc]  # bound per turn
                    patience_s,
                )
                # Anywhere within a verification: while reading, looking, keeping or sending.
                wait_for("a random moment", _after(rng.uniform(0.0, 1.2)))
                daemon.kill()
                daemon = site.daemon()
            wait_for("all records accepted", lambda: len(set(site.accepted())) >= cards, patience_s)
            assert daemon.terminate(STOP_S) == 0
        finally:
            daemon.kill()
        # What was kept at the last moment goes out when the daemon comes back.
        with site.daemon() as last:
            wait_for("the daemon is up again", lambda: site.log().count("[I8001]") == kills + 2)
            wait_for("everything kept was accepted", lambda: site.kept() <= set(site.accepted()))
            wait_for("nothing waits any more", lambda: _nothing_waits(site))
            assert last.terminate(STOP_S) == 0
    counts = site.stats()
    assert counts["difference"] == 0
    assert counts["delivered"] == len(set(site.accepted())) >= cards
    assert site.kept() <= set(site.accepted())


def _after(seconds: float) -> Callable[[], bool]:
    started = time.monotonic()
    return lambda: time.monotonic() - started >= seconds


def waiting(site: Site) -> int:
    """Return how many records wait: for the platform or, on a machine without NTP, for the time by it."""
    counts = site.stats()
    return int(counts["ready"] + counts["held"])


def _nothing_waits(site: Site) -> bool:
    counts = site.stats()
    return not (counts["ready"] or counts["sending"] or counts["held"])


@pytest.mark.timeout(400)
def test_thirty_cards_while_killed_three_times(tmp_path: Path) -> None:
    run_under_kills(Site(tmp_path), cards=30, kills=3, seed=20)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_cards_while_killed_ten_times(tmp_path: Path) -> None:
    run_under_kills(Site(tmp_path), cards=200, kills=10, seed=21)


def topic(site: Site, name: str) -> dict[str, Any]:
    """Return what the daemon shows of one topic."""
    answer = json.loads(site.cli("status", "--json").stdout)
    found: dict[str, Any] = answer.get("topics", {}).get(name, {})
    return found


def test_a_stop_amid_an_attempt_is_no_fault_and_the_woman_is_asked_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    # Nobody sits there: the look is long.
    cv2.imwrite(str(tmp_path / "camera.png"), np.full((720, 1280, 3), 120, np.uint8))
    (card,) = deck.generate(1, 1)
    with SimulatedReader([card], [portraits.path("collins")]) as reader:
        reader.link(site.reader_link)
        with site.daemon() as daemon:
            reader.place(card)
            wait_for("the look is under way", lambda: topic(site, "desk").get("state") == "looking")
            assert daemon.terminate(STOP_S) == 0
        assert re.findall(r"\[[EW]2\d\d\d\]", site.log()) == []
        reader.lift()
        with site.daemon() as again:
            wait_for("she is asked again", lambda: topic(site, "screen").get("code") == "W1001")
            assert again.terminate(STOP_S) == 0
    assert site.stats()["accepted"] == 0


def test_no_field_of_any_card_reaches_log_state_or_ledger(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.platform(), site.registrar(2), site.daemon() as daemon:
        wait_for("both cards accepted", lambda: len(set(site.accepted())) >= 2)
        assert daemon.terminate(STOP_S) == 0
    canaries = [field.encode() for card in deck.generate(1, 2) for field in card.personal_fields()]
    assert len(canaries) >= 8
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != "camera.png":
            content = path.read_bytes()
            assert not [canary for canary in canaries if canary in content], path.name


def test_a_platform_that_is_down_at_start_gets_its_records_later(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.reader(1, 0.4), site.daemon() as daemon:
        wait_for("the card is kept", lambda: len(site.kept()) == 1)
        assert waiting(site) == 1
        with site.platform():
            wait_for("the record arrives by itself", lambda: site.kept() == set(site.accepted()))
        assert daemon.terminate(STOP_S) == 0


def test_a_missing_reader_and_camera_are_told_once_and_come_back_by_themselves(tmp_path: Path) -> None:
    site = Site(tmp_path)
    camera = tmp_path / "camera.png"
    hidden = camera.rename(tmp_path / "hidden.png")
    with site.platform(), site.daemon() as daemon:
        wait_for("the reader is missed", lambda: "[E1101]" in site.log())
        wait_for("the camera is missed", lambda: "[E2101]" in site.log())
        with site.registrar(3, patience_s=5.0):
            wait_for("a card without a camera is not verified", lambda: site.log().count("[I1003]") == 1)
            wait_for(
                "the screen says that the camera is missing", lambda: "E2101" in site.cli("status").stdout
            )
            assert site.kept() == set()
            hidden.rename(camera)
            wait_for("the camera is back", lambda: "[I2002]" in site.log())
            wait_for("the next card is kept", lambda: len(site.kept()) >= 1)
        assert site.log().count("[E1101]") == 1
        assert daemon.terminate(STOP_S) == 0


def test_an_attempt_cut_off_by_a_kill_keeps_nothing_and_is_asked_for_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    cv2.imwrite(
        str(tmp_path / "camera.png"), np.full((720, 1280, 3), 120, np.uint8)
    )  # an empty chair: it looks long
    with site.reader(1):
        with site.daemon() as daemon:
            wait_for("it looks at the camera", lambda: "正在处理，请看摄像头" in site.cli("status").stdout)
            daemon.kill()
        assert site.stats()["accepted"] == 0
        with site.daemon() as daemon:
            wait_for("it asks again", lambda: "上一次核验未完成，请重新刷卡" in site.cli("status").stdout)
            assert daemon.terminate(STOP_S) == 0
    assert site.kept() == set()


def test_a_second_daemon_on_the_same_state_refuses_to_start(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.daemon() as first:
        wait_for("the first is up", lambda: "[I8001]" in site.log())
        second = Process(["run", "--config", str(site.config)], tmp_path / "second.log")
        status = second.wait()
        second.kill()
        assert status == 75
        assert str(first.pid) in second.text()
        assert first.alive()
        assert first.terminate(STOP_S) == 0


def test_a_hanging_answer_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with socket.socket() as silent, site.reader(1, 0.4), site.daemon() as daemon:
        silent.bind(("127.0.0.1", site.port))
        silent.listen()
        wait_for("the card is kept", lambda: len(site.kept()) == 1)
        connection, _ = silent.accept()
        with connection:
            assert daemon.terminate(STOP_S) == 0
    assert waiting(site) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_daemon_stops_at_once(tmp_path: Path, number: signal.Signals) -> None:
    site = Site(tmp_path)
    with site.daemon() as daemon:
        wait_for("it is up", lambda: "[I8001]" in site.log())
        daemon.send(number)
        assert daemon.wait(STOP_S) == 0
        assert "[I8003]" in site.log()


def test_systemd_hears_of_readiness_status_watchdog_and_stop(tmp_path: Path) -> None:
    site = Site(tmp_path)
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(0.2)

        def hears(word: str) -> bool:
            with contextlib.suppress(TimeoutError):
                heard.append(listener.recv(1000).decode())
            return any(word in message for message in heard)

        settings = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        with site.daemon(settings) as daemon, site.reader(1):
            wait_for("ready", lambda: hears("READY=1"))
            wait_for("fed", lambda: hears("WATCHDOG=1"))
            wait_for("the status is the screen's line", lambda: hears("已保存，请继续登记"))
            daemon.send(signal.SIGHUP)
            wait_for("reloaded", lambda: "[I8004]" in site.log())
            assert daemon.terminate(STOP_S) == 0
            wait_for("stopping", lambda: hears("STOPPING=1"))
    assert heard[0] == "READY=1"


def test_reload_takes_over_a_good_file_and_keeps_the_old_one_for_a_bad_one(tmp_path: Path) -> None:
    site = Site(tmp_path, {"operators": {"default": None}})
    good = site.config.read_text("utf-8")
    with site.platform(), site.reader(1, 0.4), site.daemon() as daemon:
        wait_for("the record is held without an operator", lambda: "[I3002]" in site.log())
        site.config.write_text(good.replace("default: null", "default: null\n  defualt: x"), "utf-8")
        assert site.cli("reload").returncode == 78
        site.config.write_text(good.replace("default: null", "default: 演示员"), "utf-8")
        answer = site.cli("reload")
        assert answer.returncode == 0, answer.stderr
        wait_for("the record completes and leaves", lambda: site.kept() == set(site.accepted()))
        site.config.write_text(good.replace(str(site.port), "1"), "utf-8")
        refused = site.cli("reload")
        assert refused.returncode == 78
        assert "platform.base_url" in refused.stderr
        assert daemon.terminate(STOP_S) == 0


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("platform: [", r"config\.yaml:1:\d+ E6\d{3} "),
        ("lang: zh\nlangs: en\n", r"config\.yaml:2:1 E6\d{3} .*lang"),
    ],
)
def test_a_wrong_configuration_ends_with_78_and_its_position(
    tmp_path: Path, content: str, expected: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(content, "utf-8")
    process = Process(["run", "--config", str(config)], tmp_path / "out.log")
    assert process.wait() == 78
    process.kill()
    assert re.search(expected, process.text()), process.text()
    assert "Traceback" not in process.text()


def test_a_missing_configuration_ends_with_78(tmp_path: Path) -> None:
    process = Process(["run", "--config", str(tmp_path / "none.yaml")], tmp_path / "out.log")
    assert process.wait() == 78
    process.kill()
    assert re.search(r"none\.yaml:1:1 E6\d{3} ", process.text()), process.text()
