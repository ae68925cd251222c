"""What each pattern of a schema asks for, in words: nobody who edits the file reads regular expressions."""

from __future__ import annotations

from collections.abc import Mapping

from agent.config.schema import LISTEN, PORT

#: Pattern -> zh, en. A test fails for a pattern of the configuration or of a mapping that has no words.
FORMS: Mapping[str, tuple[str, str]] = {
    r"^[A-Za-z0-9_.-]{1,255}$": ("字母、数字和 _ . -，1 至 255 个", "1 to 255 letters, digits, _ . or -"),
    r"^\d{2}$": ("两位数字，加引号，如 '97'", "two digits in quotes, such as '97'"),
    r"^https?://[^/\s?#@\\]+(/[^\s?#@\\]*)?$": (
        "http:// 或 https:// 开头的地址，如 http://10.0.0.1:8080；不带用户名、? 和 #",
        "an address with http:// or https://, such as http://10.0.0.1:8080, without user name, ? or #",
    ),
    r"^https?://[^/\s?#@\\]+/?$": (
        "http://主机:端口，不带路径，如 http://10.0.0.9:3128",
        "http://HOST:PORT without a path, such as http://10.0.0.9:3128",
    ),
    r"^/.+": ("以 / 开头的完整路径", "a whole path, beginning with /"),
    PORT: (
        "auto、usb:VID:PID（各四位十六进制，如 usb:0400:c35a）、以 / 开头的设备路径，或 replay:文件",
        "auto, usb:VID:PID (four hex digits each, such as usb:0400:c35a), a device's path, or replay:FILE",
    ),
    r"^[0-9a-f]{64}$": ("64 位小写十六进制（sha256sum 的输出）", "64 lower-case hex digits"),
    r"^\d\+\d$": (
        "前面保留位数+后面保留位数，如 1+2",
        "digits shown in front + digits shown behind, such as 1+2",
    ),
    LISTEN: ("IP 地址:端口，如 127.0.0.1:8765；或 none", "ADDRESS:PORT, such as 127.0.0.1:8765, or none"),
    r"^[+-][0-9]{2}:[0-9]{2}$": (
        "与 UTC 的时差，加引号，如 '+08:00'",
        "the offset from UTC, such as '+08:00'",
    ),
}


def form(pattern: str, lang: str) -> str:
    """Return what a pattern asks for; the pattern itself where nobody has put it into words."""
    return FORMS.get(pattern, (pattern, pattern))[0 if lang == "zh" else 1]
