"""The face engine: pictures in, judged frames, embeddings, and one defensible comparison out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.config.schema import Face as FaceSettings
from agent.config.schema import Onnx
from agent.face import align, chip, quality, recogniser, score, weights
from agent.face.detector import Detector, Face
from agent.face.quality import Judged
from agent.face.recogniser import Embedding, InputRules, Recogniser
from agent.records import FaceResult, FaceVerdict

Image = NDArray[np.uint8]


class Engine(Protocol):
    """What the agent asks of any engine: the built-in one, a hospital's own file, a vendor's library."""

    model: str  # first 12 hex digits of the recogniser's SHA-256
    mapping: score.Mapping

    def look(self, image: Image) -> Judged:
        """Return what the gates say of a camera frame."""
        ...

    def card(self, image: Image) -> Embedding | None:
        """Return the embedding of the face on a card's picture, None when there is not exactly one."""
        ...

    def embed(self, image: Image, face: Face) -> Embedding:
        """Return the normalised embedding of one face of a camera frame."""
        ...

    def crop(self, image: Image, face: Face) -> Image:
        """Return all that `embed_crop` needs of a frame, as small as may be: it is kept in its place."""
        ...

    def embed_crop(self, crop: Image) -> Embedding:
        """Return what `embed` would have returned for the frame and the face."""
        ...


class FaceEngine:
    """YuNet and a recogniser, loaded. Not for several threads."""

    def __init__(
        self, detector: Detector, recogniser: Recogniser, model: str, mapping: score.Mapping
    ) -> None:
        self.model = model
        self.mapping = mapping
        self._detector = detector
        self._recogniser = recogniser

    def look(self, image: Image) -> Judged:
        """Return what the gates say of a camera frame."""
        found = quality.main_face(self._detector.faces(image))
        if found.face is None or found.reason:
            return found
        height, width = image.shape[:2]
        aligned = align.crop(image, found.face.landmarks)
        return quality.judge(found, quality.measure(found.face, aligned, (height, width)))

    def card(self, image: Image) -> Embedding | None:
        """Return the embedding of the face on a card's picture, None when there is not exactly one."""
        picture = chip.prepared(image)
        found = quality.main_face(self._detector.faces(picture))
        if found.reason or found.face is None:
            return None
        return self.embed(picture, found.face)

    def embed(self, image: Image, face: Face) -> Embedding:
        """Return the normalised embedding of one face: the mean of its crop and the mirror image."""
        return self._recogniser.embed(image, face.landmarks)

    def crop(self, image: Image, face: Face) -> Image:
        """Return the aligned crop of a face: some tens of kilobytes, where a frame of 1080p is 6 MB."""
        return self._recogniser.crop(image, face.landmarks)

    def embed_crop(self, crop: Image) -> Embedding:
        """Return the normalised embedding of an aligned crop."""
        return self._recogniser.embed_crop(crop)


def load(face: FaceSettings) -> FaceEngine | None:
    """Return the configured engine, None for `none`.

    AgentError: E2201 a file is missing, E2202 it was altered, E2203 it is none that OpenCV takes.
    """
    if face.engine == "none":
        return None
    if face.engine == "onnx":
        return _of_site(face.onnx, face.weights_dir)
    found = weights.find(face.weights_dir)
    loaded = Recogniser(found.recogniser, recogniser.SFACE)
    return FaceEngine(Detector(found.detector), loaded, found.model, score.SFACE)


def _of_site(onnx: Onnx, weights_dir: str | None) -> FaceEngine:
    model = weights.of_site(onnx)
    rules = InputRules(
        onnx.side, onnx.mean, onnx.std, onnx.channels == "rgb", onnx.layout, onnx.input_name or ""
    )
    loaded = Recogniser(model.recogniser, rules, onnx.embedding)
    detector = Detector(weights.detector(weights_dir))
    return FaceEngine(detector, loaded, model.model, score.mapping_of(onnx))


def compare(engine: Engine, card: Embedding, live: Sequence[Embedding], threshold: float) -> FaceVerdict:
    """Return the one verdict over the mean of the live embeddings, from the score that is shown."""
    mapping = engine.mapping
    cosine = round(float(recogniser.mean(tuple(live)) @ card), 4)
    shown, needed = mapping.score(cosine), mapping.pass_score(threshold)
    passed = shown >= needed
    return FaceVerdict(
        FaceResult.PASSED if passed else FaceResult.FAILED,
        reason="" if passed else "below_threshold",
        cosine=cosine,
        score=shown,
        threshold=threshold,
        model=engine.model,
        mapping=mapping.name,
        frames=len(live),
        pass_score=needed,
    )


def not_verified(reason: str) -> FaceVerdict:
    """Return the verdict where no comparison was possible: no score is invented."""
    return FaceVerdict(FaceResult.NOT_VERIFIED, reason=reason)
