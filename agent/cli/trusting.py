"""`platform ...`, `clock ...`: what the agent believes of the platform and its clock, and a person's word."""

from __future__ import annotations

from typing import Any

import click

from agent.catalogue import entry
from agent.cli import platform_words as words
from agent.cli.asking import agreed
from agent.cli.options import Settings, VerbGroup, json_option, pass_settings, yes_option
from agent.cli.screen import print_json, shown, table
from agent.clock import SystemClock
from agent.control.ask import ask

#: Trust -> (zh, en).
TRUST = {
    "ntp": ("已由 NTP 校准", "kept by NTP"),
    "platform": ("与平台时间一致", "agrees with the platform's"),
    "person": ("由人工确认", "confirmed by a person"),
    "unchecked": ("尚未确认", "not confirmed yet"),
    "wrong": ("与平台时间不符", "differs from the platform's"),
    "unset": ("未设置", "not set"),
    "behind": ("早于上次记录的时间", "before the last time that was kept"),
}


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    group.add_command(platform)
    group.add_command(clock)


@click.group(cls=VerbGroup)
def platform() -> None:
    """与平台的关系 / what is known of the platform."""


@platform.command("show")
@json_option
@pass_settings
def show_platform(settings: Settings, as_json: bool) -> None:
    """登记、约定、签名、等待 / registration, conventions, signed answers, what is waited for."""
    found: dict[str, Any] = ask(settings.config(), "platform.show")
    if as_json:
        print_json(found)
        return
    named = {name: settings.words(words.PLATFORM.get(name, (name, name))) for name in found}
    rows = [(named[name], _text(settings, value)) for name, value in found.items()]
    table([settings.words(heading) for heading in words.HEADINGS], rows)
    if found["waiting_for"]:
        said = entry(found["waiting_for"])
        for number, step in enumerate(said.steps(settings.language), start=1):
            click.echo(f"  {number}. {step}")


@platform.command()
@yes_option
@json_option
@pass_settings
def accept_unsigned(settings: Settings, yes: bool, as_json: bool) -> None:
    """重新接受未签名的应答 / take unsigned answers again; the next signed one ends that."""
    if not yes:
        agreed(settings, *words.NO_LONGER_SIGNS)
    result = ask(settings.config(), "platform.accept_unsigned")
    if as_json:
        print_json(result)
    else:
        settings.say("已重新接受未签名的应答", "unsigned answers are taken again")


@click.group(cls=VerbGroup)
def clock() -> None:
    """本机时钟 / this machine's clock."""


@clock.command("show")
@json_option
@pass_settings
def show_clock(settings: Settings, as_json: bool) -> None:
    """时间是否可信 / whether the time can be believed, and how many records wait for it."""
    _report(settings, ask(settings.config(), "clock.show"), as_json=as_json)


@clock.command()
@yes_option
@json_option
@pass_settings
def accept(settings: Settings, yes: bool, as_json: bool) -> None:
    """人工确认时间正确 / say, under your name, that the time is right."""
    if not yes:
        now = SystemClock().now().isoformat()
        click.echo(shown(now), err=True)
        agreed(settings, *words.TIME_IS_RIGHT)
    _report(settings, ask(settings.config(), "clock.accept"), as_json=as_json)


@clock.command("set")
@click.argument("record")
@click.argument("at")
@json_option
@pass_settings
def set_(settings: Settings, record: str, at: str, as_json: bool) -> None:
    """为一条记录补填时间 / give one record the time a person remembers, e.g. "2026-03-01 09:30"."""
    result = ask(settings.config(), "clock.set", {"id": record, "at": at})
    if as_json:
        print_json(result)
    else:
        settings.say(f"记录 {record} 的时间已补填", f"record {record} has its time")


def _report(settings: Settings, found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    zh, en = TRUST[found["trust"]]
    settings.say(
        f"{shown(found['now'])}  {zh}；因时钟等待的记录 {found['held']} 条",
        f"{shown(found['now'])}  {en}; {found['held']} records are held for the clock",
    )


def _text(settings: Settings, value: object) -> str:
    if isinstance(value, bool):
        return settings.words(words.YES_NO[value])
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return shown(value)
