"""`outbox ...`: what is kept, what waits and why, and what a named person does about it.

Names and numbers are masked; `show --reveal` shows one record and writes that down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from agent.cli import asking
from agent.cli import outbox_words as words
from agent.cli.options import Settings, VerbGroup, json_option, pass_settings, yes_option
from agent.cli.screen import print_json, table
from agent.cli.speech import misused
from agent.clock import SystemClock
from agent.words import said

STATS = (
    *("waiting", "ready", "sending", "held", "parked", "quarantined", "delivered"),
    *("discarded", "given_up", "superseded", "moved", "accepted", "difference"),
)
LISTED = ("id", "state", "attempts", "created_at", "next_attempt_at", "last_code")
FOUND = ("id", "state", "verified_at", "delivered_at", "request_id", "code", "exception_code")


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    group.add_command(outbox)


class Outbox(VerbGroup):
    """The verbs of the outbox; those of sealed files are imported when they are used."""

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return a verb."""
        if name not in self.commands:
            import_module("agent.cli.transfer")
        return super().get_command(context, name)

    def list_commands(self, context: click.Context) -> list[str]:
        """Return every verb's name."""
        import_module("agent.cli.transfer")
        return super().list_commands(context)


@click.group(cls=Outbox)
def outbox() -> None:
    """待传队列 / the outbox."""


def report(settings: Settings, result: object, zh: str, en: str, *, as_json: bool) -> None:
    """Print the result of a change: JSON, or one line."""
    if as_json:
        print_json(result)
    else:
        settings.say(zh, en)


@outbox.command()
@json_option
@pass_settings
def stats(settings: Settings, as_json: bool) -> None:
    """各状态数量 / how many records are in which state; the difference must be 0."""
    counts = settings.ask("outbox.stats")
    if as_json:
        print_json(counts)
        return
    _items(settings, {key: counts[key] for key in (*STATS, *(key for key in counts if key not in STATS))})


def _items(settings: Settings, facts: Mapping[str, object]) -> None:
    """Print facts line by line, each under what it is called."""
    lang = settings.language
    rows = [(words.name(key, lang), words.value(key, value, lang)) for key, value in facts.items()]
    table(("项目", "内容") if lang == "zh" else ("item", "value"), rows)


def _rows(settings: Settings, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Print some facts of each row side by side."""
    lang = settings.language
    table(
        words.names(columns, lang),
        [[_cell(row, column, lang) for column in columns] for row in rows],
    )


def _cell(row: Mapping[str, object], column: str, lang: str) -> object:
    return words.state(row, lang) if column == "state" else words.value(column, row[column], lang)


@outbox.command("list")
@click.option("--state", type=click.Choice(list(words.STATES)), default=None, help=words.states_help())
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@json_option
@pass_settings
def list_(settings: Settings, state: str | None, limit: int, as_json: bool) -> None:
    """列出记录 / list records, newest first."""
    rows: list[dict[str, Any]] = settings.ask("outbox.list", {"state": state, "limit": limit})
    if as_json:
        print_json(rows)
        return
    _told_when(settings, rows)
    _rows(settings, LISTED, rows)


def _told_when(settings: Settings, rows: Iterable[dict[str, Any]]) -> None:
    """Put into records that are to be sent when they are, as people read it."""
    ready = [row for row in rows if row["state"] == "ready"]
    if ready:
        platform, now = settings.ask("platform.show"), SystemClock().now()
        for row in ready:
            row["next_attempt_at"] = words.next_upload(row, platform, now, settings.language)


@outbox.command()
@click.argument("record")
@click.option(
    "--reveal", is_flag=True, help="显示完整姓名和号码（记入审计） / show name and number (audited)"
)
@json_option
@pass_settings
def show(settings: Settings, record: str, reveal: bool, as_json: bool) -> None:
    """查看一条记录的经历 / one record and every attempt to send it."""
    found = settings.ask("outbox.show", {"id": record, "reveal": reveal})
    if as_json:
        print_json(found)
        return
    _told_when(settings, [found])
    attempts, person = found.pop("attempts"), found.pop("person")
    found["state"] = found.pop("closed_as") or found["state"]
    found["last_code"] = words.code(found, settings.language)
    there = {key: value for key, value in found.items() if value not in (None, {}, False)}
    _items(settings, {**there, **(person or {})})
    if person is None:
        settings.say(
            "姓名、证件号和照片已按期删除，或无法读取", "name, number and pictures are erased, or unreadable"
        )
    if attempts:
        click.echo()
        numbered = [{"attempt": row.pop("number"), **row} for row in attempts]
        _rows(settings, list(numbered[0]), numbered)


@outbox.command()
@json_option
@pass_settings
def find(settings: Settings, as_json: bool) -> None:
    """按证件号码查询送达情况 / was this person's verification delivered? Asks for the number."""
    number = asking.secret(
        settings, "证件号码（不回显）", "card number (not shown)", instead="kiosk-agent outbox find < FILE"
    )
    rows = settings.ask("outbox.find", {"number": number})
    if not rows:
        _none_found(settings, number, err=as_json)
    if as_json:
        print_json(rows)
    elif rows:
        _rows(settings, FOUND, rows)


def _none_found(settings: Settings, number: str, *, err: bool) -> None:
    """Say that nothing was found, and whether the number can be right; on stderr where a program reads."""
    from agent.hmpt.checks import checksum_right  # for this alone

    settings.say("没有该号码的记录", "no record of that number", err=err)
    if not checksum_right(number.strip().upper()):
        settings.say(
            "此号码不是校验位正确的 18 位身份证号：请核对后重新输入",
            "this is no 18-digit identity number with a right check digit: was it typed rightly?",
            err=err,
        )


@outbox.command()
@click.argument("record", required=False)
@click.option(
    "--code", default=None, help="所有以此代码被拒或无法读取的记录 / all parked or unreadable with this code"
)
@json_option
@pass_settings
def retry(settings: Settings, record: str | None, code: str | None, as_json: bool) -> None:
    """重新上传被拒或无法读取的记录 / send a parked or unreadable record again, or all of one code."""
    if (record is None) == (code is None):
        raise misused("one of the two: RECORD or --code")
    if code is not None:
        _retry_all(settings, code.strip().upper(), as_json=as_json)
        return
    result = settings.ask("outbox.retry", {"id": record})
    said = words.state(result, settings.language)
    report(settings, result, f"已恢复为：{said}", f"it is {said} again", as_json=as_json)


def _retry_all(settings: Settings, code: str, *, as_json: bool) -> None:
    """Send all of one code again; exit 1 when some of them stay as they are."""
    records: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        part = settings.ask("outbox.retry_all", {"code": code, "after": after})
        records += part["records"]
        after = part["next"]
    stay = [row for row in records if row["state"] is None]
    sent = len(records) - len(stay)
    if as_json:
        print_json(records)
    elif not records:
        zh = f"没有以 {code} 被拒或无法读取的记录；待传的会自行再传"
        settings.say(
            zh, f"nothing is parked or unreadable with {code}; what is ready is sent again by itself"
        )
    else:
        zh, en = f"已恢复 {sent} 条，{len(stay)} 条未变", f"{sent} go again, {len(stay)} stay as they are"
        settings.say(zh, en)
        if stay:
            _rows(settings, ("id", "code"), stay)
    if stay:
        raise SystemExit(1)


AMEND = f"""更正被拒的记录 / correct a refused record: a new one takes its place, the old one stays as it was.

{words.fields_help()}

\b
按字还是按字节计：platform.conventions.length_unit / what a length counts says that key.
例：kiosk-agent outbox amend ID --set cardEndDate=长期 / such as: kiosk-agent outbox amend ID --set sexCode=2
住址等请只写 --set address，随后输入，不进命令历史 / a value left out is asked for, unseen by the history.
"""


@outbox.command(help=AMEND, short_help="更正被拒的记录 / correct a refused record")
@click.argument("record")
@click.option(
    "--set", "changes", multiple=True, required=True, metavar="FIELD=VALUE", help="更正的字段 / field"
)
@json_option
@pass_settings
def amend(settings: Settings, record: str, changes: tuple[str, ...], as_json: bool) -> None:
    fields: dict[str, str] = {}
    asked_for: list[str] = []
    for change in changes:
        name, equals, value = (part.strip() for part in change.partition("="))
        if name in fields:
            raise click.BadParameter(name, param_hint="--set FIELD=VALUE")
        if not equals and name in words.FIELDS:
            asked_for.append(name)
        fields[name] = value
    if asked_for:
        settings.ask("outbox.amendable", {"id": record})
    for name in asked_for:
        fields[name] = asking.line(settings, *words.asked(name), instead=f"--set {name}=…")
    result = settings.ask("outbox.amend", {"id": record, "changes": fields})
    new, state = result["id"], words.state(result, settings.language)
    report(settings, result, f"新记录 {new}（{state}）", f"new record {new} ({state})", as_json=as_json)


@outbox.command()
@click.argument("record")
@click.option("--reason", default=None, help="原因（必填） / why")
@yes_option
@json_option
@pass_settings
def discard(settings: Settings, record: str, reason: str | None, yes: bool, as_json: bool) -> None:
    """放弃一条记录（须有原因） / give a record up, for a reason; it stays in the balance."""
    settings.ask("outbox.discardable", {"id": record})
    why = reason if reason is not None else asking.line(settings, "原因", "reason", instead="--reason")
    if not yes:
        asking.agreed(settings, f"放弃 {record}，不再上传？", f"give up {record}, never to be sent?")
    result = settings.ask("outbox.discard", {"id": record, "why": why})
    report(
        settings,
        result,
        "已放弃，原因已记入审计",
        "given up; the reason is in the audit trail",
        as_json=as_json,
    )


@outbox.command()
@yes_option
@json_option
@pass_settings
def purge(settings: Settings, yes: bool, as_json: bool) -> None:
    """立即删除已送达和不再上传记录的个人数据 / erase personal data of what is finished now; receipts stay."""
    if not yes:
        asking.agreed(settings, "立即删除已送达和不再上传记录的照片和资料？", "erase what is finished now?")
    result = settings.ask("outbox.purge")
    report(settings, result, f"已删除 {result['erased']} 条", f"{result['erased']} erased", as_json=as_json)


@outbox.command()
@yes_option
@json_option
@pass_settings
def adopt(settings: Settings, yes: bool, as_json: bool) -> None:
    """确认数据目录归本机所有 / these records are this machine's now: no other copy of them sends."""
    if not yes:
        asking.agreed(settings, "确认原机器已停用、不会再上传这些记录？", "is the other machine out of use?")
    result = settings.ask("outbox.adopt")
    report(
        settings, result, "已确认，重启服务后开始上传", "done: restart the service to send", as_json=as_json
    )


@outbox.command()
@json_option
@pass_settings
def verify(settings: Settings, as_json: bool) -> None:
    """读取并校验全部待传记录 / read everything that waits; exit 1 when something cannot be read."""
    checked = 0
    after: int | None = 0
    tables: str | None = None
    faults: list[dict[str, str]] = []
    while after is not None:
        part = settings.ask("outbox.verify", {"after": after})
        checked += part["checked"]
        faults += part["faults"]
        after, tables = part["next"], tables or part["tables"]
    difference = settings.ask("outbox.stats")["difference"]
    good = not faults and tables is None and difference == 0
    if as_json:
        result = {
            "ok": good,
            "checked": checked,
            "faults": faults,
            "tables": tables,
            "difference": difference,
        }
        print_json(result)
    else:
        settings.say(
            f"未送达的记录已读 {checked} 条，不可读 {len(faults)} 条；账目差额 {difference}",
            f"{checked} undelivered records read, {len(faults)} unreadable; difference {difference}",
        )
        if tables is not None:
            settings.say(
                f"索引表有误，下次启动时抢救：{said(tables, 'zh')}",
                f"the small tables are damaged, the next start salvages them: {tables}",
            )
        if faults:
            _rows(settings, ("id", "code"), faults)
    if not good:
        raise SystemExit(1)
