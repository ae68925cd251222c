"""`status`, `explain`: looking, without changing anything."""

from __future__ import annotations

from typing import Any

import click

from agent.catalogue import AgentError, entries
from agent.cli.options import Settings, Verb, json_option, pass_settings
from agent.cli.screen import print_json
from agent.control.ask import ask
from agent.ops.pages import WHO

QUEUE_NAMES = {
    "zh": {
        "ready": "队列：待传",
        "sending": "传输中",
        "held": "待补全",
        "parked": "被拒",
        "delivered": "已送达",
        "accepted": "合计",
        "difference": "差额",
    },
    "en": {
        "ready": "queue: ready",
        "sending": "sending",
        "held": "held",
        "parked": "parked",
        "delivered": "delivered",
        "accepted": "accepted",
        "difference": "difference",
    },
}


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    group.add_command(status)
    group.add_command(explain)


@click.command(cls=Verb)
@json_option
@pass_settings
def status(settings: Settings, as_json: bool) -> None:
    """现在怎么样 / how things are, problems first."""
    report = ask(settings.config(), "status")
    if as_json:
        print_json(report)
        return
    for line in _problems(report, settings.language):
        click.echo(f"! {line}")
    queue = report["queue"]
    settings.say(
        "守护进程运行中" if report["daemon"] else "守护进程未运行",
        "daemon running" if report["daemon"] else "daemon not running",
    )
    for topic, state in sorted(report["topics"].items()):
        click.echo(f"  {topic:<9} {_state(state, settings.language)}")
    names = QUEUE_NAMES[settings.language]
    click.echo("，".join(f"{name} {queue[key]}" for key, name in names.items()))


def _problems(report: dict[str, Any], lang: str) -> list[str]:
    codes = [
        state["code"] for state in report["topics"].values() if str(state.get("code", " "))[:1] in {"E", "W"}
    ]
    found = [f"{entries()[code].title(lang)} [{code}]" for code in dict.fromkeys(codes)]
    late = [loop["name"] for loop in report["loops"] if loop["late_s"] or not loop["alive"]]
    if late:
        found.append(("无响应的循环：" if lang == "zh" else "loops not answering: ") + ", ".join(late))
    if report["queue"]["difference"]:
        found.append("队列账目不平" if lang == "zh" else "the queue's counters do not balance")
    if not report["clock_trusted"]:
        found.append("本机时间不可信" if lang == "zh" else "this machine's clock cannot be trusted")
    return found


def _state(state: dict[str, Any], lang: str) -> str:
    code = state.get("code")
    text = entries()[code].title(lang) if code else ""
    return f"{state.get('state', '')}  {text}".rstrip()


@click.command(cls=Verb)
@click.argument("code")
@json_option
@pass_settings
def explain(settings: Settings, code: str, as_json: bool) -> None:
    """说明一个代码 / what a code means and what to do."""
    entry = entries().get(code.upper())
    if entry is None:
        raise AgentError("E8106", code=code)
    lang = settings.language
    if as_json:
        print_json(
            {
                "code": entry.code,
                "severity": entry.severity,
                "who": entry.who,
                "title": entry.title(lang),
                "do": entry.steps(lang),
            }
        )
        return
    click.echo(f"{entry.code}  {entry.title(lang)}")
    click.echo(("由谁处理：" if lang == "zh" else "who: ") + WHO[entry.who][0 if lang == "zh" else 1])
    for number, step in enumerate(entry.steps(lang), start=1):
        click.echo(f"  {number}. {step}")
