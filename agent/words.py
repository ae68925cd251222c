"""What a fact is called when it stands in a sentence for people.

Facts are the program's own: English, stable, the same in the journal's fields, in JSON and in the outbox.
Here they are put into the reader's language, and only here, so that whoever raises an error writes it once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from importlib import resources

#: Between the parts of a fact that has several, and what stands there in Chinese.
_SEPARATORS = {": ": "：", ", ": "、", "/": "、", ",": "、"}
#: Between words of which one is to be typed as it stands.
CHOICES = " | "
#: These stand within paths and numbers as well: every part must be a word.
_WITHIN = frozenset({"/", ","})
#: How a fact, a field of the journal and JSON write a moment, whatever the zone.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")
_BEIJING = timezone(timedelta(hours=8))
_HOLE = re.compile(r"\\\{(\w+)\\\}")


@dataclass(frozen=True)
class _Words:
    names: Mapping[str, tuple[str, str]]
    plain: Mapping[str, tuple[str, str]]
    patterns: tuple[tuple[re.Pattern[str], str], ...]


def said(value: str, lang: str) -> str:
    """Return a fact's value as people read it; a value that has no words - a path, a number - as it is."""
    if _MOMENT.fullmatch(value):
        return moment(value)
    known = _words().plain.get(value)
    if known is not None:
        return known[0 if lang == "zh" else 1]
    return value if lang != "zh" or value.isdigit() else _in_chinese(value)


def moment(value: str) -> str:
    """Return a moment (RFC 3339) as people read it, in Beijing's time; any other text as it is."""
    if not _MOMENT.fullmatch(value):
        return value
    try:
        found = datetime.fromisoformat(value.replace("Z", "+00:00"))
        return f"{found.astimezone(_BEIJING):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return value


def placeholder(name: str, lang: str) -> str:
    """Return what will stand where a fact does, for a sentence that is explained and not yet filled."""
    zh, en = _words().names.get(name, (name, name))
    return f"〈{zh}〉" if lang == "zh" else f"<{en}>"


@lru_cache(maxsize=512)
def _in_chinese(value: str) -> str:
    known = _words().plain.get(value)
    if known is not None:
        return known[0]
    if "; " in value:
        return "；".join(_in_chinese(part) for part in value.split("; "))
    for pattern, chinese in _words().patterns:
        if found := pattern.fullmatch(value):
            return chinese.format(**{name: _in_chinese(part) for name, part in found.groupdict().items()})
    if CHOICES in value:
        return value
    for separator, chinese in _SEPARATORS.items():
        parts = value.split(separator)
        translated = [_in_chinese(part) for part in parts] if len(parts) > 1 else parts
        changed = [part != was for part, was in zip(translated, parts, strict=True)]
        if all(changed) if separator in _WITHIN else any(changed):
            return chinese.join(translated)
    return value


def table() -> dict[str, dict[str, str | list[str]]]:
    """Return the file as it stands."""
    import yaml  # not before there is something to be said

    text = resources.files("agent").joinpath("words.yaml").read_text("utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    read: dict[str, dict[str, str | list[str]]] = yaml.load(text, Loader=loader)  # noqa: S506 -- the safe one
    return read


@lru_cache(maxsize=1)
def _words() -> _Words:
    raw = table()
    values = dict(_pairs(raw["values"]))
    patterns = [(_pattern(english), zh) for english, (zh, _) in values.items() if "{" in english]
    plain = {english: pair for english, pair in values.items() if "{" not in english}
    return _Words(dict(_pairs(raw["names"])), plain, tuple(patterns))


def _pairs(table: Mapping[str, str | list[str]]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each entry with its Chinese and its English, which is the entry itself unless it is given."""
    for english, given in table.items():
        yield english, (given, english) if isinstance(given, str) else (given[0], given[1])


def _pattern(english: str) -> re.Pattern[str]:
    return re.compile(_HOLE.sub(r"(?P<\1>(?:(?!: ).)+?)", re.escape(english)), re.DOTALL)
