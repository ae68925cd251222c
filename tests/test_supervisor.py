"""Loops: restarted when they die, reported, late only beyond what they declared."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone

import pytest

from agent import supervisor as supervisor_module
from agent.board import MAX_EVENTS, Board
from agent.clock import SystemClock
from agent.heartbeat import GRACE_S, Heartbeat
from agent.supervisor import Loop, Supervisor


class HandClock:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=timezone.utc) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def quick_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "RESTART_PAUSES_S", (0.01,))


def test_a_silent_loop_is_late_after_the_grace_and_not_before() -> None:
    clock = HandClock()
    heartbeat = Heartbeat("x", clock)
    heartbeat.beat()
    clock.seconds += GRACE_S
    assert heartbeat.late_s() == 0.0
    clock.seconds += 1
    assert heartbeat.late_s() == pytest.approx(1.0)


def test_a_declared_silence_is_not_late_but_outstaying_it_is() -> None:
    clock = HandClock()
    heartbeat = Heartbeat("x", clock)
    with heartbeat.silence(55):
        clock.seconds += 55 + GRACE_S
        assert heartbeat.late_s() == 0.0
        clock.seconds += 2
        assert heartbeat.late_s() == pytest.approx(2.0)
    assert heartbeat.late_s() == 0.0


@pytest.mark.usefixtures("quick_restarts")
def test_a_loop_that_dies_is_restarted_and_told() -> None:
    clock = SystemClock()
    board, runs, up = Board(clock), [], threading.Event()

    def work(_heartbeat: Heartbeat, stop: threading.Event) -> None:
        runs.append(1)
        if len(runs) < 3:
            raise OSError("the device is gone")
        up.set()
        stop.wait()

    loop = Loop("station", work, clock, board)
    loop.start()
    assert up.wait(5)
    assert loop.restarts == 2
    told = [event for event in board.events() if event.code == "E8101"]
    assert [event.facts["cause"] for event in told] == ["OSError", "OSError"]
    loop.ask_to_stop()
    assert loop.join(5)


def test_a_hung_loop_makes_the_whole_unhealthy_and_is_named_when_stopping() -> None:
    clock = HandClock()
    release = threading.Event()

    def hangs(_heartbeat: Heartbeat, _stop: threading.Event) -> None:
        release.wait()

    loop = Loop("uploader", hangs, clock, Board(clock))
    whole = Supervisor([loop])
    whole.start()
    assert whole.healthy()
    clock.seconds += GRACE_S + 1
    assert not whole.healthy()
    assert whole.stop(SystemClock(), within_s=0.05) == ["uploader"]
    release.set()
    assert loop.join(5)


def test_the_board_keeps_the_latest_state_and_a_bounded_list() -> None:
    board = Board(SystemClock())
    board.post("reader", state="down", code="E1101")
    board.post("reader", state="ok")
    assert board.snapshot()["reader"]["state"] == "ok"
    assert "code" not in board.snapshot()["reader"]
    for number in range(MAX_EVENTS + 5):
        board.event("I1001", number=number)
    events = board.events()
    assert len(events) == MAX_EVENTS
    assert events[-1].facts["number"] == str(MAX_EVENTS + 4)
    assert board.events(after=events[-2].number) == events[-1:]
