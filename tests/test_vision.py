"""The vision process: real child, real camera files, killed, starved, orphaned."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vision_support import card, need_weights, picture, still, until, vision

from agent import images
from agent.catalogue import AgentError
from agent.clock import SystemClock
from agent.config.schema import Camera, Face, Images
from agent.face import engine
from agent.records import FaceResult
from agent.simulate import portraits
from agent.vision.camera import LiveCamera
from agent.vision.observe import Observer, Seen, encoded
from agent.vision.preview import preview
from agent.vision.process import CameraState, Observation, Vision
from agent.vision.protocol import MAX_HEADER, WINDOW_S, BrokenStream, Decoder, Message
from drivers.camera import Frame, View

AS_SENT = partial(encoded, limits=Images())

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
messages = st.builds(
    Message,
    st.text(min_size=1, max_size=10),
    st.dictionaries(st.text(max_size=5), json_values, max_size=3),
    st.dictionaries(st.text(max_size=5), st.binary(max_size=300), max_size=3),
)


@given(st.lists(messages, max_size=4), st.integers(1, 50))
def test_messages_cut_anywhere_come_back(sent: list[Message], step: int) -> None:
    stream = b"".join(message.encoded() for message in sent)
    decoder, got = Decoder(), []
    for start in range(0, len(stream), step):
        got += decoder.feed(stream[start : start + step])
    assert got == sent


@given(st.binary(max_size=200))
def test_any_bytes_are_waited_for_or_refused(data: bytes) -> None:
    with contextlib.suppress(BrokenStream):
        Decoder().feed(data)


def test_sizes_that_no_message_has_are_refused() -> None:
    with pytest.raises(BrokenStream):
        Decoder().feed((MAX_HEADER + 1).to_bytes(4, "big"))
    header = b'{"kind": "x", "values": {}, "blobs": {"a": 99999999999}}'
    with pytest.raises(BrokenStream):
        Decoder().feed(len(header).to_bytes(4, "big") + header)


def test_the_same_person_passes_and_only_frames_after_the_card_count(tmp_path: Path) -> None:
    need_weights()
    with vision(still(tmp_path / "camera.png")) as (eyes, states):
        until(lambda: bool(states))
        presented = time.monotonic()
        seen = eyes.observe(card(), presented, 8.0)
        assert seen.verdict.result is FaceResult.PASSED
        assert seen.verdict.frames == 3
        assert seen.verdict.attempts == 1
        assert seen.taken_at_monotonic is not None
        assert presented < seen.taken_at_monotonic < time.monotonic()
        assert seen.camera_jpeg is not None
        assert images.decode(seen.camera_jpeg).shape == (720, 1280, 3)
        assert seen.card_jpeg is not None
        assert states[0].up
        assert "jpeg" not in repr(seen)


def test_no_frame_from_before_the_card_is_used(tmp_path: Path) -> None:
    need_weights()
    with vision(still(tmp_path / "camera.png")) as (eyes, states):
        until(lambda: bool(states))
        presented = time.monotonic() + 1.5
        seen = eyes.observe(card(), presented, 8.0)
        assert seen.taken_at_monotonic is not None
        assert seen.taken_at_monotonic > presented


def test_another_person_fails_after_fresh_tries(tmp_path: Path) -> None:
    need_weights()
    with vision(still(tmp_path / "camera.png", "hopper"), attempts=2) as (eyes, _):
        seen = eyes.observe(card("collins"), time.monotonic(), 8.0)
        assert seen.verdict.result is FaceResult.FAILED
        assert seen.verdict.attempts == 2
        assert seen.camera_jpeg is not None
        first, second = seen.verdict.tries
        assert max(frame.after_ms for frame in first.frames) < min(frame.after_ms for frame in second.frames)
        assert second.cosine == seen.verdict.cosine
        for one in seen.verdict.tries:
            times = sorted(frame.after_ms for frame in one.frames)
            assert len(times) == 3
            assert all(later - earlier >= 300 for earlier, later in itertools.pairwise(times))


def empty_chair(path: Path) -> None:
    cv2.imwrite(str(path), np.full((720, 1280, 3), 120, np.uint8))


def test_an_empty_chair_ends_as_not_verified_with_its_picture(tmp_path: Path) -> None:
    need_weights()
    cv2.imwrite(str(tmp_path / "camera.png"), np.full((720, 1280, 3), 120, np.uint8))
    with vision(tmp_path / "camera.png") as (eyes, _):
        seen = eyes.observe(card(), time.monotonic(), 1.5)
        assert (seen.verdict.result, seen.verdict.reason) == (FaceResult.NOT_VERIFIED, "no_face")
        assert seen.verdict.score is None
        assert seen.camera_jpeg is not None


def test_a_blurred_camera_is_used_at_best_effort_when_time_is_up(tmp_path: Path) -> None:
    need_weights()
    sharp = picture(still(tmp_path / "sharp.png"))
    cv2.imwrite(str(tmp_path / "camera.png"), cv2.GaussianBlur(sharp, (0, 0), 14))
    with vision(tmp_path / "camera.png", attempts=1) as (eyes, _):
        seen = eyes.observe(card(), time.monotonic(), 1.5)
        assert seen.verdict.cosine is not None
        assert seen.verdict.best_effort
        assert seen.reason == "blurred"
        (only,) = seen.verdict.tries
        assert {frame.reason for frame in only.frames} == {"blurred"}


@pytest.mark.parametrize(
    ("given_card", "reason"), [(b"", "photo_undecoded"), (b"garbage", "photo_undecoded")]
)
def test_without_a_card_picture_the_camera_picture_is_taken_all_the_same(
    tmp_path: Path, given_card: bytes, reason: str
) -> None:
    need_weights()
    with vision(still(tmp_path / "camera.png")) as (eyes, _):
        seen = eyes.observe(given_card, time.monotonic(), 4.0)
        assert (seen.verdict.result, seen.verdict.reason) == (FaceResult.NOT_VERIFIED, reason)
        assert seen.camera_jpeg is not None
        assert seen.card_jpeg is None


@pytest.mark.parametrize(
    ("face", "reason"), [({"engine": "none"}, "engine_none"), ({"weights_dir": "/nowhere"}, "engine_missing")]
)
def test_without_an_engine_a_picture_is_taken_and_nothing_invented(
    tmp_path: Path, face: dict[str, Any], reason: str
) -> None:
    with vision(still(tmp_path / "camera.png"), **face) as (eyes, _):
        seen = eyes.observe(card(), time.monotonic(), 4.0)
        assert (seen.verdict.result, seen.verdict.reason) == (FaceResult.NOT_VERIFIED, reason)
        assert seen.camera_jpeg is not None


def test_a_camera_that_is_missing_is_told_once_and_comes_by_itself(tmp_path: Path) -> None:
    with vision(tmp_path / "camera.png", engine="none") as (eyes, states):
        seen = eyes.observe(card(), time.monotonic(), 8.0)
        assert seen.camera_jpeg is None
        assert seen.reason == "camera_missing"
        assert [state.code for state in states] == ["E2101"]
        still(tmp_path / "camera.png")
        until(lambda: states[-1].up)
        assert eyes.observe(card(), time.monotonic(), 4.0).camera_jpeg is not None
        assert len(states) == 2


def test_a_preview_is_to_be_had_while_an_attempt_is_under_way_and_only_then(tmp_path: Path) -> None:
    need_weights()
    empty_chair(tmp_path / "camera.png")
    hints: list[str] = []
    with vision(tmp_path / "camera.png", on_hint=hints.append) as (eyes, states):
        until(lambda: bool(states))
        assert eyes.preview() is None
        worker = threading.Thread(target=eyes.observe, args=(card(), time.monotonic(), 15.0))
        worker.start()
        until(lambda: eyes.preview() is not None)
        jpeg = eyes.preview()
        assert jpeg is not None
        assert images.decode(jpeg).shape == (270, 480, 3)
        assert hints == ["no_face"]
        eyes.stop()
        worker.join(15)
        assert not worker.is_alive()
        assert eyes.preview() is None


def test_the_preview_shows_the_faces_box(tmp_path: Path) -> None:
    frame = Frame(portraits.live("collins"), 0.0)
    for reason, colour in (("", "green"), ("dark", "orange")):
        drawn = images.decode(preview(Seen(frame, reason, (520.0, 240.0, 226.0, 288.0))))
        blue, green, red = (int(value) for value in drawn[90, 197])
        assert (green > red) == (colour == "green")
        assert drawn.shape == (270, 480, 3)
        assert blue < 160


def test_a_stop_brings_what_had_been_compared_by_then(tmp_path: Path) -> None:
    need_weights()
    face = Face(attempts=10)
    looks: list[Seen] = []
    watching = LiveCamera(str(still(tmp_path / "camera.png", "hopper")), View(), None, lambda *_: None)
    # A try takes three to five looks: after twelve at least two have been compared.
    observer = Observer(watching, engine.load(face), face, AS_SENT, lambda: len(looks) >= 12, looks.append)
    with watching.watched():
        result = observer.observe(card("collins"), time.monotonic(), 8.0)
    watching.close()
    assert result.aborted
    assert result.verdict.result is FaceResult.FAILED
    assert 2 <= result.verdict.attempts < 10
    assert result.camera is not None
    # Kept as a JPEG since its try was over, and the same as if it had been made now.
    assert result.camera.jpeg() == AS_SENT(looks[0].frame.image)


def test_no_frame_from_long_after_the_card_is_used(tmp_path: Path) -> None:
    need_weights()
    watching = LiveCamera(str(still(tmp_path / "camera.png")), View(), None, lambda *_: None)
    observer = Observer(watching, engine.load(Face()), Face(), AS_SENT, lambda: False)
    with watching.watched():
        until(lambda: watching.up)
        late = observer.observe(card(), time.monotonic() - WINDOW_S - 1, 8.0)
        assert (late.camera, late.verdict.result, late.reason) == (None, FaceResult.NOT_VERIFIED, "too_late")
        presented = time.monotonic() - WINDOW_S + 0.4
        last_moment = observer.observe(card(), presented, 8.0)
        for one in last_moment.verdict.tries:
            assert all(frame.after_ms <= WINDOW_S * 1000 for frame in one.frames)
            assert last_moment.verdict.best_effort
    watching.close()


def test_a_picture_by_hand_yields_to_the_desk(tmp_path: Path) -> None:
    need_weights()
    empty_chair(tmp_path / "camera.png")
    with vision(tmp_path / "camera.png") as (eyes, states):
        until(lambda: bool(states))
        got: list[Observation] = []
        by_hand = threading.Thread(target=lambda: got.append(eyes.picture(30.0)))
        by_hand.start()
        until(lambda: eyes.preview() is not None)
        with pytest.raises(AgentError, match="E2305"):
            eyes.picture(1.0)
        eyes.observe(card(), time.monotonic(), 0.5)
        by_hand.join(15)
        assert got[0].aborted


@pytest.mark.parametrize(
    ("answer", "kept"), [("printf 0.97", 0.97), ("printf 7", None), ("exit 1", None), ("sleep 9", None)]
)
def test_a_liveness_program_advises_and_decides_nothing(
    tmp_path: Path, answer: str, kept: float | None
) -> None:
    need_weights()
    program = tmp_path / "alive"
    program.write_text(f"#!/bin/sh\ncat > {tmp_path}/given\n{answer}\n", "utf-8")
    program.chmod(0o755)
    check = {"command": [str(program)], "timeout_s": 1.5}
    with vision(still(tmp_path / "camera.png"), liveness=check) as (eyes, _):
        seen = eyes.observe(card(), time.monotonic(), 8.0)
        assert seen.verdict.result is FaceResult.PASSED
        assert seen.verdict.liveness == kept
        assert (tmp_path / "given").read_bytes() == seen.camera_jpeg


def children_of(pid: int) -> list[psutil.Process]:
    # Other tests leave a process behind that looks at pictures, or the resource tracker of a pool.
    found = []
    for one in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            found += [one] if one.cmdline()[-1:] == ["agent.vision.child"] else []
    return found


def child_of(pid: int) -> psutil.Process:
    (found,) = children_of(pid)
    return found


def test_a_child_killed_during_an_attempt_costs_that_attempt_only(tmp_path: Path) -> None:
    need_weights()
    cv2.imwrite(str(tmp_path / "camera.png"), np.full((720, 1280, 3), 120, np.uint8))
    looking = threading.Event()  # the child has said what it thinks of a frame: the attempt is under way
    with vision(tmp_path / "camera.png", on_hint=lambda _reason: looking.set()) as (eyes, states):
        until(lambda: bool(states))
        victim = child_of(os.getpid())

        def kill() -> None:
            until(looking.is_set)
            victim.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(AgentError, match="E2301"):
            eyes.observe(card(), time.monotonic(), 8.0)
        killer.join()
        still(tmp_path / "camera.png")
        assert eyes.observe(card(), time.monotonic(), 8.0).verdict.result is FaceResult.PASSED


def test_where_nobody_looks_the_first_question_starts_the_child(tmp_path: Path) -> None:
    need_weights()
    camera, seen = (
        Camera(source="none"),
        cv2.imencode(".jpg", picture(still(tmp_path / "x.png")))[1].tobytes(),
    )
    eyes = Vision(camera, Face(engine="none"), Images(), SystemClock(), None, lambda _state: None)
    with contextlib.closing(eyes):
        eyes.reconfigure(camera, Face(), Images(), None)
        assert eyes.preview() is None
        assert children_of(os.getpid()) == []
        for _ in range(2):
            assert eyes.compare(card(), seen).result is FaceResult.PASSED
        assert child_of(os.getpid()).is_running()
    with pytest.raises(AgentError, match="E2302"):
        eyes.compare(card(), seen)


def test_without_a_camera_none_is_looked_for_and_a_child_that_nobody_asks_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Beside a kiosk the camera is the kiosk's; what was started for a late picture must not stay for good."""
    need_weights()
    monkeypatch.setattr("agent.vision.process.REST_S", 0.3)
    seen = cv2.imencode(".jpg", picture(still(tmp_path / "x.png")))[1].tobytes()
    states: list[CameraState] = []
    eyes = Vision(Camera(source="none"), Face(), Images(), SystemClock(), None, states.append)
    with contextlib.closing(eyes):
        for _ in range(2):
            assert eyes.compare(card(), seen).result is FaceResult.PASSED
            until(lambda: children_of(os.getpid()) == [] and not eyes._ready.is_set())
    assert [state.code for state in states] == ["E2101"] * 2, "once for each child"
    assert "W2304" not in caplog.text, "nothing died"


def test_no_camera_is_opened_where_none_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("agent.vision.camera.open_camera", lambda source, *_: opened.append(source))
    camera = LiveCamera("none", View(1, 1, 0, False), None, lambda *_: None)
    camera.close()
    assert opened == []


def test_a_child_that_hangs_is_killed_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.vision.process.ANSWER_GRACE_S", 0.5)
    with vision(still(tmp_path / "camera.png"), engine="none") as (eyes, states):
        until(lambda: bool(states))
        hung = child_of(os.getpid())
        hung.send_signal(signal.SIGSTOP)
        with pytest.raises(AgentError, match="E2303"):
            eyes.observe(card(), time.monotonic(), 0.5)
        until(lambda: not hung.is_running())
        monkeypatch.setattr("agent.vision.process.ANSWER_GRACE_S", 15.0)
        assert eyes.observe(card(), time.monotonic(), 4.0).camera_jpeg is not None


PARENT = """
import sys, time
sys.path.insert(0, sys.argv[2])
from vision_support import vision
with vision(sys.argv[1], engine="none") as (eyes, states):
    while not states:
        time.sleep(0.02)
    import psutil
    print(psutil.Process().children()[0].pid, flush=True)
    time.sleep(60)
"""


def test_no_child_outlives_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(still(tmp_path / "camera.png")), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline())
        assert psutil.pid_exists(orphan)
        parent.kill()
        parent.wait()
        until(
            lambda: not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE
        )
