"""The tab for IT: what each part does, what is wrong and whose job that is. Nobody is named or numbered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from agent import __version__
from agent.board import Board, Event
from agent.clock import Clock
from agent.console import view
from agent.console.figures import OF_A_PERSON, Figures
from agent.control import commissioning, keyring, looking
from agent.control.powers import Powers
from agent.ops.conditions import Report, problems
from agent.supervisor import LoopState

#: Shown of what happened lately.
EVENTS = 40
#: What the platform said, by code: delivered, refused, unreachable.
OF_THE_PLATFORM = ("E4", "E5", "I5")
ANSWERS = 8


def overview(powers: Powers, board: Board, figures: Figures, clock: Clock, lang: str) -> dict[str, Any]:
    """Return everything that the tab shows."""
    topics, events, loops = board.snapshot(), board.events(), powers.loops()
    queue, config = figures.queue(), powers.current()
    return {
        "version": __version__,
        "now": clock.now().isoformat(timespec="seconds"),
        "clock_trusted": figures.clock_trusted(),
        "problems": [
            view.sentence(problem.code, problem.facts, lang)
            for problem in problems(_report(powers, board, loops, queue), clock.now())
        ],
        "topics": {name: _topic(state) for name, state in topics.items() if name not in view.NOT_PARTS},
        "queue": queue,
        "loops": [
            {"name": loop.name, "up": loop.alive and not loop.late_s, "restarts": loop.restarts}
            for loop in loops
        ],
        "device": {"dept": config.device.dept_name, "device_no": config.device.device_no},
        "platform_url": config.platform.base_url,
        "answers": _told(_of(events, OF_THE_PLATFORM)[-ANSWERS:], lang),
        "events": _told([e for e in events if e.code not in OF_A_PERSON][-EVENTS:], lang),
    }


def _topic(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part's state; "ok" where it says nothing else. What its fault is about the sentence says."""
    return {key: value for key, value in state.items() if key != "facts" and value not in (None, "")}


def _report(
    powers: Powers,
    board: Board,
    loops: Iterable[LoopState],
    queue: Mapping[str, Any],
) -> Report:
    """Return what `status` answers, but for what takes a look at the machine or reads the models."""
    on_file = powers.on_file()
    return {
        "daemon": True,
        "topics": {name: state for name, state in board.snapshot().items() if name not in view.NOT_PARTS},
        "told": board.told(),
        "loops": [asdict(loop) for loop in loops],
        "queue": queue,
        "held": looking.held_back(powers),
        "keys": keyring.state(powers),
        "clock_trust": powers.own.time.trust().value,
        "audit_alarm": powers.own.audit_alarm(),
        "device": commissioning.device_state(powers),
        "on_file": None if on_file is None else on_file.differs(powers.current()),
    }


def _of(events: Iterable[Event], heads: tuple[str, ...]) -> list[Event]:
    return [event for event in events if event.code.startswith(heads)]


def _told(events: Iterable[Event], lang: str) -> list[dict[str, Any]]:
    """Return events newest first, as their sentences: facts that no sentence shows are left out."""
    return [
        {
            "at": _seconds(event.at),
            "code": event.code,
            "title": view.sentence(event.code, event.facts, lang)["title"],
        }
        for event in reversed(list(events))
    ]


def _seconds(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
