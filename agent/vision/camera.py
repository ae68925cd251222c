"""The camera thread of the vision process: keeps the newest frame, comes back after a loss by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from drivers.camera import Camera, Frame, View, open_camera
from drivers.errors import CameraError

#: Pauses between tries to open a camera that is missing; the last one repeats.
REOPEN_S = (0.5, 1.0, 2.0, 5.0)

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
        self._up: bool | None = None
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    @property
    def up(self) -> bool:
        """Return whether the camera delivers."""
        return bool(self._up)

    def after(self, moment: float, timeout_s: float) -> Frame | None:
        """Return a frame taken after `moment`, None when none comes within `timeout_s`."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._newest is not None and self._newest.at > moment, timeout=timeout_s
            )
            newest = self._newest
        return newest if newest is not None and newest.at > moment else None

    def _run(self) -> None:
        failures = 0
        pause = threading.Event()
        while True:
            try:
                camera = open_camera(self._source, self._view, self._password)
                failures = 0
                self._deliver(camera)
            except CameraError as error:
                self._say(False, error.code, error.facts)
            pause.wait(REOPEN_S[min(failures, len(REOPEN_S) - 1)])
            failures += 1

    def _deliver(self, camera: Camera) -> None:
        try:
            while True:
                frame = camera.read()
                with self._changed:
                    self._newest = frame
                    self._changed.notify_all()
                self._say(True, "", {})
        finally:
            camera.close()

    def _say(self, up: bool, code: str, facts: Mapping[str, str]) -> None:
        if self._up is not up:
            self._up = up
            self._told(up, code, facts)
