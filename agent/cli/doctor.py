"""`doctor`: what is wrong, who can mend it, and the next command."""

from __future__ import annotations

from functools import partial
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
from agent.ops.unconfigured import CONFIGURATION, Unconfigured

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
        _without(settings, error, as_json=as_json)
        raise click.exceptions.Exit(entry(error.code).exit) from None
    state_dir = Path(config.state_dir)
    checked = Result(CONFIGURATION, None, {"file": str(settings.config_path)})
    examined = Doctor(config, partial(_daemon, state_dir), partial(ask, config), SystemClock()).examine()
    results = [checked, *examined]
    if as_json:
        print_json([_as_json(result, settings.language) for result in results])
    else:
        for result in results:
            _print(result, settings.language)
    if any(result.code is not None and entry(result.code).severity == "error" for result in results):
        raise SystemExit(1)


def _daemon(state_dir: Path | None) -> Any:
    try:
        return None if state_dir is None else call(state_dir, "status")
    except NotRunning:
        return None


def _without(settings: Settings, error: ConfigError, *, as_json: bool) -> None:
    """Tell what is wrong with the configuration, then whatever can be told without it."""
    state_dir, lang = settings.whereabouts(), settings.language
    examination = Unconfigured(state_dir, partial(_daemon, state_dir), SystemClock())
    if as_json:
        complain_of_config(error, lang)
        results = examination.examine()
        told = [_of_file(finding, lang) for finding in error.findings]
        print_json([*told, *(_as_json(result, lang) for result in results)])
        return
    for finding in error.findings:
        _print_finding(finding, lang)
    for result in examination.examine():
        _print(result, lang)


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
    found = _as_json(Result(CONFIGURATION, finding.code, finding.facts), lang)
    place = {"file": finding.file, "line": finding.place.line, "column": finding.place.column}
    return {**found, "title": finding.as_json(lang)["text"], **place}


def _print_finding(finding: Finding, lang: str) -> None:
    place = f"{finding.file}:{finding.place.line}:{finding.place.column}"
    text = f"{place} {finding.as_json(lang)['text']}"
    _print_wrong(Result(CONFIGURATION, finding.code, finding.facts), text, lang)


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
        _print_wrong(result, entry(result.code).title(lang, result.facts), lang)


def _print_wrong(result: Result, text: str, lang: str) -> None:
    said = entry(result.code or "")
    mark, who = "✗" if said.severity == "error" else "!", WHO[said.who][0 if lang == "zh" else 1]
    click.echo(f"{mark}  {padded(label(result.check, lang), NAME_CELLS)} {text} [{result.code}] ({who})")
    for number, step in enumerate(said.steps(lang, result.facts), start=1):
        click.echo(f"      {number}. {step}")
