"""`register` and `upload --dry-run`: what is done once with the platform's administrator at the telephone."""

from __future__ import annotations

from typing import Any

import click

from agent.catalogue import AgentError, entry
from agent.cli import outbox_words
from agent.cli import platform_words as words
from agent.cli.asking import agreed
from agent.cli.options import Settings, Verb, json_option, pass_settings, yes_option
from agent.cli.screen import device_lines, print_json, shown, table
from agent.config import Config
from agent.control.ask import ask
from agent.inservice import DISABLED, ENABLED


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    group.add_command(register_device)
    group.add_command(upload)


@click.command("register", cls=Verb)
@yes_option
@click.option(
    "--out-of-service",
    "status",
    flag_value=DISABLED,
    type=int,
    help="停用本设备：记录留在本机等待 / take the device out of service: its records wait here",
)
@click.option(
    "--in-service",
    "status",
    flag_value=ENABLED,
    type=int,
    help="恢复使用：继续上传 / put it back in service: what waits goes out",
)
@click.option(
    "--enabled-there",
    is_flag=True,
    help="管理员已确认平台上为启用 / the administrator confirmed that it is enabled on the platform",
)
@json_option
@pass_settings
def register_device(
    settings: Settings, yes: bool, status: int | None, enabled_there: bool, as_json: bool
) -> None:
    """在平台登记本设备，停用或恢复使用 / register this device; take it out of service, or put it back."""
    if enabled_there and status != ENABLED:
        raise click.UsageError("--enabled-there: --in-service")
    config = settings.config()
    known = ask(config, "register.state")
    if status is None and known["status"] == DISABLED:
        raise AgentError("W5113", device=config.device.device_no)
    _show_registration(settings, config, known, ENABLED if status is None else status)
    if not yes:
        agreed(settings, *words.REGISTER[status])
    args = {"status": status, "confirmed": enabled_there}
    try:
        result = ask(config, "register", args, wait_s=_patience_s(config))
    except AgentError as error:
        if error.code != "E5115" or yes:
            raise
        agreed(settings, *words.ENABLED_THERE)
        result = ask(config, "register", {**args, "confirmed": True}, wait_s=_patience_s(config))
    if as_json:
        print_json(result)
    else:
        settings.say(*words.REGISTERED[status, result["already"]])


def _show_registration(settings: Settings, config: Config, known: dict[str, Any], status: int) -> None:
    """Show what will be said to whom, letter for letter."""
    click.echo(settings.words(words.TO_BE_SENT), err=True)
    for line in device_lines(config.device, settings.language, status):
        click.echo(line, err=True)
    click.echo(f"{settings.words(words.PLATFORM['base_url'])}  {config.platform.base_url}", err=True)
    if known["registered"]:
        for name, at in (("registered_at", known["at"]), ("registered_last", known["last"])):
            click.echo(f"{settings.words(words.PLATFORM[name])}  {shown(at)}", err=True)
    if known["since"]:
        click.echo(
            f"{settings.words(words.PLATFORM['out_of_service_since'])}  {shown(known['since'])}", err=True
        )


def _patience_s(config: Config) -> float:
    """Return for how long a verb that asks the platform may take: twice, for its second try."""
    return 2 * (config.platform.connect_timeout_s + config.platform.answer_timeout_s) + 10


@click.command(cls=Verb)
@click.argument("record", metavar="ID")
@click.option("--dry-run", is_flag=True, required=True, help="只显示，不发送 / show, send nothing")
@json_option
@pass_settings
def upload(settings: Settings, record: str, dry_run: bool, as_json: bool) -> None:
    """显示一条记录将怎样上传 / how a record would be sent: signature, headers, body's shape."""
    found = settings.ask("upload.dry_run", {"id": record})
    if as_json:
        print_json(found)
        return
    state = outbox_words.state({"closed_as": None, "state": found["state"]}, settings.language)
    settings.say(f"记录 {record}（{state}）若现在上传：", f"record {record} ({state}), if sent now:")
    _print_request(settings, found)
    click.echo()
    table(
        [settings.words(column) for column in words.COLUMNS],
        [
            (one["name"], settings.words(words.TYPES[one["type"]]), one["chars"], one["utf8"], one["shown"])
            for one in found["fields"]
        ],
    )
    _print_obstacles(settings, found)
    settings.say(
        "以上不含票据、密钥和个人信息（9 数字，A 字母，字 汉字），可在电话中读出。没有发送。",
        "No ticket, secret or personal value is shown (9 digit, A letter, 字 other). Nothing was sent.",
    )


def _print_request(settings: Settings, found: dict[str, Any]) -> None:
    zh = settings.language == "zh"
    click.echo(f"  POST {found['url']}")
    for name, value in found["headers"].items():
        click.echo(f"  {name}: {value}")
    click.echo(("  签名原文  " if zh else "  signed text  ") + found["canonical"])
    click.echo(("  密钥长度  " if zh else "  length of the secret  ") + str(found["secret_length"]))
    conventions, body = found["conventions"], found["body"]
    names = ["sign_encoding", "sign_key", "time_format"]
    if body is not None and body["encrypted"]:
        names += ["sm4_key", "padding", "cipher_encoding"]
    said = "  ".join(f"{name}={conventions[name]}" for name in names)
    click.echo(("  约定  " if zh else "  conventions  ") + said)
    if found["kept"]:
        settings.say(
            "  （上次结果未知，沿用那次的报文约定）",
            "  (the last answer is unknown: the body keeps that attempt's conventions)",
        )
    if body is not None:
        click.echo(
            ("  报文  " if zh else "  body  ") + f"{body['shape']}  {body['length']} B  SM3 {body['sm3']}"
        )


def _print_obstacles(settings: Settings, found: dict[str, Any]) -> None:
    for problem in found["problems"]:
        facts = {**problem["facts"], "field": problem["field"]}
        told = entry(problem["code"]).title(settings.language, facts)
        settings.say(f"! 不会发送：{told}", f"! will not be sent: {told}")
    for hold, detail in found["holds"].items():
        lacks = outbox_words.lacking(hold, detail, settings.language)
        settings.say(f"! 待补全：{lacks}", f"! held: {lacks}")
    for oddity in found["oddities"]:
        odd = outbox_words.told(oddity, settings.language)
        settings.say(f"? 可能被拒：{odd}", f"? may be refused: {odd}")
