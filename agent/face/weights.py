"""Where the models are, and that they are the ones whose thresholds were measured."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from agent.catalogue import AgentError
from agent.config.schema import Face, Onnx

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


@dataclass(frozen=True)
class SiteModel:
    """A recogniser that a hospital brought; `model` names it in every verdict."""

    recogniser: Path
    model: str


def find(weights_dir: str | None) -> Weights:
    """Return the verified files. AgentError E2201 when they are missing, E2202 when one was altered."""
    for place in _places(weights_dir):
        detector, recogniser = _first(place, DETECTORS), _first(place, RECOGNISERS)
        if detector is not None and recogniser is not None:
            digest = _verified(recogniser, RECOGNISERS[recogniser.name])
            _verified(detector, DETECTORS[detector.name])
            return Weights(detector, recogniser, digest[:12])
    raise _missing(_places(weights_dir))


def detector(weights_dir: str | None) -> Path:
    """Return the verified detector alone. AgentError as `find`."""
    for place in _places(weights_dir):
        path = _first(place, DETECTORS)
        if path is not None:
            _verified(path, DETECTORS[path.name])
            return path
    raise _missing(_places(weights_dir))


def of_site(onnx: Onnx) -> SiteModel:
    """Return the hospital's own recogniser, verified against its configured digest. AgentError as `find`."""
    path = Path(onnx.model or "")
    if not path.is_file():
        raise _missing((path,))
    return SiteModel(path, _verified(path, onnx.sha256 or "")[:12])


def in_use(face: Face) -> str | None:
    """Return what names the configured recogniser, verified but not loaded; None for `none`.

    AgentError as `find`.
    """
    if face.engine == "none":
        return None
    if face.engine == "onnx":
        detector(face.weights_dir)
        return of_site(face.onnx).model
    return find(face.weights_dir).model


def _places(weights_dir: str | None) -> tuple[Path, ...]:
    return (Path(weights_dir),) if weights_dir is not None else PLACES


def _missing(places: tuple[Path, ...]) -> AgentError:
    return AgentError("E2201", places=", ".join(str(place) for place in places))


def _first(place: Path, names: dict[str, str]) -> Path | None:
    return next((place / name for name in names if (place / name).is_file()), None)


def _verified(path: Path, pin: str) -> str:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != pin:
        raise AgentError("E2202", path=path)
    return digest
