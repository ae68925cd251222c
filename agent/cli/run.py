"""`run`, `check`, `reload`: the daemon and its configuration."""

from __future__ import annotations

from pathlib import Path

import click

from agent import keys
from agent.catalogue import AgentError
from agent.cli.options import Settings, Verb, json_option, pass_settings
from agent.cli.screen import print_json
from agent.config import Config, Finding, examine
from agent.config.findings import Place
from agent.control import call
from agent.ops.secrets import named_secrets

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

    serve(settings.config_path)


@click.command(cls=Verb)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--no-env", is_flag=True, help="不检查设备与网络 / look at the file alone")
@json_option
@pass_settings
def check(settings: Settings, file: Path | None, no_env: bool, as_json: bool) -> None:
    """检查配置文件 / check the configuration; exit 78 when something is wrong."""
    path = file or settings.config_path
    config, findings = examine(path)
    if settings.lang is None and config is not None:
        settings.lang = config.lang
    if config is not None and not no_env:
        findings += surroundings(config, str(path))
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


def surroundings(config: Config, file: str) -> list[Finding]:
    """Return what the file names and what is not there: secrets that `run` would miss."""
    found = []
    for key, secret in named_secrets(config).items():
        try:
            keys.read_secret(secret, key)
        except AgentError as error:
            found.append(Finding(file, Place(), error.code, error.facts))
    for key in ("folder", "pictures"):
        path = getattr(config.intake, key)
        if path is not None and not Path(path).is_dir():
            found.append(Finding(file, Place(), "E6056", {"key": f"intake.{key}"}))
    if config.intake.wanted and config.intake.mapping is not None:
        # Imported here: a configuration without a mapping must not pay for it.
        from agent.intake.form import examine as examine_mapping

        found += examine_mapping(config.intake.mapping)[1]
    return found


@click.command(cls=Verb)
@pass_settings
def reload(settings: Settings) -> None:
    """让运行中的守护进程重新读取配置 / make the running daemon read its configuration again."""
    call(Path(settings.config().state_dir), "reload")
    settings.say("配置已重新加载", "configuration reloaded")
