"""How things are, problems first: for people, for programs, for Nagios and for systemd's STATUS=."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agent.catalogue import entries, entry
from agent.clock import SHANGHAI, Trust

Report = Mapping[str, Any]
Topics = Mapping[str, Mapping[str, Any]]

#: The oldest waiting record: a night without the platform is no finding, a day is.
OLD_H, VERY_OLD_H = 24.0, 72.0
ORDER = ("error", "warning")
#: Nagios' exit statuses.
NAGIOS = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}
#: systemd shows one line of a terminal.
LINE_CHARS = 120


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


def problems(report: Report, now: datetime) -> list[Problem]:
    """Return what is wrong, each code once: that and why the daemon is down, then errors, then the rest."""
    others = sorted(_problems(report, now), key=lambda problem: ORDER.index(problem.severity))
    return list({problem.code: problem for problem in [*_down(report), *others]}.values())


def _down(report: Report) -> Iterator[Problem]:
    if not report["daemon"]:
        yield Problem("W8602")
    for reason in report.get("down", ()):
        yield Problem(reason["code"], reason["facts"])


def _problems(report: Report, now: datetime) -> Iterator[Problem]:
    if error := report.get("error"):
        yield Problem(error["code"], error["facts"])
    yield from _of_topics(report.get("topics", {}), report.get("told", {}))
    yield from _of_topics({"face": report.get("face", {})}, {})
    late = [loop["name"] for loop in report.get("loops", ()) if loop["late_s"] or not loop["alive"]]
    if late:
        yield Problem("E8605", {"loops": ", ".join(late)})
    if alarm := report.get("audit_alarm"):
        yield Problem(alarm["code"], alarm)
    if report.get("clock_trusted") is False:
        trust = Trust(report.get("clock_trust", Trust.BEHIND.value))
        facts = {"state": trust.value, "now": f"{now.astimezone(SHANGHAI):%Y-%m-%d %H:%M:%S}"}
        yield Problem("W7507" if trust.may_sign else "E7503", facts)
    if code := device_code(report.get("device", {})):
        yield Problem(code, {"device": str(report["device"]["device"])})
    if queue := report.get("queue"):
        yield from _of_queue(queue, now)


def device_code(device: Report) -> str:
    """Return under which code people hear of the device's state with the platform, "" when all is well."""
    if device.get("out_of_service_since"):
        return "W5113"
    return "W5112" if device.get("unconfirmed") else ""


def _of_topics(topics: Topics, told: Mapping[str, Mapping[str, str]]) -> Iterator[Problem]:
    for topic in topics.values():
        code = str(topic.get("code") or "")
        # A daemon of a later version may know codes that this command does not.
        if code in entries() and entry(code).severity in ORDER:
            facts = {name: str(value) for name, value in topic.items()}
            yield Problem(code, {**facts, **told.get(code, {})})


def _of_queue(queue: Mapping[str, Any], now: datetime) -> Iterator[Problem]:
    if queue["difference"]:
        yield Problem("E3108", {"difference": str(queue["difference"])})
    if queue["copied"]:
        yield Problem("E3122")
    if queue["quarantined"]:
        yield Problem("E3127", {"records": str(queue["quarantined"])})
    if queue["parked"]:
        yield Problem("W3128", {"records": str(queue["parked"])})
    if (hours := oldest_h(queue, now)) > OLD_H:
        yield Problem("W3150", {"hours": f"{hours:.1f}", "waiting": str(queue["waiting"])})


def oldest_h(queue: Mapping[str, Any], now: datetime) -> float:
    """Return for how many hours the oldest record has waited; 0 when none does."""
    oldest = queue["oldest_waiting"]
    if oldest is None:
        return 0.0
    return max(0.0, (now - datetime.fromisoformat(str(oldest))).total_seconds() / 3600)


# --- one line each ----------------------------------------------------------------------------------


def line(topics: Topics, told: Mapping[str, Mapping[str, str]], lang: str) -> str:
    """Return the line for systemd: problems first, then what the desk says and what waits."""
    zh = lang == "zh"
    parts = [problem.title(lang) for problem in _of_topics(topics, told)]
    screen = str(topics.get("screen", {}).get("code") or "")
    if screen in entries() and entry(screen).severity not in ORDER:
        parts.append(entry(screen).title(lang, told.get(screen)))
    if (queued := topics.get("outbox", {}).get("waiting")) is not None:
        parts.append(f"未送达 {queued}" if zh else f"{queued} waiting")
    text = ("；" if zh else "; ").join(dict.fromkeys(parts))
    return text if len(text) <= LINE_CHARS else text[: LINE_CHARS - 1] + "…"


def nagios(report: Report, found: Sequence[Problem], now: datetime, lang: str) -> tuple[str, int]:
    """Return the line of a Nagios plugin, performance data behind the bar, and its exit status."""
    queue = report.get("queue")
    if queue is None:
        state = "UNKNOWN"
    elif (
        any(problem.severity == "error" for problem in found)
        or oldest_h(queue, now) > VERY_OLD_H
        or not report["daemon"]
    ):
        state = "CRITICAL"
    else:
        state = "WARNING" if found else "OK"
    good = "一切正常" if lang == "zh" else "all is well"
    said = "; ".join(problem.title(lang) for problem in found) or good
    # A bar would begin the performance data.
    text = f"KIOSK-AGENT {state} - {said.replace('|', '/')}"
    return (f"{text} | {_performance(queue, now)}" if queue else text), NAGIOS[state]


def _performance(queue: Mapping[str, Any], now: datetime) -> str:
    limit = queue["limit"]
    age = f"{3600 * oldest_h(queue, now):.0f}s;{3600 * OLD_H:.0f};{3600 * VERY_OLD_H:.0f};0"
    values = {
        "waiting": f"{queue['waiting']};;;0",
        "held": f"{queue['held']};;;0",
        "parked": f"{queue['parked']};0;;0",
        "quarantined": f"{queue['quarantined']};;0;0",
        "delivered": f"{queue['delivered']}c",
        "oldest": age,
        "used": f"{queue['bytes']}B;{round(0.7 * limit)};{round(0.95 * limit)};0;{limit}",
        "free": f"{queue['free']}B",
    }
    return " ".join(f"{name}={value}" for name, value in values.items())
