"""Cameras that deliver: RTSP for real, over a socket; V4L2 as far as there is no device here."""

from __future__ import annotations

import time
from typing import ClassVar

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rtsp_support import rtsp
from vision_support import card, need_weights, until, vision

from agent.records import FaceResult
from agent.simulate import portraits
from agent.vision import camera as live
from drivers import camera
from drivers.camera import View, open_camera
from drivers.camera_source import shown
from drivers.errors import CameraError

RED, GREEN = (0, 0, 200), (0, 200, 0)


def plain(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((240, 320, 3), colour, np.uint8)


def hue(image: np.ndarray) -> str:
    _, green, red = image.reshape(-1, 3).mean(0)
    return "red" if red > green else "green"


def test_a_stream_is_read_and_what_it_kept_from_before_is_let_pass() -> None:
    with rtsp(lambda: plain(GREEN), kept=[plain(RED)] * 12) as server:
        opened = time.monotonic()
        stream = open_camera(server.url, View())
        frames = [stream.read() for _ in range(5)]
        stream.close()
        assert [hue(frame.image) for frame in frames] == ["green"] * 5
        assert frames[0].image.shape == (240, 320, 3)
        times = [frame.at for frame in frames]
        assert times == sorted(times)
        # Stamped as older than they were fetched: what came within the lag after a card does not count.
        assert all(frame.at <= time.monotonic() - camera.STREAM_LAG_S for frame in frames)
        assert times[0] >= opened - camera.STREAM_LAG_S


def test_a_stream_that_ends_is_told_and_turned_as_configured() -> None:
    with rtsp(lambda: plain(GREEN)) as server:
        stream = open_camera(server.url, View(rotate=90))
        assert stream.read().image.shape == (320, 240, 3)
        server.drop()
        with pytest.raises(CameraError, match="delivers no frame"):
            until(lambda: stream.read() is None)
        stream.close()


def test_a_password_reaches_the_camera_and_nobody_else() -> None:
    with rtsp(lambda: plain(GREEN)) as server:
        server.password = "s3cret/@:"
        stream = open_camera(server.url, View(), password="s3cret/@:")
        assert hue(stream.read().image) == "green"
        stream.close()
        inside = server.url.replace("//", "//admin:s3cret@")
        with pytest.raises(CameraError, match="E2101") as refused:
            open_camera(inside, View())
        assert "s3cret" not in str(refused.value)
        assert shown(inside) == server.url
        for wrong in (None, "guessed"):
            with pytest.raises(CameraError, match="E2101") as refused:
                open_camera(server.url, View(), password=wrong)
            assert "s3cret" not in str(refused.value)
            assert "guessed" not in str(refused.value)


def test_a_verification_over_rtsp() -> None:
    need_weights()
    person = portraits.live("collins")
    with rtsp(lambda: person) as server, vision(server.url) as (eyes, states):
        until(lambda: bool(states) and states[-1].up)
        seen = eyes.observe(card(), time.monotonic(), 8.0)
        assert seen.verdict.result is FaceResult.PASSED
        assert seen.verdict.tries[0].frames[0].after_ms >= 0


def test_a_stream_that_nobody_watches_is_closed_and_opened_for_whoever_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "LINGER_S", 0.2)
    told: list[bool] = []
    with rtsp(lambda: plain(GREEN)) as server:
        watching = live.LiveCamera(server.url, View(), None, lambda up, code, facts: told.append(up))
        until(lambda: told == [True])
        until(lambda: server.open == 0)
        assert server.sessions == 1, "opened once to see whether it is there"
        moment = time.monotonic()
        with watching.watched():
            frame = watching.after(moment, 20.0)
            assert frame is not None
            assert frame.at > moment
            assert server.sessions == 2
        until(lambda: server.open == 0)
        assert told == [True]
        watching.close()


# --- V4L2: no device here, so OpenCV's capture is the one thing made up --------------------------------


class Capture:
    """What OpenCV offers of a device that delivers thirty frames a second."""

    opened: ClassVar[list[Capture]] = []

    def __init__(self, source: str, backend: int) -> None:
        self.grabbed = self.decoded = 0
        self.fails = False
        self.stamp = 0.0
        self.opened.append(self)

    def isOpened(self) -> bool:  # noqa: N802 -- OpenCV's name
        return True

    def set(self, _key: int, _value: float) -> bool:
        return True

    def get(self, _key: int) -> float:
        return self.stamp * 1000

    def grab(self) -> bool:
        time.sleep(1 / 30)
        self.grabbed += 1
        self.stamp = time.monotonic() - 0.05
        return not self.fails

    def retrieve(self) -> tuple[bool, np.ndarray]:
        self.decoded += 1
        return True, plain(GREEN)

    def release(self) -> None:
        self.fails = True


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> list[Capture]:
    Capture.opened.clear()
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.setattr(camera, "WARM_UP_S", 0.2)
    return Capture.opened


def test_a_device_is_warmed_stamped_by_its_driver_and_only_grabbed_while_nobody_is_there(
    device: list[Capture],
) -> None:
    told: list[bool] = []
    # A character device that is there everywhere; what is behind it is the capture above.
    watching = live.LiveCamera("/dev/null", View(), None, lambda up, code, facts: told.append(up))
    until(lambda: told == [True])
    (one,) = device
    assert one.grabbed > 3, "warmed before its first frame"
    until(lambda: one.grabbed > 20)
    assert one.decoded == 1
    moment = time.monotonic()
    with watching.watched():
        frame = watching.after(moment, 10.0)
        assert frame is not None
        assert moment < frame.at < time.monotonic() - 0.04, "the driver's time, not the fetch's"
    one.fails = True
    until(lambda: told == [True, False, True])
    assert len(device) == 2
    watching.close()


@given(st.floats(1e3, 1e7), st.floats(-1e9, 1e10))
def test_a_drivers_stamp_is_believed_only_near_our_clock(fetched: float, stamp_ms: float) -> None:
    at = camera.driver_time(fetched, stamp_ms)
    assert at <= fetched
    assert fetched - at <= camera.MAX_DRIVER_LAG_S + 1e-6
