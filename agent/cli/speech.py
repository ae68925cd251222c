"""The language of the command line itself: click's own sentences, and one half of each help text.

click puts its sentences through gettext, which is steered by the environment, and every program that we start
would inherit that. So the functions that click's modules call are replaced by those of a translation of ours:
the same hook, without the detour.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from collections.abc import Iterable, Sequence
from gettext import NullTranslations
from pathlib import Path

import click

from agent.cli.click_zh import PLURALS, TEXTS
from agent.words import said

#: `Chinese / English`, and behind them what click adds: a default, "required".
_HALVES = re.compile(r"(?P<name> +\S+  +)?(?P<zh>.*?) / (?P<en>.*?)(?P<more>  \[[^]]*\])?", re.DOTALL)
#: click's mark before a paragraph that is not wrapped.
AS_IT_STANDS = "\b"
_LANG = re.compile(rb"^lang:\s*[\"']?(zh|en)\b", re.MULTILINE)

#: Marks of ours that GBK lacks, and their like that it has; "?" for whatever else an encoding lacks.
_STAND_INS = {"✓": "√", "✗": "×"}
_STANDING_IN = "kiosk-agent-stand-in"

_spoken = "zh"


class Chinese(NullTranslations):
    """What click says, in Chinese; a sentence that has none stays English."""

    def gettext(self, message: str) -> str:
        """Return one sentence."""
        return TEXTS.get(message, message)

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        """Return one that counts; Chinese has no plural."""
        return PLURALS.get(msgid1, msgid1 if n == 1 else msgid2)


def readable() -> bool:
    """Return whether Chinese can be read where it will be shown.

    The machine's own text console has no Chinese characters, and neither have some encodings.
    """
    if sys.stdout is None:
        return True
    if sys.stdout.isatty() and os.environ.get("TERM") == "linux":
        return False
    try:
        "中".encode(sys.stdout.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def let_nothing_be_unsayable() -> None:
    """Let a character that the terminal's encoding lacks be another one, never the end of a command."""
    codecs.register_error(_STANDING_IN, _standing_in)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_STANDING_IN)


def _standing_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_STAND_INS.get(character, "?") for character in lacking), error.end


def speak(lang: str) -> None:
    """Let click speak `lang` from now on."""
    global _spoken  # noqa: PLW0603 -- click's sentences have no context that could carry it
    _spoken = lang
    texts = Chinese() if lang == "zh" else NullTranslations()
    for module in [module for name, module in sys.modules.items() if name.startswith("click.")]:
        for name, function in (("_", texts.gettext), ("ngettext", texts.ngettext)):
            if hasattr(module, name):
                setattr(module, name, function)


def asked_for(arguments: Sequence[str], default: Path, instead: str | None = None) -> str:
    """Return the language before the arguments are understood: --lang, the file's, else Chinese.

    `instead`: what is spoken whatever the file says, unless --lang is said.
    """
    named = _value(arguments, "--lang")
    if named in {"zh", "en"}:
        return named
    if instead is not None:
        return instead
    try:
        found = _LANG.search(Path(_value(arguments, "--config") or default).read_bytes())
    except (OSError, ValueError):
        return "zh"
    return found[1].decode() if found else "zh"


def _value(arguments: Sequence[str], option: str) -> str:
    """Return what an option was given, the last time it was; "" when it was not."""
    found = ""
    for here, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = here.partition("=")
        if name == option:
            found = value if equals else following
    return found


def one_language(text: str, lang: str) -> str:
    """Return the half of a help text that is in `lang`; line by line where click keeps the lines."""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.splitlines() if paragraph.startswith(AS_IT_STANDS) else [paragraph]
        paragraphs.append("\n".join(_half(line, lang) for line in lines))
    return "\n\n".join(paragraphs)


def _half(text: str, lang: str) -> str:
    found = _HALVES.fullmatch(text)
    return text if found is None else (found["name"] or "") + found[lang] + (found["more"] or "")


def misused(why: str, option: str | None = None) -> click.UsageError:
    """Return click's complaint about a wrong command line; `why` in the language spoken (agent/words.py)."""
    told = said(why, _spoken)
    return click.UsageError(told) if option is None else click.BadParameter(told, param_hint=option)


class _Formatter(click.HelpFormatter):
    """Writes the half that is asked for."""

    def write_text(self, text: str) -> None:
        """Write a paragraph."""
        super().write_text(one_language(text, _spoken))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write a list of names with what they are."""
        super().write_dl([(name, one_language(text, _spoken)) for name, text in rows], col_max, col_spacing)


class Speaking(click.Context):
    """The context of every command."""

    formatter_class = _Formatter
