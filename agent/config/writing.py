"""The commented configuration file, the reference and the values in force, all made from the schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agent.config.described import Key, keys
from agent.config.schema import Config

HEAD = """\
# kiosk-agent 配置 / configuration
# 带 * 的项必须填写；其余各项写出的都是默认值，可以删去。
# Starred keys must be filled in; every other value here is the default and may be left out.
# 检查 / check:  kiosk-agent check --config /etc/kiosk-agent/config.yaml
"""
#: An editor's window on a small screen; a Han character takes two cells.
LINE_CELLS = 120
#: A name and password inside an address - rtsp://user:password@host, and what a password may hold besides -,
#: and a query, in which many a camera wants them.
_PASSWORD = re.compile(r'(?<=://)[^\s"]*@')
_QUERY = re.compile(r'(?<=://)([^\s"?]*)\?[^\s"]*')


def config_file(*, example: bool = False) -> str:
    """Return a file with every key, commented in both languages.

    Starred keys are empty, to be filled in; with `example` they hold made-up values.
    """
    lines = [HEAD.rstrip("\n")]
    for key in keys():
        if len(key.path) == 1 and (key.section or key.path == ("lang",)):
            lines.append("")
        lines += _block(key, example=example)
    return "\n".join(lines) + "\n"


def starred() -> int:
    """Return how many keys must be filled in."""
    return sum(key.required and not key.section for key in keys())


def _block(key: Key, *, example: bool) -> Iterator[str]:
    indent = "  " * (len(key.path) - 1)
    both = f"{indent}# {key.says('zh')} / {key.says('en')}"
    narrow = sum(2 if ord(character) > 0x2E7F else 1 for character in both) <= LINE_CELLS
    yield from [both] if narrow else [f"{indent}# {key.says(lang)}" for lang in ("zh", "en")]
    name = f"{indent}{key.path[-1]}:"
    if key.section:
        yield name
        return
    given = key.words.get("example") if example else None
    value = key.written(given if key.required else key.default) if given or not key.required else ""
    notes = " ".join(note for note in ("*" if key.required else "", key.takes) if note)
    line = f"{name} {value}".rstrip()
    yield f"{line}  # {notes}" if notes else line


REFERENCE = """\
# 配置参考

本页由程序的配置定义自动生成（`make docs`），与 `config.example.yaml`、`config generate` 同出一源。
带 * 的键必须填写，其余都有默认值。“生效”一栏：*重载* 表示 `systemctl reload kiosk-agent` 后即生效，
*重启* 表示需要重启服务。
密钥与票据本身从不写进配置文件，只写它放在哪里。

```
kiosk-agent config generate --out config.yaml   # 带中英文注释的空白配置，填写带 * 的项
kiosk-agent check config.yaml                   # 一次指出所有错误，含行、列
kiosk-agent config show                         # 当前的值，标出哪些是默认值
```
"""


def reference(reloadable: Callable[[str], bool]) -> str:
    """Return the reference (Markdown, Chinese). `reloadable` tells whether a reload puts a key in force."""
    plain = [key for key in keys() if not key.section and len(key.path) == 1]
    parts = [REFERENCE, _table("顶层", "", plain, reloadable)]
    for section in [key for key in keys() if key.section]:
        inner = [key for key in keys() if not key.section and key.path[:-1] == section.path]
        parts.append(_table(f"`{section.name}`", section.says("zh"), inner, reloadable))
    return "\n".join(parts)


def _table(title: str, words: str, rows: Sequence[Key], reloadable: Callable[[str], bool]) -> str:
    lines = [f"## {title}", "", *([words + "。", ""] if words else [])]
    if rows:
        lines += ["| 键 | 含义 | 默认 | 取值 | 生效 |", "| --- | --- | --- | --- | --- |"]
    for key in rows:
        cells = (
            f"`{key.path[-1]}`" + (" *" if key.required else ""),
            key.says("zh"),
            "" if key.required else f"`{key.written(key.default)}`",
            f"`{key.takes}`" if key.takes else "",
            "重载" if reloadable(key.name) else "重启",
        )
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([*lines, ""])


@dataclass(frozen=True)
class InForce:
    """One key with the value in force: as JSON, as written in the file, and who said so."""

    name: str
    data: Any
    value: str
    default: bool
    origin: str  # file | default | environment


def in_force(config: Config, given: Callable[[str], bool] = lambda _: False) -> Iterator[InForce]:
    """Yield every key with its value. Of a secret only its place, of an address no password.

    `given` tells whether the file itself gives a key.
    """
    values = config.model_dump(mode="json", by_alias=True)
    for key in keys():
        if key.section:
            continue
        value: Any = values
        for part in key.path:
            value = value[part]
        value = _without_passwords(value)
        text = key.written(value)
        default = not key.required and text == key.written(key.default)
        # A value that neither the file nor the schema has can only be systemd's: $STATE_DIRECTORY.
        origin = "file" if given(key.name) else "default" if default else "environment"
        yield InForce(key.name, value, text, default, origin)


def _without_passwords(value: Any) -> Any:
    text = _PASSWORD.sub("***@", json.dumps(value, ensure_ascii=False))
    return json.loads(_QUERY.sub(r"\1?***", text))


def public(config: Config) -> dict[str, str]:
    """Return the configuration for strangers: choices and numbers; of a text only that it is set."""
    shown = {}
    plain_keys = (key for key in keys() if not key.section)
    for key, row in zip(plain_keys, in_force(config), strict=True):
        plain = "enum" in key.kind or key.kind.get("type") in {"boolean", "integer", "number"}
        told = row.value if plain or row.default else "(set)"
        shown[row.name] = f"{told} (default)" if row.default else told
    return shown
