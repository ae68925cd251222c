"""The vision process itself: `python -m agent.vision.child`, started and watched by `agent.vision.process`.

It ends when its standard input does, so that it never outlives the daemon and keeps the camera.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from agent.catalogue import AgentError
from agent.config.schema import Face, Images
from agent.face import engine
from agent.face.compare import compared
from agent.face.engine import FaceEngine
from agent.face.score import threshold_of
from agent.vision import liveness
from agent.vision.camera import LiveCamera
from agent.vision.choose import Encode
from agent.vision.observe import Observer, Result, Seen, encoded
from agent.vision.preview import preview
from agent.vision.protocol import BrokenStream, Decoder, Message
from drivers.camera import View


class Child:
    """The two ends of the pipe and what lies between. Two threads: one reads, one works."""

    def __init__(self) -> None:
        # Libraries print; nothing of that may get between our messages.
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._writing = threading.Lock()
        self._requests: queue.Queue[Message] = queue.Queue()
        self._current = 0  # the attempt under way
        self._stopped = 0  # attempts up to this one are to come to their end
        self._seen: Seen | None = None  # of the attempt under way
        self._told: str | None = None  # the reason last told of it

    def run(self) -> None:
        """Serve until standard input ends."""
        import cv2

        # Beside a database and a page on a small PC: one core is enough for five looks a second.
        cv2.setNumThreads(1)
        threading.Thread(target=self._read, name="stdin", daemon=True).start()
        start = self._requests.get()
        face = Face.model_validate(start.values["face"])
        limits = Images.model_validate(start.values["images"])
        camera = self._camera(start.values["camera"])
        loaded = self._engine(face)
        encode = partial(encoded, limits=limits)
        observer = Observer(camera, loaded, face, encode, self._abandoned, self._look)
        self._send(Message("ready"))
        while request := self._next(start.values["rest_after_s"]):
            if request.kind == "compare":
                self._compare(loaded, face, request)
            else:
                self._serve(camera, observer, face, encode, request)

    def _next(self, rest_after_s: float | None) -> Message | None:
        """Return the next request; None, and word of it, when none came for a while where that is the end."""
        try:
            return self._requests.get(timeout=rest_after_s)
        except queue.Empty:
            self._send(Message("rests"))
            return None

    def _serve(
        self, camera: LiveCamera, observer: Observer, face: Face, encode: Encode, request: Message
    ) -> None:
        values = request.values
        self._current, self._told = values["request"], None
        with camera.watched():
            result = observer.observe(request.blobs["card"], values["presented_at"], values["limit_s"])
        self._seen = None
        jpeg = b"" if result.camera is None else result.camera.jpeg()
        card = b"" if result.card is None else encode(result.card)
        verdict = result.verdict
        if face.liveness.command and jpeg and not result.aborted:
            verdict = replace(verdict, liveness=liveness.asked(face.liveness, jpeg))
        answer = {**_answer(result), "request": values["request"], "verdict": verdict.to_values()}
        self._send(Message("observed", answer, {"camera": jpeg, "card": card}))

    def _compare(self, loaded: FaceEngine | None, face: Face, request: Message) -> None:
        """Compare two pictures that were taken long ago: the card's came late."""
        verdict = compared(loaded, request.blobs["card"], request.blobs["camera"], face)
        answer = {"taken_at": None, "reason": "", "aborted": False, "request": request.values["request"]}
        self._send(
            Message("observed", {**answer, "verdict": verdict.to_values()}, {"camera": b"", "card": b""})
        )

    def _abandoned(self) -> bool:
        return self._stopped >= self._current

    def _look(self, seen: Seen) -> None:
        """Keep the newest look for a preview, and tell when its reason changes."""
        self._seen = seen
        if seen.reason != self._told:
            self._told = seen.reason
            self._send(Message("hint", {"reason": seen.reason}))

    def _camera(self, settings: Mapping[str, Any]) -> LiveCamera:
        view = View(settings["width"], settings["height"], settings["rotate"], settings["mirror"])
        return LiveCamera(settings["source"], view, settings["password"], self._camera_changed)

    def _camera_changed(self, up: bool, code: str, facts: Mapping[str, str]) -> None:
        self._send(Message("camera", {"up": up, "code": code, "facts": dict(facts)}))

    def _engine(self, face: Face) -> FaceEngine | None:
        code, facts, loaded = "", {}, None
        try:
            loaded = engine.load(face)
        except AgentError as error:
            code, facts = error.code, dict(error.facts)
        model = None if loaded is None else loaded.model
        threshold = None if loaded is None else threshold_of(face)
        self._send(Message("engine", {"code": code, "facts": facts, "model": model, "threshold": threshold}))
        return loaded

    def _send(self, message: Message) -> None:
        with self._writing:
            try:
                self._out.write(message.encoded())
                self._out.flush()
            except OSError:
                os._exit(0)

    def _read(self) -> None:
        decoder = Decoder()
        try:
            while data := os.read(0, 1 << 20):
                for message in decoder.feed(data):
                    self._take(message)
        except (OSError, BrokenStream):
            pass
        # Not sys.exit: a camera driver that hangs must not keep this process alive.
        os._exit(0)

    def _take(self, message: Message) -> None:
        """Queue a request, or answer at once what must not wait for an attempt to end."""
        if message.kind == "stop":
            self._stopped = max(self._stopped, message.values["request"])
        elif message.kind == "preview":
            seen = self._seen
            jpeg = b"" if seen is None else preview(seen)
            self._send(Message("preview", {"request": message.values["request"]}, {"jpeg": jpeg}))
        else:
            # Whoever asks anew has given the former attempt up.
            self._stopped = max(self._stopped, message.values.get("request", 1) - 1)
            self._requests.put(message)


def _answer(result: Result) -> dict[str, Any]:
    return {
        "taken_at": None if result.camera is None else result.camera.at,
        "reason": result.reason,
        "aborted": result.aborted,
    }


if __name__ == "__main__":
    sys.stderr.reconfigure(errors="replace")  # type: ignore[union-attr]  # a real stream in a real process
    Child().run()
