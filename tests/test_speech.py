"""The command line's own sentences: all of click's in Chinese, help in one language, the one asked for."""

from __future__ import annotations

import ast
import contextlib
import os
import pty
import re
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import messages_seen
import pytest
from admin_support import history
from e2e_support import Site

from agent.cli import main, speech
from agent.cli.click_zh import PLURALS, TEXTS
from agent.cli.outbox_words import STATES

CLICK = Path(click.__file__).parent
#: What no user of ours can bring about: an editor, Windows, shell completion of old shells, a mistake in our code.
OTHERS = re.compile(
    r"[Ee]diting failed|Windows|Bash|DeprecationWarning|declar|Value must be|defined twice|Boolean option|standard stream"
    r"|Unknown color|prompting|%\(prog\)s|Show (the version|this message)|start character|^d$|^(file|directory|path)$",
)


def sentences() -> Iterator[tuple[str, str]]:
    """Yield each text that click puts through gettext, with the function's name."""
    for path in CLICK.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                first = node.args[0]
                if node.func.id in {"_", "ngettext"} and isinstance(first, ast.Constant):
                    yield node.func.id, str(first.value)


def test_every_sentence_of_click_is_chinese() -> None:
    found = [(name, text) for name, text in sentences() if not OTHERS.search(text)]
    assert len(found) > 50
    unknown = [text for name, text in found if text not in (TEXTS if name == "_" else PLURALS)]
    assert unknown == []


@pytest.mark.parametrize(("english", "chinese"), [*TEXTS.items(), *PLURALS.items()])
def test_a_translation_fits_its_sentence(english: str, chinese: str) -> None:
    def holes(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    twins = {"choice": "choices", "format": "formats"}
    known = holes(english) | {twins.get(name, name) for name in holes(english)} | {"len"}
    assert holes(chinese) <= known
    assert re.search(r"[\u4e00-\u9fff]", chinese)


@pytest.fixture(autouse=True)
def _chinese_again() -> Iterator[None]:
    yield
    speech.speak("zh")


#: Names that are typed or known as they are.
HELP_TERMS = messages_seen.TERMS | {
    "Nagios",
    "shell",
    "demo",
    "noise",
    "checksum",
    "silence",
    "address",
    "police",
    "birthday",
    *STATES,
}


#: A simulator that never starts: what is wrong is told before.
READER = ("simulate", "reader", "--port-link", "/nowhere/reader")


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Return exit status and everything printed."""
    status = main._main(list(arguments))
    shown = capsys.readouterr()
    return status, shown.out + shown.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status", "--jsn"], "错误：没有选项 '--jsn'。 是否想写 '--json'？"),
        (["statu"], "错误：没有命令 'statu'。"),
        (["explain"], "错误：缺少参数 'CODE'."),
        (["followups", "close", "x"], "错误：缺少选项 '--how'."),
        (["desk", "end", "nope"], "'nope' 不可用，可选：'wrong_card', 'refused', 'cannot_be_photographed'。"),
        (["read-card", "--seconds", "x"], "'x' 不是数字"),
        (["read-card", "--seconds", "99"], "不在 1<=x<=20.0 范围内"),
        (["explain", "E1101", "more"], "多余的参数（more）"),
        (["explain", "E1101", "--lang"], "选项 '--lang' 需要值。"),
        (["status", "--json=3"], "选项 '--json' 不带值。"),
        (["read-card", "--with-personal-data"], "--with-personal-data 只能与 --record 一起用"),
        ([*READER, "--fault", "nose=1"], "没有故障 'nose'；可用：checksum | cut |"),
        ([*READER, "--fault", "noise=x"], "'x' 不是数字"),
        ([*READER, "--fault", "step=x"], "没有步骤 'x'；可用："),
    ],
)
def test_a_wrong_command_line_is_told_in_chinese(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    status, text = said(capsys, *arguments)
    assert status == 2
    assert words in text
    assert "Usage" not in text


def test_the_language_is_known_before_the_arguments_are(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for arguments in (["--lang", "en", "status", "--jsn"], ["status", "--jsn", "--lang=en"]):
        assert "Error: No such option '--jsn'" in said(capsys, *arguments)[1]
    file = tmp_path / "config.yaml"
    file.write_text("# lang: zh\nstate_dir: /x\nlang: en\n")
    assert "No such option" in said(capsys, "status", "--jsn", "--config", str(file))[1]
    assert "没有选项" in said(capsys, "status", "--jsn", "--config", str(file), "--lang", "zh")[1]
    assert "没有选项" in said(capsys, "status", "--jsn", "--config", str(tmp_path / "none"))[1]


def verbs(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every verb."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from verbs(inner, (*path, name))


@pytest.mark.parametrize("verb", list(verbs(main.cli)), ids=" ".join)
def test_help_is_in_one_language(capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]) -> None:
    status, chinese = said(capsys, *verb, "--help")
    assert status == 0
    usage, _, explained = chinese.partition("\n\n")
    assert "用法:" in usage
    assert [line for line in explained.splitlines() if " / " in line] == []
    for line in explained.splitlines():
        says = re.sub(r"^  (-\S+, )?[-\w]+( [\w.|\[\]]+)*  +|\[[^]]*\]", "", line)
        assert messages_seen.english(says, HELP_TERMS) == [], line
    english = said(capsys, "--lang", "en", *verb, "--help")[1]
    # 长期 is what is typed for a card that never expires.
    assert set(re.findall(r"[\u4e00-\u9fff]+", english)) <= {"长期"}, english


def printed(encoding: str, *arguments: str) -> str:
    """Run a command whose output has another encoding than UTF-8. Return what it printed."""
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "agent", *arguments]
    run = subprocess.run(command, env=env, capture_output=True, check=True)
    return run.stdout.decode(encoding)


def on_the_text_console(*arguments: str) -> str:
    """Run a command at a terminal that says that it is the machine's own."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "linux"}
    with subprocess.Popen([sys.executable, "-m", "agent", *arguments], env=env, stdout=theirs) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the other end is gone
            while data := os.read(ours, 4096):
                shown += data
    os.close(ours)
    assert process.returncode == 0
    return shown.decode()


def test_a_chinese_terminal_of_another_encoding_is_spoken_to_in_it(tmp_path: Path) -> None:
    """GBK has neither of our marks; a command must not end over one."""
    assert "未找到读卡器" in printed("gbk", "explain", "E1101")
    assert printed("gb18030", "explain", "E1101") == printed("utf-8", "explain", "E1101")
    site = Site(tmp_path / "site")
    history(site)
    marked = ("audit", "verify", "--config", str(site.config))
    assert printed("utf-8", *marked).startswith("✓ ")
    assert printed("gbk", *marked).startswith("√ ")


def test_where_chinese_cannot_be_read_english_is_spoken() -> None:
    assert "card reader not found" in printed("latin-1", "explain", "E1101")
    assert "card reader not found" in on_the_text_console("explain", "E1101")
    assert "未找到读卡器" in on_the_text_console("explain", "E1101", "--lang", "zh"), "who says so gets it"
    assert printed("latin-1", "explain", "E1101", "--lang", "zh").startswith("E1101  ??")
