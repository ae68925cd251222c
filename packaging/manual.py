"""The manual page in both languages, and the shell's completion, from the commands themselves."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import BashComplete

from agent import __version__
from agent.cli.main import cli

#: language -> folder below share/man, and the words that no command says of itself.
PLACES = {"zh": "zh_CN/man1", "en": "man1"}
TEXTS = {
    "zh": {
        "name": "人脸核验终端代理",
        "about": "读取身份证芯片，拍照，比对人脸，先落盘后告知，再签名加密送往区域卫生平台；"
        "断网三周也不丢失记录。通常由 systemd 运行；其余命令在服务运行或停止时都可使用。",
        "commands": "命令",
        "options": "选项",
        "exit": "退出状态",
        "files": "文件",
        "see": "参见",
    },
    "en": {
        "name": "agent beside the face-recognition kiosk",
        "about": "Reads an identity card's chip, takes pictures, compares two faces, keeps the result on "
        "disk before anyone is told that it is kept, and delivers it, signed and encrypted, to the regional "
        "health platform. Usually run by systemd; every other command works beside the service and "
        "without it.",
        "commands": "COMMANDS",
        "options": "OPTIONS",
        "exit": "EXIT STATUS",
        "files": "FILES",
        "see": "SEE ALSO",
    },
}
EXITS = {
    "0": ("完成", "done"),
    "1": ("意外错误", "unexpected error"),
    "2": ("用法错误", "wrong usage"),
    "69": ("设备或平台不可用", "a device or the platform is not available"),
    "75": ("稍后再试", "try later"),
    "78": ("配置有误", "the configuration is wrong"),
}
FILES = {
    "/etc/kiosk-agent/config.yaml": ("配置", "the configuration"),
    "/etc/kiosk-agent/secrets/": ("机构密钥、票据（0400，root）", "secrets, mode 0400, root's"),
    "/var/lib/kiosk-agent/": ("记录、密钥、审计日志", "records, keys, audit trail"),
    "/run/kiosk-agent/control.sock": ("控制套接字", "the control socket"),
    "/usr/share/doc/kiosk-agent/docs/zh/": ("中文说明", "documents"),
}


def write_manual(stage: Path) -> None:
    """Write kiosk-agent(1) in both languages and the completion for bash below `stage`."""
    for lang, place in PLACES.items():
        page = stage / "usr/share/man" / place / "kiosk-agent.1.gz"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_bytes(gzip.compress("\n".join(_page(lang)).encode() + b"\n", mtime=0))
    completion = stage / "usr/share/bash-completion/completions/kiosk-agent"
    completion.parent.mkdir(parents=True, exist_ok=True)
    source = BashComplete(cli, {}, "kiosk-agent", "_KIOSK_AGENT_COMPLETE").source()
    completion.write_text(source + "\n", "utf-8")


def _page(lang: str) -> Iterator[str]:
    texts = TEXTS[lang]
    yield f'.TH KIOSK-AGENT 1 "" "kiosk-agent {__version__}"'
    yield ".SH NAME"
    yield f"kiosk-agent \\- {_escaped(texts['name'])}"
    yield ".SH SYNOPSIS"
    yield ".B kiosk-agent"
    yield "\\fR[\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIARGUMENT\\fR]..."
    yield ".SH DESCRIPTION"
    yield _escaped(texts["about"])
    yield f".SH {texts['commands']}"
    context = click.Context(cli, info_name="kiosk-agent")
    yield from _commands(cli, context, lang)
    yield f".SH {texts['options']}"
    yield from _options(cli, lang, shared=True)
    for title, rows in ((texts["exit"], EXITS), (texts["files"], FILES)):
        yield f".SH {title}"
        for key, said in rows.items():
            yield f".TP\n.B {_escaped(key)}\n{_escaped(said[0] if lang == 'zh' else said[1])}"
    yield f".SH {texts['see']}"
    yield ".BR systemctl (1),\n.BR journalctl (1),\n.BR kiosk-agent-rollback (8)"


def _commands(group: click.Group, context: click.Context, lang: str) -> Iterator[str]:
    # Asked for, not looked up: verbs are imported when they are used.
    for name in sorted(group.list_commands(context)):
        if command := group.get_command(context, name):
            yield from _command(command, context, name, lang)


def _command(command: click.Command, above: click.Context, name: str, lang: str) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=above)
    if isinstance(command, click.Group):
        yield from _commands(command, context, lang)
        return
    words = context.command_path.removeprefix("kiosk-agent ")
    arguments = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    yield f".TP\n\\fB{_escaped(words)}\\fR {_escaped(' '.join(arguments))}".rstrip()
    yield _escaped(_said(command.help, lang))
    own = list(_options(command, lang, shared=False))
    if own:
        yield ".RS"
        yield from own
        yield ".RE"


def _options(command: click.Command, lang: str, *, shared: bool) -> Iterator[str]:
    names = {parameter.name for parameter in cli.params}
    for parameter in command.params:
        if not isinstance(parameter, click.Option) or (parameter.name in names) != shared:
            continue
        takes = "" if parameter.is_flag else f" {parameter.make_metavar(click.Context(command))}"
        yield f".TP\n\\fB{_escaped(', '.join(parameter.opts))}\\fR{_escaped(takes)}"
        yield _escaped(_said(parameter.help, lang))


def _said(text: str | None, lang: str) -> str:
    """Return the half of a bilingual help text that is in `lang`."""
    flat = " ".join((text or "").split())
    zh, _, en = flat.partition(" / ")
    return zh if lang == "zh" or not en else en


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text
