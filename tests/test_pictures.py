"""The process that looks at pictures: real children, killed, stopped, driven mad, out of work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from intake_support import picture
from pictures_support import HOSTILE_MARK as MARK
from pictures_support import hostile
from vision_support import until

from agent import images
from agent.board import Board
from agent.catalogue import AgentError
from agent.clock import SystemClock
from agent.simulate import portraits
from agent.vision.pictures import Pictures
from agent.vision.spawning import spawned
from drivers.errors import PhotoError

BOUND = 2_000_000
PHOTO = cv2.imencode(".png", portraits.live("collins"))[1].tobytes()


@contextmanager
def looking(
    command: Sequence[str] = (), limit_s: float = 60.0, work_s: float = 60.0
) -> Iterator[tuple[Pictures, Board]]:
    board = Board(SystemClock())
    pictures = Pictures(SystemClock(), board, command=command, limit_s=limit_s, work_s=work_s)
    try:
        yield pictures, board
    finally:
        pictures.close()


def told(board: Board) -> list[str]:
    return [event.code for event in board.events()]


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def started(pictures: Pictures) -> psutil.Process:
    """Return the process of these pictures, started."""
    before = children()
    pictures.accepted(PHOTO, BOUND)
    (pid,) = children() - before
    return psutil.Process(pid)


def test_what_comes_back_is_what_the_library_makes_of_it() -> None:
    jpeg = images.encode(portraits.live("hopper"), 200_000, 200_000)
    grey = cv2.imencode(".png", np.full((126, 102, 3), 7, np.uint8))[1].tobytes()
    with looking() as (pictures, board):
        assert pictures.accepted(jpeg, BOUND) == jpeg
        assert pictures.accepted(PHOTO, 60_000) == images.accepted(PHOTO, 60_000)
        assert pictures.smaller(jpeg, 0.4) == images.smaller(jpeg, 0.4)
        assert pictures.encoded(PHOTO, 50_000, BOUND) == images.encode(images.decode(PHOTO), 50_000, BOUND)
        assert pictures.one_colour(grey)
        assert not pictures.one_colour(PHOTO)
        assert told(board) == []


@pytest.mark.parametrize("data", [b"", b"GIF89a", PHOTO[:5000], b"BM" + bytes(60), os.urandom(2**16)])
def test_what_is_no_picture_is_refused_as_by_the_library(data: bytes) -> None:
    with looking() as (pictures, board):
        with pytest.raises(PhotoError, match="E1303") as here:
            images.accepted(data, BOUND)
        with pytest.raises(PhotoError, match="E1303") as there:
            pictures.accepted(data, BOUND)
        assert there.value.facts == here.value.facts
        with pytest.raises(AgentError, match="E2501"):
            pictures.accepted(PHOTO, 100)
        assert pictures.accepted(PHOTO, BOUND)
        assert told(board) == [], "all that without the death of anybody"


def test_an_exception_of_the_library_is_no_picture_either() -> None:
    with looking(hostile("raise MemoryError")) as (pictures, board):
        with pytest.raises(PhotoError, match="E1303"):
            pictures.accepted(MARK, BOUND)
        assert pictures.accepted(PHOTO, BOUND)
        assert told(board) == []


def test_many_ask_at_once_and_each_gets_its_own() -> None:
    shown = [picture(seed, side=40 + seed) for seed in range(24)]
    with looking() as (pictures, _), ThreadPoolExecutor(6) as hands:
        assert list(hands.map(lambda one: pictures.accepted(one, BOUND), shown)) == shown


def test_one_that_was_killed_meanwhile_is_replaced() -> None:
    with looking() as (pictures, board):
        for _ in range(3):
            one = started(pictures)
            one.kill()
            one.wait()
        assert pictures.accepted(PHOTO, BOUND)
        assert told(board) == [], "nobody had asked it anything"


def test_a_question_outlives_the_process_that_was_asked() -> None:
    with looking() as (pictures, board), ThreadPoolExecutor(1) as hand:
        one = started(pictures)
        one.suspend()
        answer = hand.submit(pictures.accepted, PHOTO, BOUND)
        until(pictures._turn.locked)
        one.kill()
        assert answer.result() == images.accepted(PHOTO, BOUND)
        assert told(board) == []


def test_a_picture_that_ends_every_process_is_refused_and_others_are_not() -> None:
    with looking(hostile("os.kill(os.getpid(), signal.SIGSEGV)")) as (pictures, board):
        assert pictures.accepted(PHOTO, BOUND)
        with pytest.raises(PhotoError, match="E1303") as refused:
            pictures.accepted(MARK, BOUND)
        assert refused.value.facts == {"reason": "it ended the process that decoded it, 2 times"}
        assert pictures.accepted(PHOTO, BOUND)
        with pytest.raises(PhotoError, match="E1303"):
            pictures.accepted(MARK, BOUND)
        assert told(board) == ["W2307"], "once a minute, however often it was tried"


def test_one_that_speaks_nonsense_is_ended() -> None:
    with looking(hostile("os.write(3, bytes([255]) * 100); time.sleep(600)")) as (pictures, board):
        one = started(pictures)
        with pytest.raises(PhotoError, match="E1303"):
            pictures.accepted(MARK, BOUND)
        until(lambda: not one.is_running())
        assert told(board) == ["W2307"]


def test_one_that_falls_silent_and_stays_is_ended() -> None:
    with looking(hostile("os.close(3); time.sleep(600)")) as (pictures, board):
        one = started(pictures)
        with pytest.raises(PhotoError, match="E1303"):
            pictures.accepted(MARK, BOUND)
        until(lambda: not one.is_running())
        assert pictures.accepted(PHOTO, BOUND)
        assert told(board) == ["W2307"]


def test_a_picture_that_keeps_the_processor_busy_is_at_fault_itself() -> None:
    with looking(hostile("while True: pass"), limit_s=60.0, work_s=0.02) as (pictures, board):
        one = started(pictures)
        pictures._limit_s = 1.0
        with pytest.raises(PhotoError, match="E1303") as refused:
            pictures.accepted(MARK, BOUND)
        assert refused.value.facts == {"reason": "decoding it took more than 0.02 s"}
        until(lambda: not one.is_running())
        assert told(board) == []


def test_no_answer_in_time_says_nothing_of_the_picture() -> None:
    with looking() as (pictures, board):
        one = started(pictures)
        one.suspend()
        pictures._limit_s = 0.5
        with pytest.raises(AgentError, match="E2307"):
            pictures.accepted(PHOTO, BOUND)
        until(lambda: not one.is_running())
        pictures._limit_s = 60.0
        assert pictures.accepted(PHOTO, BOUND)
        assert told(board) == ["E2307"]


def test_whoever_waits_behind_another_picture_does_not_wait_for_ever() -> None:
    with looking() as (pictures, board), ThreadPoolExecutor(1) as hand:
        one = started(pictures)
        one.suspend()
        first = hand.submit(pictures.accepted, PHOTO, BOUND)
        until(pictures._turn.locked)
        pictures._limit_s = 0.2
        with pytest.raises(AgentError, match="E2307"):
            pictures.accepted(PHOTO, BOUND)
        one.resume()
        assert first.result()
        assert told(board) == ["E2307"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [(["/nowhere/python"], "No such file or directory"), (["/bin/false"], "it ended with status 1")],
)
def test_one_that_cannot_be_started_is_ours_to_mend(command: list[str], reason: str) -> None:
    with looking(command) as (pictures, board):
        with pytest.raises(AgentError, match="E2308") as failed:
            pictures.accepted(PHOTO, BOUND)
        assert failed.value.facts == {"reason": reason}
        assert told(board) == ["E2308"]
        assert not pictures.one_colour(PHOTO), "the desk goes on"


def test_nobody_asks_any_more_and_it_goes_without_a_trace() -> None:
    idle = [sys.executable, "-c", "import agent.vision.picture_child as c; c.IDLE_S = 0.01; c.main()"]
    with looking(idle) as (pictures, board):
        before = children()
        for _ in range(4):
            assert pictures.accepted(PHOTO, BOUND)
            until(lambda: not children() - before)  # not even as a zombie
        assert told(board) == []


def test_one_that_just_went_by_itself_is_no_death(tmp_path: Path) -> None:
    """Asked in the moment in which it leaves it answers nothing: that says nothing, however often it happens."""
    met = tmp_path / "met"
    met.touch()
    leaving = f"n = len(open({str(met)!r}).read()); open({str(met)!r}, 'a').write('x'); n < 4 and os._exit(0)"
    with looking(hostile(leaving)) as (pictures, board):
        assert pictures.accepted(PHOTO + MARK, BOUND)
        assert met.read_text() == "xxxxx"
        assert told(board) == []


def test_the_end_of_the_daemon_ends_a_question_and_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[list[str]] = []

    def counted(command: list[str]) -> subprocess.Popen[bytes]:
        starts.append(command)
        return spawned(command)

    monkeypatch.setattr("agent.vision.pictures.spawned", counted)
    with looking() as (pictures, board), ThreadPoolExecutor(1) as hand:
        one = started(pictures)
        one.suspend()
        answer = hand.submit(pictures.accepted, PHOTO, BOUND)
        until(pictures._turn.locked)
        pictures.close()
        with pytest.raises(AgentError, match="E2308"):
            answer.result()
        until(lambda: not one.is_running())
        with pytest.raises(AgentError, match="E2308"):
            pictures.accepted(PHOTO, BOUND)
        assert len(starts) == 1, "nobody is started for a daemon that ends"
        assert told(board) == []


ORPHAN = """
import sys, threading
from pathlib import Path
from agent.clock import SystemClock
from agent.vision.pictures import Pictures
from agent.vision.spawning import spawned
pictures = Pictures(SystemClock())
pictures.accepted(Path(sys.argv[1]).read_bytes(), 2_000_000)
print(pictures._child._process.pid, flush=True)
threading.Event().wait()
"""


def test_it_does_not_outlive_a_daemon_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(PHOTO)
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(tmp_path / "photo.png")], stdout=subprocess.PIPE
    ) as daemon:
        assert daemon.stdout is not None
        orphan = psutil.Process(int(daemon.stdout.readline()))
        daemon.send_signal(signal.SIGKILL)
    until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE)


def test_threads_are_not_left_waiting() -> None:
    before = threading.active_count()
    with looking() as (pictures, _):
        pictures.accepted(PHOTO, BOUND)
    until(lambda: threading.active_count() <= before)
