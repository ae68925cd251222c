"""The face engine: pictures in, embeddings and one defensible verdict out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.face import align, quality
from agent.face.detector import Detector, Face
from agent.face.quality import Judged
from agent.face.score import DEFAULT_THRESHOLD, MAPPING, score
from agent.face.weights import Weights
from agent.records import FaceResult, FaceVerdict

Embedding = NDArray[np.float32]


class FaceEngine:
    """YuNet and SFace, loaded. Not for several threads."""

    def __init__(self, weights: Weights) -> None:
        import cv2

        self.model = weights.model
        self._detector = Detector(weights.detector)
        self._net = cv2.dnn.readNetFromONNX(str(weights.recogniser))

    def look(self, image: NDArray[np.uint8]) -> Judged:
        """Return what the gates say of a camera frame."""
        faces = self._detector.faces(image)
        found = quality.main_face(faces)
        aligned = None if found.face is None else align.crop(image, found.face.landmarks)
        return quality.judge(faces, aligned)

    def card(self, image: NDArray[np.uint8]) -> Embedding | None:
        """Return the embedding of the face on a card's picture, None when there is not exactly one."""
        found = quality.main_face(self._detector.faces(image))
        if found.reason or found.face is None:
            return None
        return self.embed(image, found.face)

    def embed(self, image: NDArray[np.uint8], face: Face) -> Embedding:
        """Return the normalised embedding of one face, the mean of the crop and its mirror image."""
        crop = align.crop(image, face.landmarks)
        return normalised(self._vector(crop) + self._vector(np.ascontiguousarray(crop[:, ::-1])))

    def _vector(self, crop: NDArray[np.uint8]) -> Embedding:
        import cv2

        blob = cv2.dnn.blobFromImage(crop, 1.0, (align.SIDE, align.SIDE), (0, 0, 0), swapRB=True)
        # Named: this file lists its weights as inputs too, and the picture would go to the wrong one.
        self._net.setInput(blob, "data")
        return normalised(np.array(self._net.forward(), np.float32).ravel())

    def verdict(self, card: Embedding, live: Sequence[Embedding], threshold: float | None) -> FaceVerdict:
        """Return the one verdict over the mean of the live embeddings, from the number that is shown."""
        limit = DEFAULT_THRESHOLD if threshold is None else threshold
        cosine = round(float(normalised(np.sum(live, axis=0)) @ card), 4)
        passed = cosine >= limit
        return FaceVerdict(
            FaceResult.PASSED if passed else FaceResult.FAILED,
            reason="" if passed else "below_threshold",
            cosine=cosine,
            score=score(cosine),
            threshold=limit,
            model=self.model,
            mapping=MAPPING,
            frames=len(live),
        )


def normalised(vector: NDArray[np.float32]) -> Embedding:
    """Return the vector at length one."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


def not_verified(reason: str) -> FaceVerdict:
    """Return the verdict where no comparison was possible: no score is invented."""
    return FaceVerdict(FaceResult.NOT_VERIFIED, reason=reason)
