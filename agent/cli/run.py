"""`run`, `check`, `reload`: the daemon and its configuration."""

from __future__ import annotations

import os
from pathlib import Path

import click

from agent import engine, lastrun
from agent.catalogue import AgentError
from agent.cli.options import Settings, Verb, json_option, pass_settings
from agent.cli.screen import print_json
from agent.clock import SystemClock
from agent.config import Config, ConfigError, Finding
from agent.config.findings import in_order
from agent.config.loader import File, read
from agent.control import NotRunning, call
from agent.ops import judged
from agent.ops.access import account

CONFIG_WRONG = 78


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    for command in (run, check, reload):
        group.add_command(command)


@click.command(cls=Verb)
@pass_settings
def run(settings: Settings) -> None:
    """以前台守护进程运行 / run the daemon in the foreground."""
    # Imported here: `--version` and `status` must not pay for the readers' and the platform's libraries.
    from agent.service import serve

    _refuse_another_s(settings.state_dir())
    try:
        serve(settings.config_path, settings.env())
    except ConfigError as error:
        wrong, state_dir = next(one for one in error.findings if one.fatal), settings.state_dir()
        if state_dir is not None:
            lastrun.refused(state_dir, SystemClock(), wrong.code, wrong.facts)
            judged.judge(settings.config_path, state_dir)
        raise


def _refuse_another_s(state_dir: Path | None) -> None:
    """Keep root from running on the service's data: its files would shut the service out (E8315)."""
    try:
        owner = os.geteuid() if state_dir is None else state_dir.stat().st_uid
    except OSError:
        return
    if owner != os.geteuid():
        raise AgentError("E8315", path=state_dir, account=account(owner))


@click.command(cls=Verb)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--no-env", is_flag=True, help="只看文件本身 / look at the file alone")
@json_option
@pass_settings
def check(settings: Settings, file: Path | None, no_env: bool, as_json: bool) -> None:
    """检查配置文件 / check the configuration; exit 78 when something is wrong."""
    # An upgrade asks the new version before it is put in force.
    engine.ensure()
    path = file or settings.config_path
    digest, state_dir = lastrun.digest(path), settings.state_dir()
    found = read(path)
    if path == settings.config_path and state_dir is not None:
        judged.note(path, state_dir, digest, found.config, found.findings)
    findings = list(found.findings)
    if settings.lang is None and found.config is not None:
        settings.lang = found.config.lang
    if found.config is not None and not no_env:
        asked = state_dir if path == settings.config_path else None
        findings = in_order([*findings, *_surroundings(found, found.config, asked)])
    good = not any(finding.fatal for finding in findings)
    if as_json:
        told = [finding.as_json(settings.language) for finding in findings]
        print_json({"ok": good, "findings": told})
    else:
        for finding in findings:
            click.echo(finding.line(settings.language))
        if good:
            settings.say(f"{path}：配置正确", f"{path}: configuration is correct")
    if not good:
        raise click.exceptions.Exit(CONFIG_WRONG)


def _surroundings(file: File, config: Config, asked: Path | None) -> list[Finding]:
    """Return what is wrong with what a file names. `asked`: where its daemon is to be found."""
    from agent.ops.surroundings import surroundings

    daemon = True
    try:
        call(asked or Path(config.state_dir), "status")
    except NotRunning:
        daemon = False
    except AgentError:
        pass  # it is there, and does not speak to us
    return surroundings(file, config, daemon=daemon)


@click.command(cls=Verb)
@pass_settings
def reload(settings: Settings) -> None:
    """让运行中的守护进程重新读取配置 / make the running daemon read its configuration again."""
    config = settings.config()
    try:
        call(Path(config.state_dir), "reload", {"config": str(settings.config_path.resolve())})
    except NotRunning as error:
        raise AgentError("E8209", path=config.state_dir) from error
    settings.say("配置已重新加载", "configuration reloaded")
