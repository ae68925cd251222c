"""What can be wrong by a report: the one list from which `status`, `doctor` and the tab for IT tell it.

A report is what the owner of the state directory answers to `status`, together with what anybody may see of
the machine (`host.look`), or what `down.report` finds while nobody runs. A condition is pure, and knows one
thing that can be wrong; `doctor` has a check under its name. What `doctor` alone finds out, because it opens,
asks or reads what a glance must not, is named in `doctor.PROBES`, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agent import room
from agent.catalogue import entries, entry
from agent.clock import EARLIEST, Trust, rfc3339
from agent.ops.checking import GOOD, Found
from agent.ops.host import NOT_THERE

Report = Mapping[str, Any]
Topics = Mapping[str, Mapping[str, Any]]

#: The oldest waiting record: a night without the platform is no finding, a day is.
OLD_H = 24.0
#: A record that a person must complete: for so long it is the desk's next step, and then it is forgotten.
HELD_MIN = 5.0
ORDER = ("error", "warning")
#: How a daemon's last run ended; whatever else tells why none runs is the code that ended it.
LAST_RUN = frozenset({"W8611", "W8612", "E8613", "E8614"})
UNIT = "W8615"


@dataclass(frozen=True)
class Problem:
    """One thing that wants a person, by its catalogue code."""

    code: str
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def severity(self) -> str:
        """Return error or warning."""
        return entry(self.code).severity

    def title(self, lang: str) -> str:
        """Return its sentence with the code."""
        return f"{entry(self.code).title(lang, self.facts)} [{self.code}]"

    def as_json(self, lang: str) -> dict[str, Any]:
        """Return it for programs."""
        said = entry(self.code)
        return {
            "code": self.code,
            "severity": said.severity,
            "who": said.who,
            "title": said.title(lang, self.facts),
            "do": said.steps(lang, self.facts),
        }


@dataclass(frozen=True)
class Condition:
    """One thing that can be wrong, under the name of doctor's check; `of`: what of a report it goes by."""

    name: str
    of: str
    look: Callable[[Report, datetime], Found]

    def found(self, report: Report, now: datetime) -> Found | None:
        """Return what is wrong, or facts; None where the report says nothing of it."""
        return None if report.get(self.of) is None else self.look(report, now)


def problems(report: Report, now: datetime) -> list[Problem]:
    """Return what is wrong, each code once: why no daemon runs, then errors, then the rest."""
    return _each_once([*_found(WHY_DOWN, report, now), *_in_order(_found(CONDITIONS, report, now))])


def _in_order(found: Iterable[Problem]) -> list[Problem]:
    return sorted(found, key=lambda problem: ORDER.index(problem.severity))


def _each_once(found: Iterable[Problem]) -> list[Problem]:
    """Return the first of each code: a part names itself before the screen names it."""
    told: dict[str, Problem] = {}
    for problem in found:
        told.setdefault(problem.code, problem)
    return list(told.values())


def of_topics(topics: Topics, told: Mapping[str, Mapping[str, str]]) -> list[Problem]:
    """Return what is wrong by the board alone; `told`: the latest facts of each code."""
    conditions = (*(one for one in CONDITIONS if one.of in {"topics", "face"}), OUTBOX)
    # No part's word depends on the time: any will do.
    return _each_once(_in_order(_found(conditions, {"topics": topics, "told": told, "face": {}}, EARLIEST)))


def _found(conditions: tuple[Condition, ...], report: Report, now: datetime) -> Iterator[Problem]:
    for condition in conditions:
        code, facts = condition.found(report, now) or GOOD
        if code is not None:
            yield Problem(code, {name: str(value) for name, value in facts.items()})


# --- the daemon, and why none runs ------------------------------------------------------------------


def _daemon(report: Report, _now: datetime) -> Found:
    return (None, {"version": report.get("version")}) if report["daemon"] else ("W8602", {})


def _loops(report: Report, _now: datetime) -> Found:
    late = [loop["name"] for loop in report["loops"] if loop["late_s"] or not loop["alive"]]
    return ("E8605", {"loops": ", ".join(late)}) if late else GOOD


def _why(wanted: Callable[[str], bool]) -> Callable[[Report, datetime], Found]:
    return lambda report, _now: next(
        (_coded(reason) for reason in report["down"] if wanted(reason["code"])), GOOD
    )


def _met(member: str) -> Callable[[Report, datetime], Found]:
    """Say what something else met and told under its code."""
    return lambda report, _now: _coded(report[member])


def _coded(told: Mapping[str, Any]) -> Found:
    """Return a code with its facts; one of a later version is not known here."""
    code = str(told["code"])
    return (code, told["facts"]) if code in entries() else ("E8203", {"cause": code})


def _on_file(report: Report, _now: datetime) -> Found:
    return _coded(report["on_file"]) if report["on_file"] else GOOD


# --- the machine ------------------------------------------------------------------------------------


def _disk(report: Report, _now: datetime) -> Found:
    machine = report["machine"]
    hindrance, free = machine["hindrance"], machine["free"]
    if hindrance == NOT_THERE and not report["daemon"]:
        return GOOD  # the first start makes it
    if hindrance is not None:
        return "E8302", {"path": machine["state_dir"], "reason": hindrance}
    # Who is not allowed to look for the ballast cannot say that it is gone.
    needed = room.RESERVE_BYTES + (room.BALLAST_BYTES if machine["ballast"] is False else 0)
    return ("E3119" if free is not None and free < needed else None), {"free": "?" if free is None else free}


def _time_source(report: Report, _now: datetime) -> Found:
    return GOOD if report["machine"]["time_source"] else ("W7502", {})


def _journal(report: Report, _now: datetime) -> Found:
    kept_in = report["machine"]["journal"]
    return ("W8603" if kept_in == "memory" else None), {"kept_in": kept_in}


# --- what the outbox holds --------------------------------------------------------------------------


def oldest_h(queue: Mapping[str, Any], now: datetime) -> float:
    """Return for how many hours the oldest record has waited; 0 when none does."""
    oldest = queue["oldest_waiting"]
    if oldest is None:
        return 0.0
    return max(0.0, (now - datetime.fromisoformat(str(oldest))).total_seconds() / 3600)


def _age(report: Report, now: datetime) -> Found:
    queue, hours = report["queue"], oldest_h(report["queue"], now)
    facts = {"waiting": queue["waiting"], "hours": f"{hours:.1f}"}
    return ("W3150" if hours > OLD_H else None), facts


def _balance(report: Report, _now: datetime) -> Found:
    difference = report["queue"]["difference"]
    return ("E3108" if difference else None), {"difference": difference}


def _room(report: Report, _now: datetime) -> Found:
    used, limit = report["queue"]["bytes"], report["queue"]["limit"]
    return room.alarm(used, limit), {"share": round(100 * used / limit)}


def _some(code: str, state: str) -> Callable[[Report, datetime], Found]:
    """Say that there are records in a state that wants a person."""

    def look(report: Report, _now: datetime) -> Found:
        records = report["queue"][state]
        return (code, {"records": records}) if records else GOOD

    return look


def _held(code: str, lacking: str) -> Callable[[Report, datetime], Found]:
    """Say that records wait for what a person has to say."""

    def look(report: Report, now: datetime) -> Found:
        held = report["held"].get(lacking, {})
        if not held.get("since"):
            return GOOD
        minutes = (now - datetime.fromisoformat(held["since"])).total_seconds() / 60
        facts = {"records": held["records"], "minutes": f"{minutes:.0f}"}
        return (code, facts) if minutes > HELD_MIN else GOOD

    return look


def _copied(report: Report, _now: datetime) -> Found:
    return ("E3122" if report["queue"]["copied"] else None), {}


def _keys(report: Report, _now: datetime) -> Found:
    lost, kek = report["keys"]["lost_epochs"], report["keys"]["kek"]
    if not lost:
        return None, {"kek": kek}
    return "E7301", {"epoch": ",".join(lost), "expected": ",".join(lost.values()), "received": kek}


def _key_files(report: Report, _now: datetime) -> Found:
    names = report["keys"]["own_files"]
    return ("W7306", {"names": ",".join(names)}) if names else GOOD


def _backup(report: Report, _now: datetime) -> Found:
    return (None if report["keys"]["backed_up"] else "W7307"), {}


def _clock(report: Report, now: datetime) -> Found:
    trust = Trust(report["clock_trust"])
    if trust.believed or (trust is Trust.UNCHECKED and not report["daemon"]):
        return GOOD  # without a daemon nobody has had the occasion to hold it against the platform's
    facts = {"state": trust.value, "now": rfc3339(now.replace(microsecond=0))}
    return ("W7507" if trust.may_sign else "E7503"), facts


def _audit(report: Report, _now: datetime) -> Found:
    alarm = report.get("audit_alarm")
    return _coded({"code": alarm["code"], "facts": alarm}) if alarm else GOOD


def _registration(report: Report, _now: datetime) -> Found:
    """Say under which code people hear of the device's state with the platform."""
    device = report["device"]
    if not device:
        return GOOD
    code = "W5113" if device.get("out_of_service_since") else "W5112" if device.get("unconfirmed") else None
    return code, {"device": device["device"]}


# --- what the daemon's parts say --------------------------------------------------------------------


def _topic(name: str, *shown: str) -> Callable[[Report, datetime], Found]:
    """Return the condition of one part. Its facts are those of its fault, or its sentence would have gaps."""

    def look(report: Report, _now: datetime) -> Found:
        state = report["topics"].get(name, {})
        code = _serious(state.get("code"))
        if code is None:
            return None, {key: state[key] for key in ("state", *shown) if key in state}
        return code, {**report.get("told", {}).get(code, {}), **state.get("facts", {})}

    return look


def _serious(code: object) -> str | None:
    """Return a code that wants a person; one of a later version is not known here, and says nothing."""
    text = str(code or "")
    return text if text in entries() and entry(text).severity in ORDER else None


def _intake(report: Report, now: datetime) -> Found:
    code, facts = _topic("intake")(report, now)
    count = report["topics"].get("intake", {}).get("quarantined", 0)
    return code, facts if code is None else {**facts, "count": count}


def _desk(report: Report, now: datetime) -> Found:
    """Say what the screen says, unless that is the registrar's next step and no problem."""
    code, facts = _topic("screen")(report, now)
    return (None if code is None or entry(code).who == "registrar" else code), facts


def _face(report: Report, now: datetime) -> Found:
    """Say what the engine says of itself; without a daemon, whether the site tried what is configured."""
    code, facts = _topic("face")(report, now)
    if code is not None:
        return code, facts
    face = report["face"]
    return _serious(face.get("code")), {key: face[key] for key in ("model", "threshold") if face.get(key)}


#: Told before everything else.
WHY_DOWN = (
    # First of all: with this in the way, a start is no next step.
    Condition("configuration", "wrong", _met("wrong")),
    Condition("daemon", "daemon", _daemon),
    Condition("last run", "down", _why(lambda code: code in LAST_RUN)),
    Condition("cause", "down", _why(lambda code: code not in LAST_RUN | {UNIT})),
    Condition("unit", "down", _why(lambda code: code == UNIT)),
)
CONDITIONS = (
    Condition("file", "on_file", _on_file),
    Condition("database", "error", _met("error")),
    Condition("loops", "loops", _loops),
    Condition("disk", "machine", _disk),
    Condition("time source", "machine", _time_source),
    Condition("journal", "machine", _journal),
    Condition("console", "topics", _topic("console")),
    Condition("queue", "queue", _age),
    Condition("balance", "queue", _balance),
    Condition("room", "queue", _room),
    Condition("unreadable", "queue", _some("E3127", "quarantined")),
    Condition("refused", "queue", _some("W3128", "parked")),
    Condition("operator", "held", _held("W3142", "operator")),
    Condition("fields", "held", _held("W3143", "field")),
    Condition("machine", "queue", _copied),
    Condition("keys", "keys", _keys),
    Condition("key files", "keys", _key_files),
    Condition("backup", "keys", _backup),
    Condition("clock", "clock_trust", _clock),
    Condition("audit", "queue", _audit),
    Condition("registration", "device", _registration),
    Condition("reader", "topics", _topic("reader", "sam_id")),
    Condition("decoder", "topics", _topic("decoder")),
    Condition("picture", "topics", _topic("camera")),
    Condition("face", "face", _face),
    Condition("intake", "topics", _intake),
    Condition("desk", "topics", _desk),
    Condition("signature", "topics", _topic("platform")),
)
#: The same as `room`, `keys` and `machine`, for whoever has only the board.
OUTBOX = Condition("outbox", "topics", _topic("outbox"))
NAMED = {condition.name: condition for condition in (*WHY_DOWN, *CONDITIONS)}
