"""Where the models are, and that they are the ones whose thresholds were measured."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from agent.catalogue import AgentError

#: OpenCV's model zoo; both forms of each model give the same results.
DETECTORS = {
    "face_detection_yunet_2023mar_int8bq.onnx": (
        "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10"
    ),
    "face_detection_yunet_2023mar.onnx": "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
}
RECOGNISERS = {
    "face_recognition_sface_2021dec_int8bq.onnx": (
        "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee"
    ),
    "face_recognition_sface_2021dec.onnx": "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
}
PLACES = (Path(sys.prefix) / "share/kiosk-agent/weights", Path("/usr/share/kiosk-agent/weights"))


@dataclass(frozen=True)
class Weights:
    """The two files; `model` names the recogniser in every verdict."""

    detector: Path
    recogniser: Path
    model: str


def find(weights_dir: str | None) -> Weights:
    """Return the verified files. AgentError E2201 when they are missing, E2202 when one was altered."""
    places = (Path(weights_dir),) if weights_dir is not None else PLACES
    for place in places:
        detector, recogniser = _first(place, DETECTORS), _first(place, RECOGNISERS)
        if detector is not None and recogniser is not None:
            digest = _verified(recogniser, RECOGNISERS)
            _verified(detector, DETECTORS)
            return Weights(detector, recogniser, digest[:12])
    raise AgentError("E2201", places=", ".join(str(place) for place in places))


def _first(place: Path, names: dict[str, str]) -> Path | None:
    return next((place / name for name in names if (place / name).is_file()), None)


def _verified(path: Path, pins: dict[str, str]) -> str:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != pins[path.name]:
        raise AgentError("E2202", path=path)
    return digest
