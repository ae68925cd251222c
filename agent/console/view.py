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
from agent.station import flow
from agent.station.events import Light
from agent.station.flow import READY_FOR_CARD
from agent.supervisor import LoopState

Topics = Mapping[str, Mapping[str, Any]]

COMPARED = frozenset({"I2001", "I2003", "I2004"})
#: After each of these the stage says the same.
KEPT = frozenset({flow.KEPT, flow.KEPT_HELD})
#: What a comparison brought: for the registrar's list alone.
RESULTS = COMPARED | {"W2001", "W2002"}
#: She was not photographed: that is on the list, and the stage says no more than that registration goes on.
DECLINED = frozenset({"W1016", "W1017"})
#: Codes of the outbox under which no record is taken.
NOT_TAKING = frozenset({"E3101", "E3119"})
NOT_ANSWERING = "E8410"
#: Whose work it is when nobody at the desk can help herself.
MENDERS = frozenset({"it", "vendor", "platform"})
#: Where the desk stands, as the station posts it.
ANNOUNCED, ASKING = "announced", "asking"
STEPS = ("read", "look", "compare", "keep")
#: Topics that say where one person's verification stands, not how a part is.
NOT_PARTS = frozenset({"screen", "hint", "desk", "last", "operator"})
#: Loops without which no card is verified.
AT_THE_DESK = frozenset({"station"})


def neutral(code: str) -> str:
    """Return a screen's code for whoever has no session: nothing of how one person's verification ended."""
    if code in KEPT | RESULTS:
        return flow.KEPT
    return READY_FOR_CARD if code in DECLINED else code


def public(topics: Topics) -> dict[str, dict[str, Any]]:
    """Return the board for anybody on this machine: no id, nothing about one person."""
    found = {topic: dict(state) for topic, state in topics.items() if topic not in NOT_PARTS - {"screen"}}
    if "screen" in found:
        found["screen"]["code"] = neutral(str(found["screen"].get("code") or ""))
    return found


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
    light, said_code = str(screen.get("state", "")), str(screen.get("code") or "")
    code = neutral(said_code)
    trouble = _trouble(topics, loops, light, code)
    if trouble is not None:
        code, known = trouble
        said = sentence(code, {**facts.get(code, {}), **known}, lang)
        return {"state": "attention", **said, "steps": []}
    if not code:
        return {"state": "off", "code": "", "title": "", "do": [], "steps": []}
    phase = str(topics.get("desk", {}).get("state", ""))
    if code == flow.KEPT and not shown:
        code = READY_FOR_CARD
    said = sentence(code, facts.get(code, {}), lang)
    if light == Light.BUSY.value or phase == ANNOUNCED:
        return {"state": "busy", **said, "steps": steps(topics, events), **_looking(topics, lang)}
    if code == flow.KEPT:
        return {"state": "kept", **said, "steps": steps(topics, events)}
    if said_code in DECLINED:
        return {"state": "declined", **said, "steps": []}
    return {"state": "ready", **said, "steps": [], "asking": phase == ASKING}


def _trouble(
    topics: Topics, loops: Iterable[LoopState], light: str, code: str
) -> tuple[str, Mapping[str, str]] | None:
    """Return the code that only IT can mend and without which nothing is verified."""
    silent = [loop.name for loop in loops if loop.name in AT_THE_DESK and (loop.late_s or not loop.alive)]
    if silent:
        return NOT_ANSWERING, {"loops": ", ".join(silent)}
    if light == Light.BUSY.value or topics.get("desk", {}).get("state") == ANNOUNCED:
        return None
    if code and light == Light.ATTENTION.value and entry(code).who in MENDERS:
        return code, {}
    if topics.get("outbox", {}).get("code") in NOT_TAKING:
        return str(topics["outbox"]["code"]), {}
    camera = topics.get("camera", {})
    if light and camera.get("state") == "down" and camera.get("code"):
        return str(camera["code"]), {}
    return None


def kept(events: Sequence[Event]) -> Event | None:
    """Return the latest event of a record that was kept."""
    found = [event for event in events if event.code == flow.KEPT and "record" in event.facts]
    return found[-1] if found else None


def steps(topics: Topics, events: Sequence[Event]) -> list[dict[str, str]]:
    """Return how far the attempt under way, or else the last one kept, has come: done, now or to come."""
    last = kept(events)
    current = str(topics.get("desk", {}).get("attempt") or (last.facts["record"] if last else ""))
    codes = {event.code for event in events if current in {event.facts.get(k) for k in ("attempt", "record")}}
    done = 4 if flow.KEPT in codes else 3 if codes & COMPARED else 1
    states = ["done"] * done + ["now"] + ["todo"] * len(STEPS)
    return [{"step": step, "state": state} for step, state in zip(STEPS, states, strict=False)]


def _looking(topics: Topics, lang: str) -> dict[str, Any]:
    """Return what only matters while the camera looks: the preview, and why a frame is not good enough."""
    looking = bool(topics.get("desk", {}).get("preview"))
    code = str(topics.get("hint", {}).get("code") or "")
    return {"preview": looking, "hint": sentence(code, {}, lang) if looking and code else None}


def notices(topics: Topics, facts: Mapping[str, Mapping[str, str]], lang: str) -> list[dict[str, Any]]:
    """Return what is wrong and stops nobody at the desk: the platform, the disk, the engine.

    `facts` are those with which each code was told last.
    """
    found = []
    for topic in ("platform", "outbox", "face", "camera", "reader"):
        code = str(topics.get(topic, {}).get("code") or "")
        if code and topics[topic].get("state") != "off":
            found.append({"topic": topic, **sentence(code, facts.get(code, {}), lang)})
    return found
