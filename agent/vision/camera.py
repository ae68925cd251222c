"""The camera thread of the vision process: keeps the newest frame, comes back after a loss by itself.

While nobody is there frames are let pass without being decoded, and a network stream is not open at all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from drivers.camera import Camera, Frame, View, open_camera
from drivers.camera_source import is_stream
from drivers.errors import CameraError

#: Pauses between tries to open a camera that is missing; the last one repeats.
REOPEN_S = (0.5, 1.0, 2.0, 5.0)
#: A stream stays open for so long after an attempt: the next card may follow at once.
LINGER_S = 10.0

Told = Callable[[bool, str, Mapping[str, str]], None]


class LiveCamera:
    """An open or missing camera. `told` hears of each change, once: up, or down with code and facts."""

    def __init__(self, source: str, view: View, password: str | None, told: Told) -> None:
        self._source = source
        self._view = view
        self._password = password
        self._told = told
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._watchers = 0
        self._up: bool | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    @property
    def up(self) -> bool:
        """Return whether the camera delivers, as far as anybody has looked."""
        return bool(self._up)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have frames decoded within this block."""
        with self._changed:
            self._watchers += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._watchers -= 1

    def close(self) -> None:
        """Give the camera back, for tests: a process that watches one ends with it."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def after(self, moment: float, timeout_s: float) -> Frame | None:
        """Return a frame taken after `moment`, None when none comes within `timeout_s`."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._newest is not None and self._newest.at > moment, timeout=timeout_s
            )
            newest = self._newest
        return newest if newest is not None and newest.at > moment else None

    def _run(self) -> None:
        if self._source == "none":
            # Beside a kiosk that has the camera itself: there is nothing to look for, now or later.
            self._say(False, "E2101", {"source": "none", "reason": "not there"})
            return
        failures = 0
        while not self._closing:
            try:
                camera = open_camera(self._source, self._view, self._password)
                failures = 0
                self._deliver(camera)
                pause: float | None = None  # a stream that nobody watches: until somebody does
            except CameraError as error:
                self._say(False, error.code, error.facts)
                pause = REOPEN_S[min(failures, len(REOPEN_S) - 1)]
                failures += 1
            self._rest(pause)

    def _rest(self, pause_s: float | None) -> None:
        """Forget the last frame, and wait; whoever comes to watch meanwhile is not kept waiting."""
        with self._changed:
            self._newest = None
            there = self._watchers if pause_s is not None else 0
            self._changed.wait_for(lambda: self._watchers > there or self._closing, timeout=pause_s)

    def _deliver(self, camera: Camera) -> None:
        """Deliver until the camera fails. A stream comes to its end when nobody has watched for a while."""
        watched_at = time.monotonic()
        try:
            while not self._closing:
                if self._watchers or not self._up:
                    self._show(camera.read())
                    watched_at = time.monotonic()
                elif is_stream(self._source) and time.monotonic() - watched_at > LINGER_S:
                    return
                else:
                    camera.skip()
        finally:
            camera.close()

    def _show(self, frame: Frame) -> None:
        with self._changed:
            self._newest = frame
            self._changed.notify_all()
        self._say(True, "", {})

    def _say(self, up: bool, code: str, facts: Mapping[str, str]) -> None:
        if self._up is not up:
            self._up = up
            self._told(up, code, facts)
