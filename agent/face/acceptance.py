"""A site's word that it has tried its threshold with real cards: for one model and one threshold, by name."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from agent.catalogue import AgentError
from agent.config.schema import Face
from agent.face import weights
from agent.face.score import threshold_of
from agent.recall import recalled

#: The outbox's setting that keeps it.
SETTING = "face_accepted"
NOT_ACCEPTED = "W2425"


@dataclass(frozen=True)
class Acceptance:
    """What was accepted, by whom, when (ISO 8601)."""

    model: str
    threshold: float
    who: str
    at: str

    def to_json(self) -> str:
        """Return the stored form."""
        return json.dumps(asdict(self), ensure_ascii=False)


def in_force(face: Face) -> tuple[str, float]:
    """Return model and threshold that the configuration puts in force. AgentError E2426 without an engine."""
    try:
        model = weights.in_use(face)
    except AgentError:
        model = None
    if model is None:
        raise AgentError("E2426")
    return model, threshold_of(face)


def stands(stored: str | None, model: str, threshold: float) -> bool:
    """Return whether what is stored was said of this very model and threshold."""
    accepted = recalled(stored, lambda text: Acceptance(**json.loads(text)))
    return accepted is not None and (accepted.model, accepted.threshold) == (model, threshold)
