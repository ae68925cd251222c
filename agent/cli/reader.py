"""`devices`, `read-card`: finding the reader, and seeing what it reads."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from agent.catalogue import AgentError, entry
from agent.cli.files import force_option, refuse, written
from agent.cli.options import Settings, Verb, json_option, pass_settings
from agent.cli.screen import padded, print_json
from agent.cli.speech import misused
from agent.clock import SystemClock
from agent.config import Config
from agent.control import NotRunning, call
from agent.control.ask import ask
from agent.decoding import decoder
from agent.ops import readers
from agent.vision.pictures import Pictures
from agent.words import said
from drivers import photo
from drivers.transport.serial import BAUD

#: What `read-card` shows of a card, in this order.
LABELS = {
    "kind": ("证件种类", "kind"),
    "name": ("姓名", "name"),
    "latin_name": ("英文姓名", "Latin name"),
    "number": ("号码", "number"),
    "pass_number": ("通行证号", "pass number"),
    "nationality": ("国籍", "nationality"),
    "sex_code": ("性别代码", "sex code"),
    "nation_code": ("民族代码", "nation code"),
    "birth": ("出生日期", "birth"),
    "address": ("住址", "address"),
    "newest_address": ("追加住址", "newest address"),
    "issuer": ("签发机关", "issuer"),
    "valid_from": ("有效期起", "valid from"),
    "valid_until": ("有效期止", "valid until"),
}


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    group.add_command(devices)
    group.add_command(read_card)


@click.command(cls=Verb)
@click.option("--probe", "port", help="试探一个端口是否为读卡器 / ask one port whether it is a reader")
@click.option(
    "--decoder-test",
    "block",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="用配置的解码器解码照片数据文件 / decode a photo block with the configured decoder",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="解码结果存为 / where to put the picture"
)
@force_option
@click.option(
    "--accept-reader",
    is_flag=True,
    help="确认更换了读卡器（记入审计） / take the reader that is there; audited",
)
@json_option
@pass_settings
def devices(
    settings: Settings,
    port: str | None,
    block: Path | None,
    out: Path | None,
    force: bool,
    accept_reader: bool,
    as_json: bool,
) -> None:
    """列出读卡器候选设备及不可用的原因 / every device that could be a reader, and why not."""
    if block is not None:
        _decoder_test(settings, block, out, force=force, as_json=as_json)
    elif port is not None:
        _probe(settings, port, as_json=as_json)
    elif accept_reader:
        _accept(settings, as_json=as_json)
    else:
        _list(settings, as_json=as_json)


def _list(settings: Settings, *, as_json: bool) -> None:
    config = settings.config() if settings.has_file() else None
    report = _report(config)
    lang = settings.language
    if as_json:
        for one in report["candidates"]:
            if one["code"]:
                said = entry(one["code"])
                one |= {"title": said.title(lang, one["facts"]), "do": said.steps(lang, one["facts"])}
        print_json(report)
        return
    if not report["candidates"]:
        settings.say("没有找到任何可能的读卡器", "nothing found that could be a reader")
    for one in report["candidates"]:
        _print_candidate(one, report, settings)


def _report(config: Config | None) -> dict[str, Any]:
    """Ask the daemon; without one look here, which needs neither its state nor its lock."""
    if config is not None:
        try:
            report: dict[str, Any] = call(Path(config.state_dir), "reader.list")
        except NotRunning:
            pass
        else:
            return report
    return {
        "daemon": False,
        "port": "auto" if config is None else config.reader.port,
        "candidates": readers.listing(config, ask=True),
    }


def _print_candidate(one: dict[str, Any], report: dict[str, Any], settings: Settings) -> None:
    lang = settings.language
    if one["code"] is None:
        used = report["daemon"] and one["chosen"]
        by_us = ("由本服务使用" if lang == "zh" else "used by the service") if used else ""
        shown = "  ".join(text for text in (one["name"], one["sam_id"], by_us) if text)
        click.echo(f"✓  {padded(one['port'], 26)} {padded(one['driver'], 9)} {shown}".rstrip())
        return
    said = entry(one["code"])
    mark = "✗" if said.severity == "error" else "-"
    click.echo(
        f"{mark}  {padded(one['port'], 26)} {padded(one['driver'], 9)} {one['name']}  "
        f"{said.title(lang, one['facts'])} [{said.code}]"
    )
    for number, step in enumerate(said.steps(lang, one["facts"]), start=1):
        click.echo(f"      {number}. {step}")


def _probe(settings: Settings, port: str, *, as_json: bool) -> None:
    configured = settings.config().reader.baud if settings.has_file() else BAUD
    found = readers.probed(port, configured)
    if as_json:
        print_json({"port": port, "status": found.status, "sam_id": found.sam_id, "baud": found.baud})
        return
    settings.say(
        f"是身份证读卡器：{found.sam_id or '（不提供编号）'}",
        f"a card reader: {found.sam_id or '(tells no id)'}",
    )
    if found.baud not in {None, configured}:
        settings.say(
            f"它以 {found.baud} 应答：在配置中写 reader.baud: {found.baud}（现为 {configured}）",
            f"it answers at {found.baud}: set reader.baud: {found.baud} (now {configured})",
        )


def _accept(settings: Settings, *, as_json: bool) -> None:
    config = settings.config()
    try:
        answer = call(Path(config.state_dir), "reader.commission")
    except NotRunning:
        sam_id = readers.probed(config.reader.port, config.reader.baud).sam_id
        answer = ask(config, "reader.commission", {"sam_id": sam_id})
    if as_json:
        print_json(answer)
    else:
        settings.say(
            f"已确认读卡器 {answer['commissioned']}",
            f"reader {answer['commissioned']} is now the commissioned one",
        )


def _decoder_test(settings: Settings, block: Path, out: Path | None, *, force: bool, as_json: bool) -> None:
    refuse(out, force=force)
    config = settings.config()
    chosen = config.reader.photo_decoder
    started = time.monotonic()
    with closing(Pictures(SystemClock())) as pictures:
        picture = decoder(chosen, pictures.one_colour).decode(_photo_block(block.read_bytes()))
    took_ms = round(1000 * (time.monotonic() - started))
    if out is not None:
        written(out, picture, force=force)
    if as_json:
        print_json(
            {
                "kind": chosen.kind,
                "bytes": len(picture),
                "ms": took_ms,
                "out": None if out is None else str(out),
            }
        )
        return
    settings.say(
        f"解码成功：{len(picture)} 字节，{took_ms} 毫秒", f"decoded: {len(picture)} bytes in {took_ms} ms"
    )
    if out is None:
        settings.say(
            "用 --out 存下图片，目视核对颜色与方向",
            "keep the picture with --out and look at colours and direction",
        )


def _photo_block(content: bytes) -> bytes:
    """Return the 1024 bytes of a file that holds them, or a reader's whole answer around them."""
    head = content.find(bytes.fromhex("AA9669"))
    return content[head + 5 + 3 + 4 + 256 :][: photo.PHOTO_BYTES] if head >= 0 else content


@click.command("read-card", cls=Verb)
@click.option("--seconds", type=click.FloatRange(1, readers.MOST_S), default=15.0, show_default=True)
@click.option("--reveal", is_flag=True, help="显示全部内容（记入审计） / show everything; audited")
@click.option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    help="把通信过程写入文件 / write a transcript",
)
@click.option(
    "--with-personal-data",
    "personal",
    is_flag=True,
    help="记录中保留证件内容（记入审计） / keep the card's bytes in the transcript; audited",
)
@force_option
@json_option
@pass_settings
def read_card(
    settings: Settings,
    seconds: float,
    reveal: bool,
    record: Path | None,
    personal: bool,
    force: bool,
    as_json: bool,
) -> None:
    """读一张卡，检查读卡器；不产生核验记录 / read one card to test the reader; makes no record."""
    if personal and record is None:
        raise misused("--with-personal-data belongs to --record")
    refuse(record, force=force)
    config = settings.config()
    say = click.style(
        "请把证件放到读卡区（已在上面的请拿起重放）"
        if settings.language == "zh"
        else "lay a card on the reader (lift it first if it lies there)"
    )
    click.echo(say, err=True)
    args = {"seconds": seconds, "reveal": reveal, "record": record is not None, "personal": personal}
    answer = ask(config, "reader.read", args)
    if record is not None:
        written(record, str(answer.pop("transcript")).encode(), force=force)
        if personal:
            _warn(settings)
    answer.pop("transcript", None)
    if answer["code"] is not None:
        raise AgentError(answer["code"], **answer["facts"])
    if as_json:
        print_json(answer["card"])
    else:
        _print_card(settings, answer["card"])


def _warn(settings: Settings) -> None:
    click.echo(
        "注意：文件中有真实证件内容，请像证件一样保管，用后删除"
        if settings.language == "zh"
        else "careful: the file holds a real card's content; keep it like the card, delete it afterwards",
        err=True,
    )


def _print_card(settings: Settings, card: dict[str, Any]) -> None:
    zh = settings.language == "zh"
    for name, label in LABELS.items():
        if card.get(name):
            click.echo(f"{padded(label[0 if zh else 1], 16)} {card[name]}")
    photo_block = card["photo_block"]
    well = (
        ("格式正确" if zh else "as it should be")
        if photo_block["wlt"]
        else ("格式未知" if zh else "of an unknown form")
    )
    count = f"{photo_block['bytes']} 字节，" if zh else f"{photo_block['bytes']} bytes, "
    click.echo(f"{padded('照片数据' if zh else 'photo block', 16)} {count}{well}")
    for flaw in card["flaws"]:
        field = LABELS[flaw["field"]][0 if zh else 1]
        click.echo(f"! {field}{'：' if zh else ': '}{said(flaw['reason'], settings.language)}")
