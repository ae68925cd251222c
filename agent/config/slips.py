"""What an input method left on puts where YAML wants its own: `：` for `:`, a wide blank, a curly quote.

They are looked for in the text itself, before YAML is: to YAML a `：` is just another letter, and its error
would name the line below. Inside quotes and comments everything is allowed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

#: Blanks that look like blanks and are none to YAML: ideographic, no-break, zero width.
_BLANKS = "\u3000\u00a0\u200b\ufeff"
#: A key - plain ASCII in this file - followed by a wide colon, at the head of a line or inside braces.
_COLON = re.compile(r"(?:^\s*(?:- +)?|[{,，]\s*)[A-Za-z_][A-Za-z0-9_]*\s*(：)")
#: A value that begins with what should be a quote, a bracket or a list's dash.
_OPENING = re.compile(rf"^\s*(?:- +)?[A-Za-z_][A-Za-z0-9_]*\s*:[ \t]*([“”‘’「『｛［【，{_BLANKS}])")
#: A key whose colon nothing parts from its value: to YAML all of it is one word. An address is none.
_JOINED = re.compile(r"^\s*([A-Za-z_][A-Za-z0-9_]*):(?=[^\s/])")
#: The star of a key that must be given, left where its value belongs.
_STARRED = re.compile(r"^\s*([A-Za-z_][A-Za-z0-9_]*):[ \t]+(\*)\s*$")
#: A value that begins with a quote.
_BEGINS_QUOTED = re.compile(r"^\s*(?:- +)?(?:[A-Za-z_][A-Za-z0-9_]*:\s+)?(?=[\"'])")
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"\\]|\\.)*\"")
_FLOW = re.compile(r"[\[{].*[\]}]")


def slips(line: str) -> Iterator[tuple[int, str]]:
    """Yield column (from 1) and character of each slip in a line; a tab counts in the indentation alone."""
    head = len(line) - len(line.lstrip(" \t" + _BLANKS))
    for at, character in enumerate(line[:head], start=1):
        if character != " " and not (at == 1 and character == "\ufeff"):
            yield at, character
            break
    plain = _without_quotes_and_comment(line)
    rest = plain[head:]
    if rest[:1] in {"＃", "－", "—", "–"}:
        yield head + 1, rest[0]
    found = {match.start(1) for pattern in (_COLON, _OPENING) for match in pattern.finditer(plain)}
    for flow in _FLOW.finditer(plain):
        found |= {flow.start() + at for at, character in enumerate(flow.group()) if character in "，、：“”‘’"}
    for at in sorted(found):
        yield at + 1, plain[at]


def joined(line: str) -> tuple[int, str] | None:
    """Return the column of a colon that has no blank behind it, and its key; None where there is none."""
    found = _JOINED.match(_without_quotes_and_comment(line))
    return (found.end(), found.group(1)) if found else None


def starred(line: str) -> tuple[int, str] | None:
    """Return the column of a star that stands for a whole value, and its key; None where there is none."""
    found = _STARRED.match(_without_quotes_and_comment(line))
    return (found.start(2) + 1, found.group(1)) if found else None


def unclosed(line: str) -> int | None:
    """Return the column of a quote that opens a line's value and is not closed on it; None without one."""
    found = _BEGINS_QUOTED.match(line)
    return None if found is None or _QUOTED.match(line, found.end()) else found.end() + 1


def narrow(text: str) -> str:
    """Return text with full-width letters, digits and signs as their ASCII twins."""
    return "".join(
        unicodedata.normalize("NFKC", character) if "\uff01" <= character <= "\uff5e" else character
        for character in text
    )


def shown(character: str) -> str:
    """Return a character as a message can show it: what looks like nothing by its number."""
    return f"U+{ord(character):04X}" if character in _BLANKS else character


def _without_quotes_and_comment(line: str) -> str:
    """Blank out what stands in quotes, and cut the comment off; columns stay."""
    plain = _QUOTED.sub(lambda match: "\0" * len(match.group()), line)
    comment = re.search(r"(^|\s)#", plain)
    return plain[: comment.start()] if comment else plain
