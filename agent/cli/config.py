"""`config generate|show`: a commented file to fill in, and what is in force."""

from __future__ import annotations

from pathlib import Path

import click

from agent.cli.files import force_option, written
from agent.cli.options import Settings, VerbGroup, json_option, pass_settings
from agent.cli.screen import padded, print_json
from agent.cli.setup import let_the_service_read
from agent.config.loader import read
from agent.config.writing import config_file, in_force, starred


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    group.add_command(config)


@click.group(cls=VerbGroup)
def config() -> None:
    """生成与查看配置 / write and show the configuration."""


@config.command()
@click.option("--out", type=click.Path(path_type=Path), help="写入文件 / into a file")
@force_option
@click.option("--example", is_flag=True, help="填入示例值 / with made-up values in the starred keys")
@pass_settings
def generate(settings: Settings, out: Path | None, force: bool, example: bool) -> None:
    """带中英文注释的配置文件 / a commented file; fill in the starred keys."""
    text = config_file(example=example)
    if out is None:
        click.echo(text, nl=False)
        return
    written(out, text.encode(), force=force)
    shared = let_the_service_read(out)
    count = starred()
    rights = "0640 root:kiosk-agent" if shared else "0600"
    settings.say(
        f"已写入 {out}（{rights}）。填写 {count} 个带 * 的项，然后：kiosk-agent check --no-env {out}",
        f"written to {out} ({rights}). Fill in the {count} starred keys, then: "
        f"kiosk-agent check --no-env {out}",
    )


@config.command()
@json_option
@pass_settings
def show(settings: Settings, as_json: bool) -> None:
    """文件与默认值合成的结果 / every value, from the file or by default; never a secret."""
    rows = list(in_force(settings.config(), read(settings.config_path).says))
    if as_json:
        print_json(
            {row.name: {"value": row.data, "default": row.default, "origin": row.origin} for row in rows}
        )
        return
    width = max(len(row.name) + len(row.value) for row in rows if len(row.value) < 40) + 4
    mark = "默认" if settings.language == "zh" else "default"
    for row in rows:
        line = f"{row.name}: {row.value}"
        click.echo(f"{padded(line, width)}# {mark}" if row.default else line)
