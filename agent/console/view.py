"""What the page shows, from what the board says. Pure: no clock, no disk, no person.

Three states answer whether the next card can be laid down; everything else is a sentence of the catalogue.
The result of a comparison is not told here: the stage says the same after each one, and what a failed one
asks for stands in the registrar's list (`agent/console/lists.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agent.board import Event
from agent.catalogue import entry
from agent.station import events as at_desk
from agent.station import flow
from agent.supervisor import LoopState

Topics = Mapping[str, Mapping[str, Any]]

CARD_READ = "I1004"
COMPARED = frozenset({"I2001", "I2003", "I2004"})
KEPT = frozenset({flow.KEPT, flow.KEPT_HELD})
#: Codes of the outbox under which no record is taken.
NOT_TAKING = frozenset({"E3101", "E3119"})
NOT_ANSWERING = "E8410"
STEPS = ("read", "look", "compare", "keep")
#: Loops without which no card is verified.
AT_THE_DESK = frozenset({"station"})


def sentence(code: str, facts: Mapping[str, str], lang: str) -> dict[str, Any]:
    """Return a code for people: what it means, who mends it, what to do."""
    found = entry(code)
    return {
        "code": code,
        "severity": found.severity,
        "who": found.who,
        "title": found.title(lang, facts),
        "do": found.steps(lang, facts),
    }


def told(events: Iterable[Event]) -> dict[str, Mapping[str, str]]:
    """Return the latest facts of each code."""
    return {event.code: event.facts for event in events}


def stage(
    topics: Topics, events: Sequence[Event], loops: Iterable[LoopState], lang: str, *, shown: bool
) -> dict[str, Any]:
    """Return the large part of the page. `shown`: a result may still be told."""
    screen = topics.get("screen", {})
    facts = told(events)
    light, code = str(screen.get("state", "")), str(screen.get("code", ""))
    trouble = _trouble(topics, loops, light, code)
    if trouble is not None:
        code, known = trouble
        said = sentence(code, {**facts.get(code, {}), **known}, lang)
        return {"state": "attention", **said, "steps": []}
    if not code:
        return {"state": "off", "code": "", "title": "", "do": [], "steps": []}
    if code in KEPT and not shown:
        code = flow.READY_FOR_CARD
    said = sentence(code, facts.get(code, {}), lang)
    if light == at_desk.Light.BUSY.value:
        return {"state": "busy", **said, "steps": steps(events), **_looking(topics, events, lang)}
    if code in KEPT:
        return {"state": "kept", **said, "steps": steps(events)}
    return {"state": "ready", **said, "steps": []}


def _trouble(
    topics: Topics, loops: Iterable[LoopState], light: str, code: str
) -> tuple[str, Mapping[str, str]] | None:
    """Return the code that only IT can mend and without which nothing is verified."""
    silent = [loop.name for loop in loops if loop.name in AT_THE_DESK and (loop.late_s or not loop.alive)]
    if silent:
        return NOT_ANSWERING, {"loops": ", ".join(silent)}
    if light == at_desk.Light.BUSY.value:
        return None
    if light == at_desk.Light.ATTENTION.value and entry(code).who != "registrar":
        return code, {}
    if topics.get("outbox", {}).get("code") in NOT_TAKING:
        return str(topics["outbox"]["code"]), {}
    camera = topics.get("camera", {})
    if light and camera.get("state") == "down" and camera.get("code"):
        return str(camera["code"]), {}
    return None


def attempt(events: Sequence[Event]) -> str:
    """Return the id of the latest attempt, "" for none."""
    read = [event for event in events if event.code == CARD_READ]
    return read[-1].facts.get("attempt", "") if read else ""


def kept(events: Sequence[Event]) -> Event | None:
    """Return the latest event of a record that was kept."""
    found = [event for event in events if event.code == flow.KEPT and "record" in event.facts]
    return found[-1] if found else None


def steps(events: Sequence[Event]) -> list[dict[str, str]]:
    """Return how far the latest attempt has come: each step done, now or still to come."""
    current = attempt(events)
    codes = {event.code for event in events if current in {event.facts.get(k) for k in ("attempt", "record")}}
    done = 1
    if codes & COMPARED:
        done = 3
    if flow.KEPT in codes:
        done = 4
    states = ["done"] * done + ["now"] + ["todo"] * len(STEPS)
    return [{"step": step, "state": state} for step, state in zip(STEPS, states, strict=False)]


def _looking(topics: Topics, events: Sequence[Event], lang: str) -> dict[str, Any]:
    """Return what only matters while the camera looks: the preview, and why a frame is not good enough."""
    looking = any(one == {"step": "look", "state": "now"} for one in steps(events))
    code = str(topics.get("hint", {}).get("code") or "")
    return {"preview": looking, "hint": sentence(code, {}, lang) if looking and code else None}


def notices(topics: Topics, events: Sequence[Event], lang: str) -> list[dict[str, Any]]:
    """Return what is wrong and stops nobody at the desk: the platform, the disk, the engine."""
    facts, found = told(events), []
    for topic in ("platform", "outbox", "face", "camera", "reader"):
        code = str(topics.get(topic, {}).get("code") or "")
        if code and topics[topic].get("state") != "off":
            found.append({"topic": topic, **sentence(code, facts.get(code, {}), lang)})
    return found
