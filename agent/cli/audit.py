"""`audit verify|show`: is the trail whole, and what does it say."""

from __future__ import annotations

from typing import Any

import click

from agent.catalogue import entry
from agent.cli.options import Settings, VerbGroup, json_option, pass_settings
from agent.cli.screen import print_json, table
from agent.control.ask import ask

#: What every line has; the rest of a line is shown behind.
COLUMNS = ("at", "who", "what", "object", "result")
HIDDEN = frozenset({*COLUMNS, "mac", "seq"})


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    group.add_command(audit)


@click.group(cls=VerbGroup)
def audit() -> None:
    """审计日志 / the audit trail."""


@audit.command()
@click.option("--acknowledge", metavar="REASON", help="写明原因，解除报警 / take an alarm back, saying why")
@json_option
@pass_settings
def verify(settings: Settings, acknowledge: str | None, as_json: bool) -> None:
    """核对整条审计链 / check the whole chain; exit 1 when a line does not fit or lines are gone."""
    config = settings.config()
    if acknowledge:
        ask(config, "audit.acknowledge", {"reason": acknowledge})
    found: dict[str, Any] = ask(config, "audit.verify")
    while found["next"] is not None:
        found = ask(config, "audit.verify", {"next": found["next"], "head": found["head"]})
    alarm, broken, lines = found["alarm"], found["broken_at"], found["head"]["seq"]
    good = broken is None and not alarm
    if as_json:
        print_json(
            {"ok": good, "lines": lines, "broken_at": broken, "alarm": alarm, "head": found["head"]["mac"]}
        )
    else:
        _say(settings, lines, broken, alarm, found["head"]["mac"])
    if not good:
        raise click.exceptions.Exit(1)


def _say(settings: Settings, lines: int, broken: int | None, alarm: dict[str, str] | None, mac: str) -> None:
    if broken is not None:
        said = entry("E3307").title(settings.language, {"line": str(broken)})
        click.echo(f"✗ {said} [E3307]")
    else:
        settings.say(
            f"✓ {lines} 行，首尾相连；末行 {mac[:16]}", f"✓ {lines} lines, one chain; it ends in {mac[:16]}"
        )
    if alarm:
        click.echo(f"✗ {entry(alarm['code']).title(settings.language, alarm)} [{alarm['code']}]")
        for step in entry(alarm["code"]).steps(settings.language, alarm):
            click.echo(f"    {step}")


@audit.command()
@click.option(
    "--last", type=click.IntRange(1, 1000), default=50, show_default=True, help="最近几行 / how many"
)
@click.option("--what", help="事件，例如 record. / kind of event, such as record.")
@click.option("--object", "object_", help="对象，例如记录编号 / what it was done to, such as a record")
@click.option("--who", help="操作者 / who did it")
@json_option
@pass_settings
def show(
    settings: Settings, last: int, what: str | None, object_: str | None, who: str | None, as_json: bool
) -> None:
    """最近的审计记录 / the latest lines: who, what, when, to what, with what result."""
    wanted = {"last": last, "what": what, "object": object_, "who": who}
    lines = settings.ask("audit.show", wanted)
    if as_json:
        print_json(lines)
        return
    rest = [" ".join(f"{key}={value}" for key, value in line.items() if key not in HIDDEN) for line in lines]
    rows = [[*(line.get(name) for name in COLUMNS), more] for line, more in zip(lines, rest, strict=True)]
    zh = ("时间", "谁", "做了什么", "对象", "结果", "")
    table(zh if settings.language == "zh" else ("at", "who", "what", "object", "result", ""), rows)
