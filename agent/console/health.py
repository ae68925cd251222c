"""`/healthz`, `/metrics` and `/api/state`: how the agent is, without a word about any person."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest

from agent import __version__
from agent.catalogue import entry
from agent.console import view
from agent.console.figures import Figures
from agent.control.powers import Powers


def blueprint(powers: Powers, figures: Figures, registry: CollectorRegistry) -> Blueprint:
    """Return the three addresses that anybody on this machine may ask."""
    part = Blueprint("health", __name__)
    ProcessCollector(registry=registry)

    @part.get("/healthz")
    def healthz() -> tuple[Response, int]:
        # Nothing is asked of disk or outbox: a probe must not depend on what it probes being fast.
        late = [loop.name for loop in powers.loops() if loop.late_s or not loop.alive]
        return jsonify({"ok": not late, "late": late}), 503 if late else 200

    @part.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    @part.get("/api/state")
    def state() -> Response:
        return jsonify(current(powers, figures))

    return part


def current(powers: Powers, figures: Figures) -> dict[str, Any]:
    """Return the state of everything, each code with its sentence in the site's language."""
    lang = powers.current().lang
    topics = {} if powers.board is None else view.public(powers.board.snapshot())
    told = {} if powers.board is None else powers.board.told()
    for topic in topics.values():
        if code := topic.get("code"):
            topic["title"] = entry(code).title(lang, told.get(code))
    loops = [asdict(loop) for loop in powers.loops()]
    return {
        "version": __version__,
        "lang": lang,
        "healthy": not any(loop["late_s"] or not loop["alive"] for loop in loops),
        "topics": topics,
        "loops": loops,
        # How many follow-ups are open would tell, before and after, how one comparison ended.
        "queue": {key: value for key, value in figures.queue().items() if key != "followups"},
        "clock_trusted": figures.clock_trusted(),
    }
