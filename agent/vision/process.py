"""The daemon's side of the vision process: started, fed, watched, restarted."""

from __future__ import annotations

import contextlib
import itertools
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agent import logs
from agent.catalogue import AgentError
from agent.clock import Clock
from agent.config.schema import Camera, Face, Images
from agent.records import FaceResult, FaceVerdict
from agent.vision.protocol import BrokenStream, Decoder, Message

log = logs.get(__name__)

#: Beyond its own deadline the child may need this for decoding, embedding and encoding on a busy machine.
ANSWER_GRACE_S = 15.0
#: How long an attempt waits for a child that is still starting.
START_S = 15.0
#: Pauses before a child that died is started again; the last one repeats.
RESTART_S = (0.2, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class CameraState:
    """What became of the camera; `code` and `facts` say why it is down."""

    up: bool
    code: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """What one attempt at the desk brought."""

    camera_jpeg: bytes | None = field(repr=False)  # None: there was no frame at all
    card_jpeg: bytes | None = field(repr=False)  # None: the chip's picture could not be decoded
    verdict: FaceVerdict
    taken_at_monotonic: float | None
    reason: str  # why frames were not good enough, "" when they were


class Vision:
    """One vision process at a time, for one caller at a time."""

    def __init__(
        self,
        camera: Camera,
        face: Face,
        images: Images,
        clock: Clock,
        camera_password: str | None,
        on_camera: Callable[[CameraState], None],
    ) -> None:
        self._settings = _settings(camera, face, images, camera_password)
        self._clock = clock
        self._on_camera = on_camera
        self._numbers = itertools.count(1)
        self._answers: queue.Queue[Message | None] = queue.Queue()
        self._ready, self._closing = threading.Event(), threading.Event()
        self._replacing = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_running, name="vision", daemon=True)

    def start(self) -> None:
        """Start the child and the thread that keeps it running."""
        self._thread.start()

    def reconfigure(self, camera: Camera, face: Face, images: Images, camera_password: str | None) -> None:
        """Let a fresh child work by other settings; one under way is left."""
        self._settings = _settings(camera, face, images, camera_password)
        self._replacing.set()
        self._kill()

    def observe(self, card_picture: bytes | None, presented_at: float, limit_s: float) -> Observation:
        """Take pictures from `presented_at` (monotonic) on and compare them with the card's.

        AgentError: E2301 the process died, E2302 it did not start, E2303 it hung and was killed; each
        time a fresh one is on its way.
        """
        if not self._ready.wait(START_S) or self._closing.is_set():
            raise AgentError("E2302")
        number = next(self._numbers)
        values = {"request": number, "presented_at": presented_at, "limit_s": limit_s}
        self._drain()
        self._send(Message("observe", values, {"card": card_picture or b""}))
        deadline = self._clock.monotonic() + limit_s + ANSWER_GRACE_S
        while (left := deadline - self._clock.monotonic()) > 0:
            try:
                answer = self._answers.get(timeout=left)
            except queue.Empty:
                break
            if answer is None:
                raise AgentError("E2301")
            if answer.values["request"] == number:
                return _observation(answer)
        self._kill()
        raise AgentError("E2303", seconds=f"{limit_s + ANSWER_GRACE_S:g}")

    def close(self) -> None:
        """End the child; an attempt under way ends with E2301."""
        self._closing.set()
        self._kill()
        if self._thread.is_alive():
            self._thread.join()

    # --- the process --------------------------------------------------------------------------------

    def _keep_running(self) -> None:
        deaths = 0
        while not self._closing.is_set():
            started = self._clock.monotonic()
            self._run_once()
            self._ready.clear()
            self._answers.put(None)
            if self._closing.is_set():
                return
            if self._replacing.is_set():
                self._replacing.clear()
                continue
            deaths = 0 if self._clock.monotonic() - started > 60 else deaths
            logs.say(log, "W2304")
            self._closing.wait(RESTART_S[min(deaths, len(RESTART_S) - 1)])
            deaths += 1

    def _run_once(self) -> None:
        """Run one child to its end."""
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "agent.vision.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # drivers and codecs chatter there
        )
        with process:
            with self._lock:
                self._process = process
            if self._closing.is_set():
                process.kill()
            self._send(Message("start", self._settings))
            self._listen(process)
            process.kill()
            with self._lock:
                self._process = None

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        decoder = Decoder()
        stream = process.stdout
        if stream is None:
            return
        while data := stream.read1(1 << 20):  # type: ignore[attr-defined]  # a pipe of Popen is buffered
            try:
                for message in decoder.feed(data):
                    self._take(message)
            except BrokenStream:
                return

    def _take(self, message: Message) -> None:
        values = message.values
        if message.kind == "ready":
            self._ready.set()
        elif message.kind == "observed":
            self._answers.put(message)
        elif message.kind == "camera":
            self._on_camera(CameraState(values["up"], values["code"], values["facts"]))
        elif message.kind == "engine":
            logs.say(log, values["code"], **values["facts"])

    def _send(self, message: Message) -> None:
        with self._lock:
            if self._process is None or self._process.stdin is None:
                return
            # A child that is gone shows in its output's end; the answer will be None.
            with contextlib.suppress(OSError):
                self._process.stdin.write(message.encoded())
                self._process.stdin.flush()

    def _drain(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._answers.get_nowait()

    def _kill(self) -> None:
        self._ready.clear()
        with self._lock:
            if self._process is not None:
                self._process.kill()


def _settings(camera: Camera, face: Face, images: Images, password: str | None) -> dict[str, object]:
    return {
        "camera": {
            "source": camera.source,
            "width": camera.width,
            "height": camera.height,
            "rotate": camera.rotate,
            "mirror": camera.mirror,
            "password": password,
        },
        "face": face.model_dump(),
        "images": images.model_dump(),
    }


def _observation(answer: Message) -> Observation:
    verdict = dict(answer.values["verdict"])
    verdict["result"] = FaceResult(verdict["result"])
    return Observation(
        camera_jpeg=answer.blobs["camera"] or None,
        card_jpeg=answer.blobs["card"] or None,
        verdict=FaceVerdict(**verdict),
        taken_at_monotonic=answer.values["taken_at"],
        reason=answer.values["reason"],
    )
