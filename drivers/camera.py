"""Cameras through OpenCV: V4L2, RTSP, and picture or video files for demo and tests.

Every frame carries the monotonic time at which it was taken from the driver, comparable between the
processes of one boot: what was taken before a card was presented must not count for it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit, urlunsplit

from drivers.camera_source import is_stream, shown
from drivers.errors import CameraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

#: A still picture plays the part of a camera at this rate.
FILE_FPS = 15.0
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
#: How long a network stream may take to open or to deliver, in milliseconds.
STREAM_TIMEOUT_MS = 5000
#: A fresh camera needs this to find exposure and white balance.
WARM_UP_S = 1.0
#: A driver's stamp further off than this is not on our clock: the time of the fetch stands for it.
MAX_DRIVER_LAG_S = 2.0
#: What camera, encoder and network may hold back of a stream: its frames are stamped as that much older.
STREAM_LAG_S = 0.3
#: A server begins with what it kept since its last key frame. Such frames come faster than they were taken:
#: those for which nobody had to wait this long are let pass, for at most DRAIN_S.
LIVE_WAIT_S, DRAIN_S = 0.010, 1.5


@dataclass(frozen=True)
class Frame:
    """One picture, BGR uint8 of shape (height, width, 3)."""

    image: Image = field(repr=False)
    at: float  # monotonic seconds


class Camera(Protocol):
    """Something that delivers frames."""

    def read(self) -> Frame:
        """Return the next frame; waits for it. CameraError when none comes any more."""
        ...

    def skip(self) -> None:
        """Let the next frame pass without decoding it; waits for it. CameraError as `read`."""
        ...

    def close(self) -> None:
        """Give the device back."""
        ...


@dataclass(frozen=True)
class View:
    """How the camera's picture is turned before anybody sees it."""

    width: int = 1280
    height: int = 720
    rotate: int = 0
    mirror: bool = False


def open_camera(source: str, view: View, password: str | None = None) -> Camera:
    """Open a source: auto, /dev/videoN, rtsp://..., or a file. CameraError E2101 with the reason."""
    if source == "auto":
        source = _first_device()
    if is_stream(source):
        return _StreamCamera(source, _with_password(source, password), view)
    path = Path(source)
    if not path.exists():
        raise CameraError(source=source, reason="not there")
    if path.is_char_device():
        return _DeviceCamera(source, view)
    return _PictureCamera(source, view) if path.suffix.lower() in PICTURES else _VideoCamera(source, view)


class _PictureCamera:
    """One picture, again and again, each time stamped now."""

    def __init__(self, source: str, view: View) -> None:
        import cv2

        image = cv2.imread(source, cv2.IMREAD_COLOR)  # upright: EXIF is applied
        if image is None:
            raise CameraError(source=source, reason="not a picture")
        self._image = _turned(image, view)
        self._due = time.monotonic()

    def read(self) -> Frame:
        self._due = _paced(self._due)
        return Frame(self._image, time.monotonic())

    def skip(self) -> None:
        self._due = _paced(self._due)

    def close(self) -> None:
        """Nothing is held."""


class _Captured:
    """What OpenCV's VideoCapture has in common over devices, streams and files."""

    def __init__(self, source: str, view: View, capture: Any) -> None:
        self._source = source
        self._view = view
        self._capture = capture
        if not capture.isOpened():
            capture.release()
            raise CameraError(source=source, reason="does not open")

    def read(self) -> Frame:
        self.skip()
        at = self._taken_at()
        good, image = self._capture.retrieve()
        if not good:
            raise CameraError(source=self._source, reason="delivers no frame")
        return Frame(_turned(image, self._view), at)

    def skip(self) -> None:
        if not self._capture.grab():
            raise CameraError(source=self._source, reason="delivers no frame")

    def _taken_at(self) -> float:
        """Return when the frame that was just grabbed was taken, in monotonic seconds."""
        return time.monotonic()

    def close(self) -> None:
        self._capture.release()


class _DeviceCamera(_Captured):
    """A V4L2 device: warmed when it opens, its frames stamped by the driver."""

    def __init__(self, source: str, view: View) -> None:
        import cv2

        if not os.access(source, os.R_OK | os.W_OK):
            raise CameraError("E2102", source=source)
        capture = cv2.VideoCapture(source, cv2.CAP_V4L2)
        # MJPG keeps 720p within what USB 2 carries; a camera without it ignores the wish.
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, view.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, view.height)
        # One frame of latency at most: older ones would be stamped with the time they are fetched.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        super().__init__(source, view, capture)
        warm = time.monotonic() + WARM_UP_S
        while time.monotonic() < warm:
            self.skip()

    def _taken_at(self) -> float:
        import cv2

        return driver_time(time.monotonic(), float(self._capture.get(cv2.CAP_PROP_POS_MSEC)))


def driver_time(fetched: float, stamp_ms: float) -> float:
    """Return the driver's stamp where it is on our monotonic clock, else the time of the fetch."""
    lag = fetched - stamp_ms / 1000
    return stamp_ms / 1000 if 0 <= lag <= MAX_DRIVER_LAG_S else fetched


class _StreamCamera(_Captured):
    """An RTSP stream. Its password never leaves this constructor."""

    def __init__(self, source: str, address: str, view: View) -> None:
        import cv2

        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, STREAM_TIMEOUT_MS]
        limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, STREAM_TIMEOUT_MS]
        super().__init__(shown(source), view, cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits))
        self._drain()

    def _drain(self) -> None:
        """Let what was buffered before we came pass."""
        self.skip()
        end = time.monotonic() + DRAIN_S
        while (asked := time.monotonic()) < end:
            self.skip()
            if time.monotonic() - asked > LIVE_WAIT_S:
                return

    def _taken_at(self) -> float:
        return time.monotonic() - STREAM_LAG_S


class _VideoCamera(_Captured):
    """A video file, from the start again when it ends."""

    def __init__(self, source: str, view: View) -> None:
        import cv2

        super().__init__(source, view, cv2.VideoCapture(source, cv2.CAP_ANY))
        self._due = time.monotonic()

    def skip(self) -> None:
        import cv2

        self._due = _paced(self._due)
        try:
            super().skip()
        except CameraError:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            super().skip()


def _paced(due: float) -> float:
    """Wait until `due`, as a camera's driver would, and return when the next frame is due."""
    time.sleep(max(0.0, due - time.monotonic()))
    return max(due, time.monotonic() - 1.0) + 1.0 / FILE_FPS


def _turned(image: Any, view: View) -> Image:
    import cv2

    turns = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
    if view.rotate:
        image = cv2.rotate(image, turns[view.rotate])
    turned: Image = cv2.flip(image, 1) if view.mirror else image
    return turned


def _first_device() -> str:
    found = sorted(Path("/dev").glob("video[0-9]*"), key=lambda path: int(path.name[5:]))
    if not found:
        raise CameraError(source="auto", reason="no /dev/video* there")
    return str(found[0])


def _with_password(source: str, password: str | None) -> str:
    if password is None:
        return source
    parts = urlsplit(source)
    user = parts.username or "admin"
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}{port}"))
