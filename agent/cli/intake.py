"""`intake test`: what would be kept of a result that a kiosk hands in; nothing is kept."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click

from agent import masks
from agent.cli.options import Settings, VerbGroup, json_option, pass_settings
from agent.cli.screen import complain, print_json, shown
from agent.clock import SystemClock, rfc3339
from agent.config import Config

MAX_BYTES = 16 * 2**20
#: What is shown masked, unless asked for.
PERSONAL = ("name", "number", "birth", "address", "latin_name", "operator")


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    group.add_command(intake)


@click.group(cls=VerbGroup)
def intake() -> None:
    """外部程序交入的结果 / results that a kiosk hands in."""


@intake.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--mapping", help="自带映射的名称或 .yaml 文件；不填按配置 / a shipped mapping's name or a .yaml file"
)
@click.option("--reveal", is_flag=True, help="显示完整的证件信息 / show the card's fields in full")
@json_option
@pass_settings
def test(settings: Settings, file: Path, mapping: str | None, reveal: bool, as_json: bool) -> None:
    """试读一个结果文件，不保存 / say what would be kept of a file, and every fault; keep nothing."""
    from agent.intake.candidate import fetchers, form_of, interpreted
    from agent.intake.faults import Rejected
    from agent.intake.form import read
    from agent.intake.reading import parsed
    from agent.vision.pictures import Pictures

    config, clock = settings.config(), SystemClock()
    form = form_of(config) if mapping is None else read(mapping)
    try:
        data, sources = parsed(_content(file)), fetchers(config, file.parent, clock)
        with closing(Pictures(clock)) as pictures:
            candidate = interpreted(
                data,
                config,
                form,
                sources,
                pictures.accepted,
                clock.now(),
                trusted=True,
                operator=config.operators.default,
            )
    except Rejected as error:
        _refused(error, settings, as_json)
        raise click.exceptions.Exit(1) from None
    found = _shown(candidate, config, reveal=reveal)
    if as_json:
        print_json({"ok": True, "faults": [], **found})
        return
    settings.say("会保存（这里什么也没有保存）：", "would be kept (nothing is kept here):")
    for name, value in found["kept"].items():
        click.echo(f"  {name:<14} {shown(value)}")
    for hold, missing in found["holds"].items():
        settings.say(f"  等待补全 {hold}：{missing}", f"  held for {hold}: {missing}")


def _content(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(MAX_BYTES)


def _refused(error: Any, settings: Settings, as_json: bool) -> None:
    if as_json:
        print_json({"ok": False, "faults": error.as_json(settings.language)})
        return
    for fault in error.as_json(settings.language):
        click.echo(f"{fault['code']} {fault['pointer'] or '/'}  {fault['title']}", err=True)
    complain(error, settings.language)


def _shown(candidate: Any, config: Config, *, reveal: bool) -> dict[str, Any]:
    facts = candidate.verification
    kept: dict[str, Any] = {
        "caller_id": candidate.caller_id,
        "verified_at": rfc3339(facts.verified_at),
        "result": facts.face.result.name.lower(),
        "score": facts.face.score,
        "card_kind": facts.card_kind.name.lower(),
        **{name: getattr(facts, name) for name in ("sex_code", "nation_code", "issuer")},
        **{name: getattr(facts, name) for name in ("valid_from", "valid_until")},
        **{name: _masked(name, getattr(facts, name), config, reveal=reveal) for name in PERSONAL},
        "finger": None
        if facts.finger is None
        else {"score": facts.finger.score, "result": facts.finger.result},
        **{f"{kind.value}_picture": f"{len(body)} bytes" for kind, body in candidate.pictures.items()},
    }
    return {"kept": kept, "holds": {hold.value: missing for hold, missing in candidate.holds.items()}}


def _masked(name: str, value: str, config: Config, *, reveal: bool) -> str:
    if reveal or not value:
        return value
    rule = config.console.mask
    if name == "name":
        return masks.name(value, rule.name)
    return masks.number(value, rule.number) if name == "number" else "*" * len(value)
