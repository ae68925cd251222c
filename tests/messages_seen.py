"""Every sentence of the catalogue that a test run brings about, and whether a Chinese reader can read it.

The recorder (codes_seen.py) tells of each code together with its facts: raised, said, posted, found or shown. At
the end each is put into words in Chinese. An English word in it that is neither a value (a path, a port, an
identifier ...) nor a term of the trade, and a fact that nobody filled in, is a fault of the program.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable, Mapping
from functools import lru_cache

from agent import words
from agent.catalogue import LANGUAGES, entries

_told: set[str] = set()
#: Stands for a value that is not judged.
FILLED = "◦"


@lru_cache
def placeholders(code: str) -> frozenset[str]:
    """Return the facts that an entry's sentences show."""
    texts = [entries()[code].texts[lang] for lang in LANGUAGES]
    parts = [part for text in texts for part in (text.title, *text.do)]
    return frozenset(name for part in parts for _, name, _, _ in string.Formatter().parse(part) if name)


def tell(code: str, facts: Mapping[str, object], *, at_its_origin: bool = True) -> None:
    """Take note of a code met with these facts.

    Where it is not at its origin - read back, shown - others may have added the rest meanwhile, or a test
    may show codes for their own sake: only what is there is judged.
    """
    if code in entries():
        blank = {} if at_its_origin else dict.fromkeys(placeholders(code), FILLED)
        shown = {
            name: str({**blank, **facts}[name]) for name in sorted(placeholders(code) & {*blank, *facts})
        }
        _told.add(json.dumps([code, shown], ensure_ascii=False))


def handed_in(told: Iterable[str]) -> None:
    """Take over what another process noted."""
    _told.update(told)


def all_told() -> list[str]:
    """Return what was noted, for another process."""
    return sorted(_told)


# --- what is wrong with them --------------------------------------------------------------------------

#: Facts whose values are names that somebody gave - paths, keys, programs, hosts - or the platform's own words.
GIVEN = frozenset(
    {
        *(
            "port",
            "path",
            "folder",
            "kept_in",
            "places",
            "source",
            "listen",
            "host",
            "hosts",
            "device",
            "record",
        ),
        *("key", "keys", "name", "names", "needs", "known", "field", "fields", "credential", "convention"),
        *("holder", "process", "owner", "looked_for", "verb", "command", "code", "codes", "case", "version"),
        *("allowed", "pragma", "pattern", "value", "form"),
    }
)
#: Filled in when it is said, for it depends on the language: agent/config/forms.py.
LATER = frozenset({"form"})
#: Rightly nothing: tests drive a reader without a port and a watch whose error names no step; somebody gave no reason.
EMPTY = frozenset({("E1104", "port"), ("E1105", "port"), ("W1004", "step"), ("E2602", "received")})
#: Words that are the same in Chinese: of the trade, or as the configuration, the command line or systemd write them.
TERMS = frozenset(
    [
        "Bearer",
        "Tab",
        "Unicode",
        "kiosk",
        "agent",
        "libusb",
        "systemd",
        "systemctl",
        "matplotlib",
        "root",
        "nobody",
        "true",
        "false",
        "never",
        "engine",
        "onnx",
        "path",
        "value",
        "made",
        "codes",
        "picture",
        "file",
        "url",
        "next",
        "http",
        "status",
        "register",
    ]
)
WORD = re.compile(r"(?<![A-Za-z0-9_./:+-])[A-Za-z][a-z]+(?![A-Za-z0-9_./:+]|-[A-Za-z])")


#: What is quoted, or stands in brackets behind its Chinese name, is a value; so is what the platform says, and what is typed.
VALUES = re.compile(r"“[^”]*”|（[A-Za-z]+）|kiosk-agent(?: [a-z-]+)+|\b\d{3} [A-Z]\d{4} [^；]*")


def english(text: str, known: frozenset[str] = TERMS) -> list[str]:
    """Return the words of a Chinese text that are plain English: no term, no identifier, no abbreviation."""
    return [word for word in WORD.findall(VALUES.sub("", text)) if word not in known]


def faults(told: Iterable[str]) -> list[str]:
    """Return what a reader of the Chinese sentences would stumble over."""
    return sorted({fault for line in told for fault in _faults(*json.loads(line))})


def _faults(code: str, facts: Mapping[str, str]) -> Iterable[str]:
    names = placeholders(code)
    asked = {name for name in names - LATER if (code, name) not in EMPTY}
    if missing := sorted(name for name in asked if facts.get(name, "?") in {"", "?", "None"}):
        yield f"{code}: nobody says what {', '.join(missing)} is"
    given = {name for name in names if name in GIVEN or words.CHOICES in facts.get(name, "")}
    filled = {name: FILLED if name in given else facts.get(name, "") for name in names}
    said = entries()[code]
    # What the catalogue itself says is read by people (test_words.py); here it is what was filled in.
    known = TERMS | set(WORD.findall(" ".join([said.title("zh"), *said.steps("zh")])))
    for text in (said.title("zh", filled), *said.steps("zh", filled)):
        if found := english(text, known):
            yield f"{code}: English in Chinese ({' '.join(found)}): {text}"
