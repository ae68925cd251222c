"""`explain`: what a code means, who mends it, what to do. Needs neither network nor daemon."""

from __future__ import annotations

import click

from agent.catalogue import AgentError, entries
from agent.cli.options import Settings, Verb, json_option, pass_settings
from agent.cli.screen import print_json
from agent.journal import message_id
from agent.ops.pages import WHO


def register(group: click.Group) -> None:
    """Add the verb of this file."""
    group.add_command(explain)


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
                "exit": entry.exit,
                "message_id": message_id(entry.code),
            }
        )
        return
    click.echo(f"{entry.code}  {entry.title(lang)}")
    click.echo(("由谁处理：" if lang == "zh" else "who: ") + WHO[entry.who][0 if lang == "zh" else 1])
    for number, step in enumerate(entry.steps(lang), start=1):
        click.echo(f"  {number}. {step}")
