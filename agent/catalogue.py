"""Every code that a person can meet: what it means, who mends it, what to do, in Chinese and English.

The bottom layer of the agent: whatever raises, logs or shows something names a code of catalogue.yaml.
E... errors, W... warnings, I... information; the first digit tells the room: 1 reader, 2 camera and
face, 3 outbox and disk, 4 network, 5 the platform's answers, 6 configuration, 7 keys, cipher and
clock, 8 service, permissions and control.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from agent import words
from drivers.errors import CodedError

LANGUAGES = ("zh", "en")


class AgentError(CodedError):
    """An error of the agent itself, told by its code alone."""


@dataclass(frozen=True)
class Text:
    """One language of an entry. Both may hold {facts}; `do` lists what to do, in order."""

    title: str
    do: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One code. `who` is the one who can mend it: registrar, it, vendor, platform or nobody."""

    code: str
    severity: str  # info | warning | error
    who: str
    exit: int
    texts: Mapping[str, Text]

    def title(self, lang: str, facts: Mapping[str, object] | None = None) -> str:
        """Return the sentence for people, its {facts} in words.

        Without facts it is only explained, and says what will stand there; one that is missing shows as "?".
        """
        return _filled(self.texts[lang].title, lang, facts)

    def steps(self, lang: str, facts: Mapping[str, object] | None = None) -> list[str]:
        """Return what to do, in order, filled in likewise."""
        return [_filled(step, lang, facts) for step in self.texts[lang].do]


def _filled(text: str, lang: str, facts: Mapping[str, object] | None) -> str:
    return _Filling(lang, facts).vformat(text, (), {}) if "{" in text else text


#: Facts that are keys of the configuration: `platform` is one there, whatever it is called elsewhere.
TYPED = frozenset({"key", "keys", "needs"})


class _Filling(string.Formatter):
    """Facts as people read them. A missing one must not turn an error message into another error."""

    def __init__(self, lang: str, facts: Mapping[str, object] | None) -> None:
        self._lang, self._facts = lang, facts

    def get_value(self, key: int | str, args: Any, kwargs: Any) -> str:
        if self._facts is None:
            return words.placeholder(str(key), self._lang)
        fact = str(self._facts.get(str(key), "?"))
        return fact if key in TYPED else words.said(fact, self._lang)


class _Catalogue(Mapping[str, Entry]):
    """The entries of catalogue.yaml, each parsed when it is first asked for.

    Whoever shows two codes - a command, most of the daemon's days - need not pay for three hundred.
    """

    def __init__(self, text: str) -> None:
        _, *pieces = re.split(r"^(\w+):", text, flags=re.MULTILINE)
        self._raw = dict(zip(pieces[::2], pieces[1::2], strict=True))
        self._parsed: dict[str, Entry] = {}

    def __getitem__(self, code: str) -> Entry:
        found = self._parsed.get(code)
        if found is None:
            found = self._parsed[code] = _entry(code, _parsed(self._raw[code]))
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __contains__(self, code: object) -> bool:
        return code in self._raw


@lru_cache(maxsize=1)
def entries() -> Mapping[str, Entry]:
    """Return every entry by its code."""
    return _Catalogue(Path(__file__).with_suffix(".yaml").read_text("utf-8"))


def _parsed(text: str) -> Any:
    import yaml  # the dearest part of `--version`, which needs none

    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506


def _entry(code: str, raw: Mapping[str, Any]) -> Entry:
    severity = {"E": "error", "W": "warning", "I": "info"}[code[0]]
    texts = {lang: Text(title=raw[lang]["title"], do=tuple(raw[lang].get("do", ()))) for lang in LANGUAGES}
    return Entry(code, severity, raw.get("who", "nobody"), int(raw.get("exit", 1)), texts)


def entry(code: str) -> Entry:
    """Return the entry of `code`. KeyError for a code the catalogue does not have."""
    return entries()[code]


def describe(error: CodedError, lang: str) -> str:
    """Return the one-line sentence for an error: title, then the code in brackets."""
    return (
        f"{entry(error.code).title(lang, error.facts)}（{error.code}）"
        if lang == "zh"
        else (f"{entry(error.code).title(lang, error.facts)} ({error.code})")
    )
