"""The vision process itself: `python -m agent.vision.child`, started and watched by `agent.vision.process`.

It ends when its standard input does, so that it never outlives the daemon and keeps the camera.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from agent.catalogue import AgentError
from agent.config.schema import Face, Images
from agent.face import weights
from agent.face.engine import FaceEngine
from agent.vision.camera import LiveCamera
from agent.vision.observe import Observer, encoded
from agent.vision.protocol import BrokenStream, Decoder, Message
from drivers.camera import View


class Child:
    """The two ends of the pipe and what lies between."""

    def __init__(self) -> None:
        # Libraries print; nothing of that may get between our messages.
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._writing = threading.Lock()
        self._requests: queue.Queue[Message] = queue.Queue()

    def run(self) -> None:
        """Serve until standard input ends."""
        threading.Thread(target=self._read, name="stdin", daemon=True).start()
        start = self._requests.get()
        face = Face.model_validate(start.values["face"])
        limits = Images.model_validate(start.values["images"])
        camera = self._camera(start.values["camera"])
        engine = self._engine(face)
        observer = Observer(camera, engine, face, lambda: not self._requests.empty())
        self._send(Message("ready"))
        while True:
            self._serve(observer, limits, self._requests.get())

    def _serve(self, observer: Observer, limits: Images, request: Message) -> None:
        values = request.values
        result = observer.observe(request.blobs["card"], values["presented_at"], values["limit_s"])
        camera = None if result.camera is None else result.camera.image
        verdict = asdict(result.verdict)
        verdict["result"] = result.verdict.result.value
        answer = {
            "request": values["request"],
            "verdict": verdict,
            "taken_at": None if result.camera is None else result.camera.at,
            "reason": result.reason,
        }
        blobs = {"camera": encoded(camera, limits), "card": encoded(result.card, limits)}
        self._send(Message("observed", answer, blobs))

    def _camera(self, settings: Mapping[str, Any]) -> LiveCamera:
        view = View(settings["width"], settings["height"], settings["rotate"], settings["mirror"])
        return LiveCamera(settings["source"], view, settings["password"], self._camera_changed)

    def _camera_changed(self, up: bool, code: str, facts: Mapping[str, str]) -> None:
        self._send(Message("camera", {"up": up, "code": code, "facts": dict(facts)}))

    def _engine(self, face: Face) -> FaceEngine | None:
        if face.engine == "none":
            return None
        try:
            return FaceEngine(weights.find(face.weights_dir))
        except AgentError as error:
            self._send(Message("engine", {"code": error.code, "facts": dict(error.facts)}))
            return None

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
                    self._requests.put(message)
        except (OSError, BrokenStream):
            pass
        # Not sys.exit: a camera driver that hangs must not keep this process alive.
        os._exit(0)


if __name__ == "__main__":
    sys.stderr.reconfigure(errors="replace")  # type: ignore[union-attr]  # a real stream in a real process
    Child().run()
