"""`register` and `upload --dry-run`: what is done once with the platform's administrator at the telephone."""

from __future__ import annotations

import sys
from typing import Any

import click

from agent.cli.options import Settings, Verb, json_option, pass_settings
from agent.cli.probe import device_values
from agent.cli.screen import print_json, shown, table
from agent.config import Config
from agent.control.ask import ask


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    group.add_command(register_device)
    group.add_command(upload)


@click.command("register", cls=Verb)
@click.option("--yes", is_flag=True, help="不再询问 / do not ask")
@json_option
@pass_settings
def register_device(settings: Settings, yes: bool, as_json: bool) -> None:
    """在平台登记本设备 / register this device with the platform; cannot be undone."""
    config = settings.config()
    known = ask(config, "register.state")
    zh = settings.language == "zh"
    lines = [f"  {name:<21} {value}" for name, value in device_values(config.device).items()]
    click.echo("将登记为：" if zh else "To be registered as:", err=True)
    click.echo("\n".join(lines), err=True)
    click.echo(f"{'平台' if zh else 'platform'} {config.platform.base_url}", err=True)
    if known["registered"]:
        said = "此前已确认登记：" if zh else "known to be registered since: "
        click.echo(said + shown(known["at"]), err=True)
    if not yes and sys.stdin.isatty():
        question = (
            "登记后不能撤销、不能修改。以上各值与管理员录入的逐字一致，登记吗？"
            if zh
            else "This cannot be undone or changed. Are these values, letter for letter, right? Register?"
        )
        click.confirm(question, abort=True, err=True)
    result = ask(config, "register", wait_s=_patience_s(config))
    if as_json:
        print_json(result)
    elif result["already"]:
        settings.say("平台早有这台设备（B2301），无变化", "the platform knows this device already (B2301)")
    else:
        settings.say("已登记，状态为启用（status 0）", "registered, enabled (status 0)")


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
    found = ask(settings.config(), "upload.dry_run", {"id": record})
    if as_json:
        print_json(found)
        return
    settings.say(
        f"记录 {record}（{found['state']}）若现在上传：", f"record {record} ({found['state']}), if sent now:"
    )
    _print_request(settings, found)
    click.echo()
    table(
        ("field", "type", "chars", "utf-8", "value or shape"),
        [(one["name"], one["type"], one["chars"], one["utf8"], one["shown"]) for one in found["fields"]],
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
        settings.say(
            f"! 不会发送：{problem['field']} {problem['reason']}",
            f"! will not be sent: {problem['field']} {problem['reason']}",
        )
    for hold, detail in found["holds"].items():
        settings.say(f"! 待补全：{hold} {detail}", f"! held: {hold} {detail}")
    for oddity in found["oddities"]:
        settings.say(f"? 可能被拒：{oddity}", f"? may be refused: {oddity}")
