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
    if source.startswith("rtsp://"):
        return _StreamCamera(source, _with_password(source, password), view)
    path = Path(source)
    if not path.exists():
        raise CameraError(source=source, reason="not there")
    if path.is_char_device():
        return _DeviceCamera(source, view)
    return _PictureCamera(source, view) if path.suffix.lower() in PICTURES else _VideoCamera(source, view)


def is_file_source(source: str) -> bool:
    """Return whether a source is a picture or video file: test material, never a camera."""
    return source not in {"auto", "none"} and not source.startswith(("rtsp://", "/dev/"))


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
        good, image = self._capture.read()
        if not good:
            raise CameraError(source=self._source, reason="delivers no frame")
        return Frame(_turned(image, self._view), time.monotonic())

    def close(self) -> None:
        self._capture.release()


class _DeviceCamera(_Captured):
    """A V4L2 device."""

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


class _StreamCamera(_Captured):
    """An RTSP stream. Its password never leaves this constructor."""

    def __init__(self, source: str, address: str, view: View) -> None:
        import cv2

        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, STREAM_TIMEOUT_MS]
        limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, STREAM_TIMEOUT_MS]
        super().__init__(source, view, cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits))


class _VideoCamera(_Captured):
    """A video file, from the start again when it ends."""

    def __init__(self, source: str, view: View) -> None:
        import cv2

        super().__init__(source, view, cv2.VideoCapture(source, cv2.CAP_ANY))
        self._due = time.monotonic()

    def read(self) -> Frame:
        import cv2

        self._due = _paced(self._due)
        try:
            return super().read()
        except CameraError:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            return super().read()


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
