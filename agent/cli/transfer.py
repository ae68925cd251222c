"""`outbox export|import` and `keys ...`: what leaves the machine leaves it under a passphrase."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from pathlib import Path
from typing import Any

import click

from agent import keys as own_keys
from agent import passphrase
from agent.catalogue import AgentError
from agent.cli import asking, files
from agent.cli.options import Settings, VerbGroup, json_option, pass_settings
from agent.cli.records import outbox, report
from agent.config import Config
from agent.control.ask import Conversation, ask
from agent.ops.access import as_owner_of

EXPORT, BACKUP = "export", "keys"
SALT_BYTES = 16
#: Ids of one request.
IDS = 5000
#: Of one that hands over: each is a synced commit or two, and the answer is not waited for without end.
AT_ONCE = 100

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="从文件读口令（第一行） / the passphrase is this file's first line",
)


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    group.add_command(keys)


def _passphrase(settings: Settings, file: Path | None, *, new: bool) -> str:
    if file is not None:
        secret = _first_line(file)
    else:
        secret = asking.secret(settings, "口令", "passphrase", instead="--passphrase-file", twice=new)
    if new:
        passphrase.check(secret)
    return secret


def _first_line(file: Path) -> str:
    try:
        return file.read_text("utf-8", errors="surrogateescape").split("\n")[0].rstrip("\r")
    except OSError as error:
        raise AgentError("E8308", path=file, reason=error.strerror) from error


# --- records ----------------------------------------------------------------------------------------


@outbox.command("export")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--id", "ids", multiple=True, help="只导出这些记录 / only these records")
@click.option("--move", is_flag=True, help="导出后本机不再上传 / give them up here: another machine goes on")
@passphrase_option
@json_option
@pass_settings
def export(
    settings: Settings,
    out: Path,
    ids: tuple[str, ...],
    move: bool,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """加密导出记录（更换主机用） / export records under a passphrase; to replace a kiosk PC: --move."""
    config = settings.config()
    files.refuse_for_good(out)
    secret = _passphrase(settings, passphrase_file, new=True)
    salt = os.urandom(SALT_BYTES)
    key = passphrase.derived(secret, salt)
    with Conversation(config) as owner:
        records = list(ids) or owner.ask("outbox.exportable", {"move": move})
        writer = passphrase.Writer(out, EXPORT, key, salt)
        try:
            written = _write_pieces(owner, writer, key, salt, records, whole=not ids, move=move)
        except BaseException:
            writer.abandon()
            raise
        # Only what is on the disk counts as exported.
        result = {"file": str(out), **_noted(owner, out, written, whole=not ids, move=move)}
    kept = set(written)
    result["left"] = list(dict.fromkeys([*(one for one in records if one not in kept), *result["left"]]))
    count, alone = result["exported"], result["followups"]
    text = (
        f"已导出 {count} 条记录、{alone} 项无记录的待跟进事项到 {out}",
        f"{count} records and {alone} follow-ups without one exported to {out}",
    )
    report(settings, result, *text, as_json=as_json)
    if result["left"] and not as_json:
        left = " ".join(result["left"])
        settings.say(
            f"仍留在本机（正在上传、刚刚产生或无法读取），请稍后再导出到另一个文件：{left}",
            f"these stay here (being sent, new, or unreadable); export again later, to another file: {left}",
        )


def _noted(owner: Conversation, out: Path, written: list[str], *, whole: bool, move: bool) -> dict[str, Any]:
    """Have it noted what was exported, and handed over. Return how much that was, and what stays here."""
    result: dict[str, Any] = {"exported": 0, "followups": 0, "left": []}
    step = AT_ONCE if move else IDS
    for start in range(0, max(len(written), 1), step):
        last = start + step >= len(written)
        args = {"ids": written[start : start + step], "file": out.name, "move": move, "last": last}
        done = owner.ask("outbox.exported", {**args, "whole": whole and move and last})
        for name in result:
            result[name] += done[name]
    return result


def _write_pieces(
    owner: Conversation,
    writer: passphrase.Writer,
    key: bytes,
    salt: bytes,
    records: list[str],
    *,
    whole: bool,
    move: bool,
) -> list[str]:
    """Write what can be had. Return its ids: of a whole outbox one may be being sent just now."""
    written: list[str] = []
    for record in records:
        label = passphrase.label(EXPORT, salt, len(written))
        args = {"id": record, "key": key.hex(), "label": label, "move": move}
        try:
            piece = owner.ask("outbox.export", args)["piece"]
        except AgentError as error:
            if whole and error.code == "E3115":
                continue
            raise
        writer.add_sealed(base64.b64decode(piece))
        written.append(record)
    writer.close()
    return written


@outbox.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@passphrase_option
@json_option
@pass_settings
def import_(settings: Settings, file: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """导入另一台主机导出的记录 / take in what another machine exported; doing it twice changes nothing."""
    config = settings.config()
    reader = passphrase.Reader(file, EXPORT)
    key = passphrase.derived(_passphrase(settings, passphrase_file, new=False), reader.salt)
    # The whole file first: half an import of a damaged file would be hard to tell from a whole one.
    count = reader.verify(key)
    result: dict[str, Any] = {"records": count, "imported": 0, "there_already": 0}
    result |= {"followups": 0, "unreadable": []}
    with Conversation(config) as owner:
        for number, piece in enumerate(reader.sealed()):
            if number == count:
                break
            args = {
                "key": key.hex(),
                "label": passphrase.label(EXPORT, reader.salt, number),
                "piece": base64.b64encode(piece).decode("ascii"),
            }
            try:
                _count(result, owner.ask("outbox.import", args))
            except AgentError as error:
                if error.code != "E3125":
                    raise
                result["unreadable"].append(error.facts["record"])
    unreadable, followups = len(result["unreadable"]), result["followups"]
    text = (
        f"共 {result['records']} 条：导入 {result['imported']}，已有 {result['there_already']}，"
        f"原已损坏 {unreadable}；另有无记录的待跟进事项 {followups} 项",
        f"{result['records']} records: {result['imported']} imported, {result['there_already']} there "
        f"already, {unreadable} unreadable before; {followups} follow-ups without a record",
    )
    report(settings, result, *text, as_json=as_json)
    if unreadable and not as_json:
        click.echo(" ".join(result["unreadable"]))


def _count(result: dict[str, Any], answer: dict[str, Any]) -> None:
    """Count one piece: `records` are all but the follow-ups without one."""
    if answer["record"]:
        result["imported" if answer["new"] else "there_already"] += 1
    else:
        result["records"] -= 1
        result["followups"] += 1


# --- keys -------------------------------------------------------------------------------------------


@click.group(cls=VerbGroup)
def keys() -> None:
    """密钥 / the agent's own keys."""


@keys.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=None, help="目录 / directory"
)
@click.option(
    "--from",
    "backup",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="从备份恢复 / restore a backup",
)
@passphrase_option
@json_option
@pass_settings
def init(
    settings: Settings, out: Path | None, backup: Path | None, passphrase_file: Path | None, as_json: bool
) -> None:
    """生成三把密钥，或从备份恢复 / make the three keys, or restore them; never over existing ones."""
    content = {name: os.urandom(own_keys.KEY_BYTES) for name in own_keys.NAMES}
    if backup is not None:
        reader = passphrase.Reader(backup, BACKUP)
        key = passphrase.derived(_passphrase(settings, passphrase_file, new=False), reader.salt)
        reader.verify(key)
        content = {name: bytes.fromhex(text) for name, text in json.loads(next(reader.pieces(key))).items()}
    paths = {
        name: own_keys.place(settings.config(), name) if out is None else out / f"{name}_key"
        for name in own_keys.NAMES
    }
    with contextlib.nullcontext() if out else as_owner_of(Path(settings.config().state_dir)):
        kept: list[str] = []
        if backup is not None and out is None:
            paths, kept = _restorable(settings.config(), paths, content)
        there = [path for path in paths.values() if path.exists()]
        if there:
            raise AgentError("E7305", path=there[0])
        for name, path in paths.items():
            own_keys.write_key(path, own_keys.written(content[name]))
    result = {"files": {name: str(path) for name, path in paths.items()}, "kept": kept}
    report(settings, result, *_restored(paths, kept), as_json=as_json)


def _restorable(
    config: Config, paths: dict[str, Path], content: dict[str, bytes]
) -> tuple[dict[str, Path], list[str]]:
    """Return where a backup's keys go, and the names of those that stand against it and stay.

    Whoever loses the main key finds another one in its place: each start makes what it lacks. Both are needed
    then, so the former one becomes the next (`keys.next_to`), and what lies under either of them is read.
    """
    places, kept = dict(paths), []
    for name, path in paths.items():
        if not path.exists():
            continue
        del places[name]
        if own_keys.held(config, name, path) == content[name]:
            continue
        if name == "seal":
            places[name] = own_keys.next_to(path)
        else:
            kept.append(name)
    return places, kept


def _restored(paths: dict[str, Path], kept: list[str]) -> tuple[str, str]:
    """Return what became of the keys, in both languages."""
    written = [str(path) for path in paths.values()]
    zh, en = f"密钥已写入：{'、'.join(written)}", f"keys written: {', '.join(written)}"
    if not written:
        zh, en = "主密钥已在，没有写入", "the main key is there already: nothing was written"
    if kept:
        zh += f"；与备份不同，保留原样：{'、'.join(kept)}"
        en += f"; other than the backup's, left as they are: {', '.join(kept)}"
    if any(path.suffix == ".next" for path in paths.values()):
        return (
            f"{zh}\n重启服务后生效：两把主密钥下的记录都可读",
            f"{en}\nrestart the service: it reads what lies under either main key",
        )
    return f"{zh}\n请随即执行 kiosk-agent keys backup", f"{en}\nnow run kiosk-agent keys backup"


@keys.command()
@click.option("--kek", is_flag=True, help="更换主密钥 / replace the key-encryption key")
@json_option
@pass_settings
def rotate(settings: Settings, kek: bool, as_json: bool) -> None:
    """更换密钥 / new records under a new epoch key; --kek: wrap all epoch keys under a new main key."""
    result = settings.ask("keys.replace" if kek else "keys.rotate")
    if kek:
        report(
            settings,
            result,
            f"主密钥已更换（{result['kek']}）；旧备份已失效，请重新备份",
            f"main key replaced ({result['kek']}); the old backup is void, make a new one",
            as_json=as_json,
        )
    else:
        report(
            settings,
            result,
            f"新密钥编号 {result['epoch']}",
            f"new epoch key {result['epoch']}",
            as_json=as_json,
        )


@keys.command("backup")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@passphrase_option
@json_option
@pass_settings
def backup_(settings: Settings, out: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """用口令加密备份密钥 / back the keys up under a passphrase; keep file and passphrase apart."""
    config = settings.config()
    files.refuse_for_good(out)
    secret = _passphrase(settings, passphrase_file, new=True)
    salt = os.urandom(SALT_BYTES)
    key = passphrase.derived(secret, salt)
    answer = ask(config, "keys.backup", {"key": key.hex(), "label": passphrase.label(BACKUP, salt, 0)})
    writer = passphrase.Writer(out, BACKUP, key, salt)
    try:
        writer.add_sealed(base64.b64decode(answer["piece"]))
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    # Read back from the disk before anybody believes in it.
    reader = passphrase.Reader(out, BACKUP)
    reader.verify(passphrase.derived(secret, reader.salt))
    result = ask(config, "keys.backed_up", {"kek": answer["kek"]})
    report(settings, result, f"备份已写入 {out}", f"backup written to {out}", as_json=as_json)
