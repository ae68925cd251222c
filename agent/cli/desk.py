"""`desk ...`, `followups ...`: what the page offers the registrar, from the command line."""

from __future__ import annotations

import click

from agent.cli.options import Settings, VerbGroup, json_option, pass_settings
from agent.cli.screen import print_json, table

REASONS = {
    "failed": ("核验未通过", "not passed"),
    "not_verified": ("未能比对", "not compared"),
    "refused": ("拒绝拍摄", "refused"),
    "cannot_be_photographed": ("无法拍摄", "cannot be photographed"),
    "no_picture": ("没有照片", "no picture"),
}


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    group.add_command(desk)
    group.add_command(followups)


@click.group(cls=VerbGroup)
def desk() -> None:
    """登记窗口的操作 / what a registrar decides at the desk."""


@desk.command("end")
@click.argument("why", type=click.Choice(["wrong_card", "refused", "cannot_be_photographed"]))
@pass_settings
def end(settings: Settings, why: str) -> None:
    """结束本次核验：拿错证件、拒绝或无法拍摄 / end the attempt under way, and say why."""
    settings.ask("desk.end", {"why": why})
    settings.say("已告知", "told")


@desk.command("again")
@pass_settings
def again(settings: Settings) -> None:
    """确认再次核验刚核验过的证件 / the card that was just verified is meant once more."""
    settings.ask("desk.again")
    settings.say("已告知", "told")


@desk.command("sign-in")
@click.argument("name")
@pass_settings
def sign_in(settings: Settings, name: str) -> None:
    """签到 / let somebody operate the desk."""
    found = settings.ask("desk.sign_in", {"name": name})
    settings.say(f"操作人：{found['operator']}", f"operator: {found['operator']}")


@desk.command("sign-out")
@pass_settings
def sign_out(settings: Settings) -> None:
    """签退 / let nobody be signed in."""
    found = settings.ask("desk.sign_out")
    settings.say(f"操作人：{found['operator'] or '无'}", f"operator: {found['operator'] or 'nobody'}")


@click.group(cls=VerbGroup)
def followups() -> None:
    """待跟进：未通过或无法核验的人 / who still has to be verified somehow."""


@followups.command("list")
@json_option
@pass_settings
def listed(settings: Settings, as_json: bool) -> None:
    """未关闭的事项 / what is open; names masked."""
    rows = settings.ask("followups.list")
    if as_json:
        print_json(rows)
        return
    zh = settings.language == "zh"
    header = ("编号", "时间", "原因", "姓名", "证件号") if zh else ("id", "since", "reason", "name", "number")
    shown = [
        (row["id"], row["opened_at"], _reason(row["reason"], zh=zh), row["name"], row["number"])
        for row in rows
    ]
    table(header, shown)


def _reason(reason: str, *, zh: bool) -> str:
    known = REASONS.get(reason)
    return reason if known is None else known[0 if zh else 1]


@followups.command("show")
@click.argument("id_", metavar="ID")
@click.option(
    "--reveal", is_flag=True, help="显示完整姓名和号码（记入审计） / show name and number (audited)"
)
@json_option
@pass_settings
def show(settings: Settings, id_: str, reveal: bool, as_json: bool) -> None:
    """是谁，默认遮盖 / whom it is about, masked."""
    found = settings.ask("followups.show", {"id": id_, "reveal": reveal})
    if as_json:
        print_json(found)
    else:
        click.echo(f"{found['name']}  {found['number']}")


@followups.command("close")
@click.argument("id_", metavar="ID")
@click.option("--how", required=True, help="如何处理的 / how it was settled")
@json_option
@pass_settings
def close(settings: Settings, id_: str, how: str, as_json: bool) -> None:
    """关闭一项，并删除其中的个人信息 / close one, and erase whom it was about."""
    found = settings.ask("followups.close", {"id": id_, "how": how})
    if as_json:
        print_json(found)
    else:
        settings.say(f"已关闭，还有 {found['open']} 项", f"closed; {found['open']} left")
