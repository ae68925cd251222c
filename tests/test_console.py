"""The HTTP server: who may ask, what is told, what is never told, how it starts and ends."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from admin_support import deliver, put
from console_support import Served, answered_later, configuration, served, serving
from e2e_support import Site, free_port, wait_for
from outbox_support import NAME, NUMBER, verification
from prometheus_client.parser import text_string_to_metric_families

from agent.clock import SystemClock
from agent.console import server
from agent.console.app import host_allowed
from agent.ownership import owning
from agent.service import running
from agent.supervisor import LoopState

STOP_S = 5.0


def metrics(one: Served) -> dict[tuple[str, ...], float]:
    """Return every sample by its name and label values."""
    families = text_string_to_metric_families(one.get("/metrics").text)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_health_is_good_only_while_every_loop_beats(tmp_path: Path) -> None:
    with served(tmp_path) as one:
        assert one.get("/healthz").json() == {"ok": True, "late": []}
        one.loops.append(LoopState("station", alive=True, late_s=3.0, restarts=0))
        one.loops.append(LoopState("uploader", alive=False, late_s=0.0, restarts=2))
        answer = one.get("/healthz")
        assert answer.status_code == 503
        assert answer.json() == {"ok": False, "late": ["station", "uploader"]}
        assert one.get("/api/state").json()["healthy"] is False
        found = metrics(one)
        assert found["kiosk_agent_loop_up", "station"] == 0
        assert found["kiosk_agent_loop_up", "console"] == 1
        assert found["kiosk_agent_loop_restarts_total", "uploader"] == 2


def test_metrics_count_what_the_outbox_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.console.figures.FRESH_S", 0.0)
    with served(tmp_path) as one:
        assert ("kiosk_agent_last_success_timestamp_seconds",) not in metrics(one)
        put(one.own, verification())
        put(one.own, verification(number="45010219900101009X"))
        deliver(one.own)
        one.board.post("reader", state="down", code="E1101")
        one.board.post("camera", state="ok")
        found = metrics(one)
    assert found["kiosk_agent_records", "ready"] == 1
    assert found["kiosk_agent_records", "delivered"] == 1
    assert found["kiosk_agent_records_accepted_total",] == 2
    assert found["kiosk_agent_ledger_difference",] == 0
    assert found["kiosk_agent_attempts",] == 1
    assert found["kiosk_agent_outbox_bytes",] > 0
    assert found["kiosk_agent_disk_free_bytes",] > 0
    assert found["kiosk_agent_oldest_waiting_seconds",] >= 0
    assert found["kiosk_agent_last_success_timestamp_seconds",] > 0
    assert found["kiosk_agent_part_up", "reader"] == 0
    assert found["kiosk_agent_part_up", "camera"] == 1


def test_a_scrape_in_a_tight_loop_asks_the_outbox_once_a_second(tmp_path: Path) -> None:
    class StandingClock(SystemClock):
        def monotonic(self) -> float:
            return 100.0

    with served(tmp_path, clock=StandingClock()) as one:
        before = metrics(one)
        put(one.own, verification())
        assert metrics(one)["kiosk_agent_records", "ready"] == before["kiosk_agent_records", "ready"] == 0


def test_nobody_is_named_anywhere(tmp_path: Path) -> None:
    with served(tmp_path) as one:
        record = put(one.own, verification())
        one.board.post("screen", state="ready", code="I3001")
        one.board.event("I3001", record=record, person=one.own.pseudonyms.of(NUMBER))
        one.board.post("last", record=record, result="failed", score=0.1)
        one.board.post("hint", reason="no_face", code="")
        one.board.event("E1101", port="/dev/reader")
        one.board.post("reader", state="down", code="E1101")
        state = one.get("/api/state")
        texts = [one.get(path).text for path in ("/healthz", "/metrics", "/api/state", "/nowhere")]
    assert state.json()["topics"]["reader"]["title"] == "未找到读卡器（/dev/reader）"
    assert state.json()["queue"]["ready"] == 1
    canaries = [NAME, NUMBER, "广西测试市", record, "p:", '"failed"', "no_face"]
    assert not [canary for canary in canaries for text in texts if canary in text]


@pytest.mark.parametrize(
    ("host", "listen", "allowed"),
    [
        ("127.0.0.1:8765", "127.0.0.1:8765", True),
        ("localhost:8765", "127.0.0.1:8765", True),
        ("LOCALHOST", "127.0.0.1:8765", True),
        ("[::1]:8765", "[::1]:8765", True),
        ("localhost:9000", "127.0.0.1:8765", True),  # through an ssh tunnel
        ("kiosk.example.cn:8765", "127.0.0.1:8765", False),
        ("127.0.0.1.example.cn", "127.0.0.1:8765", False),
        ("localhost.example.cn", "localhost:8765", False),
        ("10.0.0.5:8765", "127.0.0.1:8765", False),
        ("10.0.0.5:8765", "10.0.0.5:8765", True),
        ("10.0.0.6:8765", "10.0.0.5:8765", False),
        ("10.0.0.5:8765", "0.0.0.0:8765", True),
        ("[fd00::5]:8765", "[::]:8765", True),
        ("kiosk.example.cn", "0.0.0.0:8765", False),
        ("", "127.0.0.1:8765", False),
        ("", "0.0.0.0:8765", False),
        ("[", "0.0.0.0:8765", False),
        ("a b", "0.0.0.0:8765", False),
    ],
)
def test_only_our_own_names_are_answered(host: str, listen: str, allowed: bool) -> None:
    assert host_allowed(host, listen) is allowed


def test_a_page_elsewhere_gets_nothing(tmp_path: Path) -> None:
    with served(tmp_path) as one:
        rebound = one.get("/api/state", headers={"Host": "evil.example.cn"})
        assert rebound.status_code == 421
        assert rebound.json()["code"] == "E8402"
        plain = one.get("/api/state", headers={"Origin": "http://evil.example.cn"})
        preflight = one.request("OPTIONS", "/api/state", headers={"Origin": "http://evil.example.cn"})
        for answer in (plain, preflight, rebound, one.get("/nowhere")):
            assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "Server" not in answer.headers


def test_what_is_too_large_or_nowhere_is_refused_in_json(tmp_path: Path) -> None:
    with served(tmp_path, parts=[answered_later(threading.Event(), threading.Event())]) as one:
        assert one.get("/nowhere").json()["code"] == "E8403"
        wrong = one.request("POST", "/healthz")
        assert (wrong.status_code, wrong.json()["code"]) == (405, "E8403")
        assert "GET" in wrong.headers["Allow"]
        assert one.get("/healthz", headers={"X": "x" * 20_000}).status_code == 431
        # Announced, and never sent: the server does not wait for what it would not take.
        with socket.create_connection(one.console.address or ("", 0)) as line:
            line.sendall(b"POST /broken HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
            assert line.recv(64).startswith(b"HTTP/1.1 413")


def test_an_unexpected_fault_is_told_by_its_kind_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with served(tmp_path, parts=[answered_later(threading.Event(), threading.Event())]) as one:
        with caplog.at_level(logging.INFO):
            answer = one.request("POST", "/broken", json={"name": NAME})
        assert (answer.status_code, answer.json()["code"]) == (500, "E8404")
        assert one.get("/healthz").status_code == 200
    assert "ValueError" in answer.text
    for text in (answer.text, caplog.text):
        assert NAME not in text
        assert NUMBER not in text


def test_a_taken_port_is_told_once_and_taken_when_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "RETRY_S", 0.02)
    config = configuration(tmp_path)
    tries: list[str] = []
    attempt = server.listening_on

    def counted(listen: str) -> socket.socket:
        tries.append(listen)
        return attempt(listen)

    monkeypatch.setattr(server, "listening_on", counted)
    host, _, port = config.console.listen.rpartition(":")
    other = socket.create_server((host, int(port)))
    with owning(config, SystemClock()) as own, serving(config, own) as one:
        wait_for("it has tried again and again", lambda: len(tries) > 5)
        assert one.board.snapshot()["console"]["code"] == "E8401"
        assert one.loop.state().restarts == 0
        assert [event.code for event in one.board.events()] == ["E8401"]
        other.close()
        wait_for("it listens", one.up)
        assert one.board.snapshot()["console"]["state"] == "ok"
        assert one.get("/healthz").status_code == 200


def test_a_request_under_way_is_answered_before_the_server_ends(tmp_path: Path) -> None:
    release, entered = threading.Event(), threading.Event()
    release.set()
    answers: list[str] = []
    with served(tmp_path, parts=[answered_later(release, entered)]) as one:
        asking = threading.Thread(target=lambda: answers.append(one.get("/slow").text))
        asking.start()
        assert entered.wait(30)
        one.loop.ask_to_stop()
        asking.join(30)
    assert answers == ["done"]


def test_a_request_that_does_not_end_does_not_hold_the_server(tmp_path: Path) -> None:
    release, entered = threading.Event(), threading.Event()

    def ask(one: Served) -> None:
        with pytest.raises(requests.ConnectionError):
            one.get("/slow")

    try:
        with served(tmp_path, parts=[answered_later(release, entered)]) as one:
            asking = threading.Thread(target=ask, args=(one,))
            asking.start()
            assert entered.wait(30)
        # `served` has seen the loop end while the handler still hangs.
        asking.join(30)
        assert not asking.is_alive()
    finally:
        release.set()


def test_connections_that_say_nothing_take_no_worker(tmp_path: Path) -> None:
    with served(tmp_path) as one:
        silent = [socket.create_connection(one.console.address or ("", 0)) for _ in range(20)]
        for line in silent:
            line.sendall(b"GET /healthz HT")
        assert one.get("/healthz").status_code == 200
        for line in silent:
            line.close()


def test_where_nothing_is_to_listen_there_is_no_loop_and_no_flask(tmp_path: Path) -> None:
    config = configuration(tmp_path, {"console": {"listen": "none"}})
    with running(config, SystemClock()) as agent:
        assert "console" not in [state.name for state in agent.powers(lambda: None).loops()]
    heavy = "import agent.service, sys; print([m for m in ('flask', 'waitress', 'prometheus_client') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def status_of(url: str) -> Callable[[], int]:
    """Return a call that asks for the status, 0 while nobody listens."""

    def ask() -> int:
        try:
            with requests.Session() as session:
                session.trust_env = False
                return session.get(url, timeout=30).status_code
        except requests.ConnectionError:
            return 0

    return ask


@pytest.mark.parametrize("changes", [{}, {"reader": {"source": "none"}}], ids=["desk", "no reader"])
def test_the_daemon_answers_reloads_and_stops_with_callers_still_there(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    port = free_port()
    site = Site(tmp_path, {**changes, "console": {"listen": f"127.0.0.1:{port}"}})
    healthy = status_of(f"http://127.0.0.1:{port}/healthz")
    with site.daemon() as daemon, requests.Session() as session:
        session.trust_env = False
        wait_for("it is healthy", lambda: healthy() == 200)
        kept_alive = session.get(f"http://127.0.0.1:{port}/api/state", timeout=30)
        assert kept_alive.json()["lang"] == "zh"
        site.config.write_text(site.config.read_text("utf-8").replace("lang: zh", "lang: en"), "utf-8")
        assert site.cli("reload").returncode == 0
        assert session.get(f"http://127.0.0.1:{port}/api/state", timeout=30).json()["lang"] == "en"
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(b"GET /api/st")
            assert daemon.terminate(STOP_S) == 0
    assert "Traceback" not in site.log()
