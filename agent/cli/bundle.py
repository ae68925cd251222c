"""`support-bundle`: one file for the vendor, without a word about any person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from agent import words
from agent.cli.files import force_option, refuse, written
from agent.cli.options import Settings, Verb, pass_settings
from agent.clock import SystemClock
from agent.config import examine
from agent.control import NotRunning, call
from agent.control.ask import ask
from agent.ops.sources import collect


def register(group: click.Group) -> None:
    """Add the verb of this file."""
    group.add_command(support_bundle)


@click.command(cls=Verb, name="support-bundle")
@click.argument("out", type=click.Path(path_type=Path))
@force_option
@pass_settings
def support_bundle(settings: Settings, out: Path, force: bool) -> None:
    """给厂商的诊断包，不含个人信息和密钥 / for the vendor; holds no personal data and no secret."""
    refuse(out, force=force)
    config, findings = examine(settings.config_path, settings.env())
    if config is not None and settings.lang is None:
        settings.lang = config.lang

    state_dir = settings.whereabouts() if config is None else Path(config.state_dir)

    def daemon() -> Any:
        try:
            return None if state_dir is None else call(state_dir, "status")
        except NotRunning:
            return None

    def asked(verb: str, args: dict[str, Any] | None = None) -> Any:
        if config is None:
            raise LookupError
        return ask(config, verb, args)

    made = collect(config, findings, daemon, asked, SystemClock(), state_dir)
    written(out, made.archive(), force=force)
    settings.say(f"已写入 {out}：", f"written to {out}:")
    for piece in made.pieces:
        click.echo(f"  {piece.name}  {len(piece.content)}")
    for left in made.left_out:
        what, why = (words.said(left[key], settings.language) for key in ("what", "why"))
        settings.say(f"  未收入 {what}：{why}", f"  left out {what}: {why}")
    settings.say(
        "交出之前可以先看一遍：tar -xzOf 文件 | less。manifest.json 是清单。",
        "Look through it before you hand it over: tar -xzOf FILE | less. manifest.json lists it.",
    )
