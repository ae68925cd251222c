"""`doctor`: what is wrong, who can mend it, and the next command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from agent.catalogue import entry
from agent.cli.doctor_words import label, seen
from agent.cli.options import Settings, Verb, json_option, pass_settings
from agent.cli.screen import complain_of_config, padded, print_json
from agent.clock import SystemClock
from agent.config import ConfigError, Finding
from agent.control import NotRunning, call
from agent.control.ask import ask
from agent.ops.checking import Result
from agent.ops.doctor import Doctor
from agent.ops.pages import WHO

NAME_CELLS = 12


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    group.add_command(doctor)


@click.command(cls=Verb)
@json_option
@pass_settings
def doctor(settings: Settings, as_json: bool) -> None:
    """体检：问题、由谁处理、下一步 / what is wrong, whose job it is, what to do; exit 1 on an error."""
    try:
        config = settings.config()
    except ConfigError as error:
        if not as_json:
            raise
        print_json([_of_file(finding, settings.language) for finding in error.findings])
        raise click.exceptions.Exit(complain_of_config(error, settings.language)) from None

    def daemon() -> Any:
        try:
            return call(Path(config.state_dir), "status")
        except NotRunning:
            return None

    results = Doctor(config, daemon, lambda verb: ask(config, verb), SystemClock()).examine()
    if as_json:
        print_json([_as_json(result, settings.language) for result in results])
    else:
        for result in results:
            _print(result, settings.language)
    if any(result.code is not None and entry(result.code).severity == "error" for result in results):
        raise SystemExit(1)


def _as_json(result: Result, lang: str) -> dict[str, Any]:
    good = result.code is None and result.follows is None
    found: dict[str, Any] = {"check": result.check, "ok": good}
    found |= {"code": result.code, "facts": dict(result.facts), "follows": result.follows}
    if result.code is not None:
        said = entry(result.code)
        found |= {"severity": said.severity, "who": said.who}
        found |= {"title": said.title(lang, result.facts), "do": said.steps(lang, result.facts)}
    return found


def _of_file(finding: Finding, lang: str) -> dict[str, Any]:
    """Return what is wrong with the configuration in the form of a check, and where it stands."""
    found = _as_json(Result("configuration", finding.code, finding.facts), lang)
    place = {"file": finding.file, "line": finding.place.line, "column": finding.place.column}
    return {**found, **place}


def _print(result: Result, lang: str) -> None:
    zh = lang == "zh"
    name = padded(label(result.check, lang), NAME_CELLS)
    if result.follows is not None:
        first = label(result.follows, lang)
        click.echo(f"?  {name} " + (f"未检查：先解决 {first}" if zh else f"not checked: mend {first} first"))
    elif result.code is None:
        facts = "  ".join(seen(fact, value, lang) for fact, value in result.facts.items())
        click.echo(f"✓  {name} {facts}".rstrip())
    else:
        said = entry(result.code)
        mark = "✗" if said.severity == "error" else "!"
        who = WHO[said.who][0 if zh else 1]
        click.echo(f"{mark}  {name} {said.title(lang, result.facts)} [{result.code}] ({who})")
        for number, step in enumerate(said.steps(lang, result.facts), start=1):
            click.echo(f"      {number}. {step}")
