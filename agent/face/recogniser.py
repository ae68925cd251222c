"""A face recogniser file in OpenCV's dnn: an aligned crop in, a normalised embedding out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.catalogue import AgentError
from agent.face import align

Embedding = NDArray[np.float32]


@dataclass(frozen=True)
class InputRules:
    """What a recogniser wants to be fed: (pixel - mean) / std of an aligned square crop."""

    side: int = align.SIDE
    mean: float = 0.0
    std: float = 1.0
    rgb: bool = True  # False: BGR
    layout: str = "nchw"  # nchw | nhwc
    name: str = ""  # of the input; "" where the file has one only


#: This file lists its weights as inputs too: unnamed, the picture would go to the wrong one.
SFACE = InputRules(name="data")


class Recogniser:
    """A loaded file. Not for several threads."""

    def __init__(self, model: Path, rules: InputRules, embedding: int | None = None) -> None:
        """Load a verified file. AgentError E2203 when OpenCV does not take it, or it answers otherwise."""
        import cv2

        self._rules = rules
        try:
            self._net = cv2.dnn.readNetFromONNX(str(model))
            length = self._forward(np.full((align.SIDE, align.SIDE, 3), 127, np.uint8)).size
        except cv2.error as error:
            raise AgentError("E2203", path=model, reason=f"OpenCV {error.code}") from None
        if embedding is not None and length != embedding:
            raise AgentError("E2203", path=model, reason=f"{length} values, not {embedding}")

    def embed(self, image: NDArray[np.uint8], landmarks: NDArray[np.float64]) -> Embedding:
        """Return the embedding of one face of a BGR picture."""
        return self.embed_crop(self.crop(image, landmarks))

    def crop(self, image: NDArray[np.uint8], landmarks: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return all that is needed of a BGR picture to embed a face of it: the aligned crop."""
        return align.crop(image, landmarks, self._rules.side)

    def embed_crop(self, crop: NDArray[np.uint8]) -> Embedding:
        """Return the embedding of an aligned crop: the mean of it and the mirror image."""
        mirrored = np.ascontiguousarray(crop[:, ::-1])
        return normalised(normalised(self._forward(crop)) + normalised(self._forward(mirrored)))

    def _forward(self, crop: NDArray[np.uint8]) -> Embedding:
        import cv2

        rules = self._rules
        size = (rules.side, rules.side)
        mean = (rules.mean, rules.mean, rules.mean)
        blob = cv2.dnn.blobFromImage(crop, 1.0 / rules.std, size, mean, swapRB=rules.rgb)
        if rules.layout == "nhwc":
            blob = np.ascontiguousarray(np.transpose(blob, (0, 2, 3, 1)))
        self._net.setInput(blob, rules.name)
        # Copied: the net owns what it returned.
        return np.array(self._net.forward(), np.float32).ravel()


def normalised(vector: NDArray[np.float32]) -> Embedding:
    """Return the vector at length one."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


def mean(embeddings: list[Embedding] | tuple[Embedding, ...]) -> Embedding:
    """Return the normalised mean of embeddings."""
    return normalised(np.sum(embeddings, axis=0))
