"""A vision process before a camera that is a file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agent import images
from agent.catalogue import AgentError
from agent.clock import SystemClock
from agent.config.schema import Camera, Face, Images
from agent.face import weights
from agent.simulate import portraits
from agent.vision.process import CameraState, Vision


def need_weights() -> None:
    """Skip where the models are not installed (under REQUIRE_ALL=1 a skip is a failure)."""
    try:
        weights.find(None)
    except AgentError:
        pytest.skip("the face models are not installed: run `make test`")


def still(path: Path, name: str = "collins") -> Path:
    """Write what a camera would see of a person."""
    assert cv2.imwrite(str(path), portraits.live(name))
    return path


def card(name: str = "collins") -> bytes:
    """Return a card's picture as a decoder would give it."""
    return portraits.path(name).read_bytes()


@contextmanager
def vision(
    source: Path | str, on_hint: Callable[[str], None] = lambda reason: None, **face: Any
) -> Iterator[tuple[Vision, list[CameraState]]]:
    """Run a vision process."""
    states: list[CameraState] = []
    running = Vision(
        Camera(source=str(source)),
        Face(**face),
        Images(),
        SystemClock(),
        None,
        states.append,
        on_hint=on_hint,
    )
    running.start()
    try:
        yield running, states
    finally:
        running.close()


def picture(path: Path) -> NDArray[np.uint8]:
    """Return a picture file's pixels."""
    return images.decode(path.read_bytes())


def until(condition: Callable[[], bool], patience_s: float = 20.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + patience_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        pause.wait(0.02)
