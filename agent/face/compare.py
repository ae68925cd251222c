"""Two picture files, one verdict: what the command line offers for trying the engine."""

from __future__ import annotations

from agent import images
from agent.config.schema import Face
from agent.face import quality
from agent.face.engine import FaceEngine, compare, load, not_verified
from agent.face.score import threshold_of
from agent.records import FaceVerdict
from drivers.errors import PhotoError


def face_compare(a: bytes, b: bytes, face: Face) -> FaceVerdict:
    """Compare the faces on two pictures. AgentError E2201 to E2203 when there is no engine to do it."""
    return compared(load(face), a, b, face)


def compared(engine: FaceEngine | None, a: bytes, b: bytes, face: Face) -> FaceVerdict:
    """Compare the faces on two pictures with an engine that is loaded already."""
    if engine is None:
        return not_verified("engine_none" if face.engine == "none" else "engine_missing")
    try:
        first, second = images.decode(a), images.decode(b)
    except PhotoError:
        return not_verified("no_picture")
    one, other = engine.card(first), engine.card(second)
    if one is None or other is None:
        return not_verified(_why(engine, first if one is None else second))
    return compare(engine, one, [other], threshold_of(face))


def first_is_unfit(a: bytes, reason: str, face: Face) -> bool:
    """Return whether a comparison that was impossible for this reason was so over its first picture."""
    try:
        picture = images.decode(a)
    except PhotoError:
        return True
    engine = None if reason == "no_picture" else load(face)
    return engine is not None and engine.card(picture) is None


def _why(engine: FaceEngine, picture: images.Image) -> str:
    reason = engine.look(picture).reason
    return reason if reason in quality.HARD else "no_face"
