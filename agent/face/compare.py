"""Two picture files, one verdict: what the command line offers for trying the engine."""

from __future__ import annotations

from agent import images
from agent.face import quality, weights
from agent.face.engine import FaceEngine, not_verified
from agent.records import FaceVerdict
from drivers.errors import PhotoError


def face_compare(a: bytes, b: bytes, weights_dir: str | None, threshold: float | None) -> FaceVerdict:
    """Compare the faces on two pictures. AgentError E2201 or E2202 when the models are not there."""
    engine = FaceEngine(weights.find(weights_dir))
    try:
        first, second = images.decode(a), images.decode(b)
    except PhotoError:
        return not_verified("no_picture")
    one, other = engine.card(first), engine.card(second)
    if one is None or other is None:
        judged = engine.look(first if one is None else second)
        return not_verified(judged.reason if judged.reason in quality.HARD else "no_face")
    return engine.verdict(one, [other], threshold)
