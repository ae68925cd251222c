"""The daemon's side of the vision process: started, fed, watched, restarted."""

from __future__ import annotations

import contextlib
import itertools
import queue
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agent import logs
from agent.catalogue import AgentError
from agent.clock import Clock
from agent.config.schema import Camera, Face, Images
from agent.records import FaceVerdict
from agent.vision.protocol import WINDOW_S, BrokenStream, Decoder, Message
from agent.vision.spawning import program, spawned

log = logs.get(__name__)

#: Beyond its own deadline the child may need this for decoding, embedding and encoding on a busy machine.
ANSWER_GRACE_S = 15.0
#: A preview that takes longer shows nothing any more that is of use.
PREVIEW_S = 1.0
#: How long an attempt waits for a child that is still starting.
START_S = 15.0
#: Pauses before a child that died is started again; the last one repeats.
RESTART_S = (0.2, 1.0, 3.0, 10.0)
#: A child without a camera only compares what came late: asked for nothing for so long, it ends.
REST_S = 30.0


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
    aborted: bool = False  # somebody said stop; what had been compared by then stands


@dataclass(frozen=True)
class EngineState:
    """What became of the face engine: `model` and `threshold` while it works, else `code` and `facts`."""

    model: str | None
    threshold: float | None
    code: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


class Vision:
    """One vision process at a time. An attempt at the desk goes before whoever else wants a picture.

    The listeners are called on a thread of ours: `on_hint` hears the reason why the newest frame is not good
    enough, "" when it is, each time it changes.
    """

    def __init__(
        self,
        camera: Camera,
        face: Face,
        images: Images,
        clock: Clock,
        camera_password: str | None,
        on_camera: Callable[[CameraState], None],
        *,
        on_hint: Callable[[str], None] = lambda reason: None,
        on_engine: Callable[[EngineState], None] = lambda state: None,
    ) -> None:
        self._settings = _settings(camera, face, images, camera_password)
        self._clock = clock
        self._on_camera = on_camera
        self._on_hint = on_hint
        self._on_engine = on_engine
        self._numbers = itertools.count(1)
        self._current = 0
        self._turn = threading.Lock()
        self._answers: queue.Queue[Message | None] = queue.Queue()
        self._previews: queue.Queue[Message] = queue.Queue()
        self._previewing = threading.Lock()
        self._ready, self._closing = threading.Event(), threading.Event()
        self._replacing = threading.Event()
        self._wanted, self._resting = threading.Event(), False
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_running, name="vision", daemon=True)

    def start(self) -> None:
        """Start the child and the thread that keeps it running, unless they are.

        Whoever asks starts them as well: where nobody is looked at, there is no child until somebody does.
        """
        with self._lock:
            self._wanted.set()
            if self._thread.ident is None and not self._closing.is_set():
                self._thread.start()

    def reconfigure(self, camera: Camera, face: Face, images: Images, camera_password: str | None) -> None:
        """Let a fresh child work by other settings; one under way is left."""
        self._settings = _settings(camera, face, images, camera_password)
        if self._thread.is_alive():
            self._replacing.set()
            self._kill()

    def observe(self, card_picture: bytes | None, presented_at: float, limit_s: float) -> Observation:
        """Take pictures from `presented_at` (monotonic) on and compare them with the card's.

        `limit_s` is the time of each try. AgentError: E2301 the process died, E2302 it did not start, E2303
        it hung and was killed; each time a fresh one is on its way.
        """
        self.stop()
        with self._turn:
            return self._observed(card_picture, presented_at, limit_s)

    def picture(self, limit_s: float) -> Observation:
        """Take one picture, as at the desk but with no card. AgentError as `observe`; E2305 busy."""
        if not self._turn.acquire(blocking=False):
            raise AgentError("E2305")
        try:
            return self._observed(None, self._clock.monotonic(), limit_s)
        finally:
            self._turn.release()

    def compare(self, card: bytes, camera: bytes) -> FaceVerdict:
        """Compare a card's picture that came late with the picture of its verification.

        AgentError E2305 while the desk is looking at somebody, else as `observe`.
        """
        if not self._turn.acquire(blocking=False):
            raise AgentError("E2305")
        try:
            self._await_child()
            number = next(self._numbers)
            self._drain()
            self._send(Message("compare", {"request": number}, {"card": card, "camera": camera}))
            return self._answer(number, 0.0).verdict
        finally:
            self._turn.release()

    def stop(self) -> None:
        """End the attempt under way, if any, with what it has by now."""
        if self._current:
            self._send(Message("stop", {"request": self._current}))

    def preview(self) -> bytes | None:
        """Return the newest frame as a small JPEG with the face's box; None outside of an attempt."""
        if not self._current:
            return None
        with self._previewing:
            number = next(self._numbers)
            self._send(Message("preview", {"request": number}))
            deadline = self._clock.monotonic() + PREVIEW_S
            while (left := deadline - self._clock.monotonic()) > 0:
                try:
                    answer = self._previews.get(timeout=left)
                except queue.Empty:
                    return None
                if answer.values["request"] == number:
                    return answer.blobs["jpeg"] or None
        return None

    def _await_child(self) -> None:
        """Wait until there is a child that can be asked. AgentError E2302 where none comes."""
        self.start()
        if self._closing.is_set() or not self._ready.wait(START_S) or self._closing.is_set():
            raise AgentError("E2302")

    def _observed(self, card_picture: bytes | None, presented_at: float, limit_s: float) -> Observation:
        self._await_child()
        number = next(self._numbers)
        values = {"request": number, "presented_at": presented_at, "limit_s": limit_s}
        self._drain()
        self._current = number
        try:
            self._send(Message("observe", values, {"card": card_picture or b""}))
            return self._answer(number, limit_s)
        finally:
            self._current = 0

    def _answer(self, number: int, limit_s: float) -> Observation:
        longest = max(limit_s, WINDOW_S) + ANSWER_GRACE_S
        deadline = self._clock.monotonic() + longest
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
        raise AgentError("E2303", seconds=f"{longest:g}")

    def close(self) -> None:
        """End the child; an attempt under way ends with E2301."""
        self._closing.set()
        self._wanted.set()
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
            if self._resting:
                self._resting = False
                self._wanted.wait()
                self._replacing.clear()
                continue
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
        process = spawned(program("agent.vision.child"))
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
        elif message.kind == "rests":
            # Whoever asks at this very moment is told E2301, and asks again as after any other death.
            self._wanted.clear()
            self._ready.clear()
            self._resting = True
        elif message.kind == "observed":
            self._answers.put(message)
        elif message.kind == "camera":
            self._on_camera(CameraState(values["up"], values["code"], values["facts"]))
        elif message.kind == "hint":
            self._on_hint(values["reason"])
        elif message.kind == "preview":
            self._previews.put(message)
        elif message.kind == "engine":
            self._on_engine(
                EngineState(values["model"], values["threshold"], values["code"], values["facts"])
            )

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
        "rest_after_s": REST_S if camera.source == "none" else None,
        "face": face.model_dump(mode="json"),
        "images": images.model_dump(),
    }


def _observation(answer: Message) -> Observation:
    return Observation(
        camera_jpeg=answer.blobs["camera"] or None,
        card_jpeg=answer.blobs["card"] or None,
        verdict=FaceVerdict.from_values(answer.values["verdict"]),
        taken_at_monotonic=answer.values["taken_at"],
        reason=answer.values["reason"],
        aborted=answer.values["aborted"],
    )
