"""How things are, problems first: for people, for programs, for Nagios and for systemd's STATUS=."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from agent.catalogue import entries, entry
from agent.ops.conditions import OLD_H, Problem, Report, Topics, of_topics, oldest_h

#: The oldest waiting record: a night without the platform is no finding, a day is, three are critical.
VERY_OLD_H = 72.0
#: Nagios' exit statuses.
NAGIOS = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}
#: systemd shows one line of a terminal.
LINE_CHARS = 120


def line(topics: Topics, told: Mapping[str, Mapping[str, str]], lang: str) -> str:
    """Return the line for systemd: problems first, then what the desk says and what waits."""
    zh = lang == "zh"
    found = of_topics(topics, told)
    parts = [problem.title(lang) for problem in found]
    screen = str(topics.get("screen", {}).get("code") or "")
    if screen in entries() and screen not in {problem.code for problem in found}:
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
