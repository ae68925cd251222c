"""The catalogue as a page for people who have a code and a search key, in Chinese."""

from __future__ import annotations

from agent.catalogue import Entry, entries

#: Who mends it, in both languages.
WHO = {
    "registrar": ("登记员", "registrar"),
    "it": ("信息科", "hospital IT"),
    "vendor": ("厂商", "vendor"),
    "platform": ("平台管理员", "platform administrator"),
    "nobody": ("无需处理", "nobody needs to act"),
}

ROOMS = {
    "1": "读卡器与证件照片",
    "2": "摄像头与人脸",
    "3": "队列、审计与磁盘",
    "4": "网络",
    "5": "平台的应答",
    "6": "配置",
    "7": "密钥、密码算法与时间",
    "8": "服务、权限与控制",
}
SEVERITIES = {"error": "错误", "warning": "警告", "info": "提示"}

HEAD = """\
# 代码表

本页由 `agent/catalogue.yaml` 自动生成（`make docs`）。日志每行末尾、页面和命令行给出的都是这些代码；
在本机上可直接查询，无需网络：`kiosk-agent explain 代码`（英文：`--lang en`）。
E 是错误，W 是警告，I 是提示；花括号中的内容由当时的情况填入。
"""


def codes() -> str:
    """Return the page: one table a room, errors first."""
    parts = [HEAD]
    for digit, room in ROOMS.items():
        found = sorted((entry for entry in entries().values() if entry.code[1] == digit), key=_order)
        parts.append(f"## {digit} {room}\n")
        parts.append("| 代码 | 含义 | 由谁处理 | 怎么办 |\n| --- | --- | --- | --- |")
        parts += [_row(entry) for entry in found]
        parts.append("")
    return "\n".join(parts)


def _order(entry: Entry) -> tuple[int, str]:
    return list(SEVERITIES).index(entry.severity), entry.code


def _row(entry: Entry) -> str:
    do = entry.texts["zh"].do
    steps = (
        "<br>".join(f"{number}. {step}" for number, step in enumerate(do, start=1))
        if len(do) > 1
        else "".join(do)
    )
    cells = (entry.code, entry.texts["zh"].title, WHO[entry.who][0], steps)
    return (
        "| "
        + " | ".join(cell.replace("|", "\\|").replace("{{", "{").replace("}}", "}") for cell in cells)
        + " |"
    )
