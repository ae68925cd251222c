"""Dates and times as kiosks write them, by patterns such as yyyyMMddHHmmss; never guessed."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from functools import lru_cache

from agent.clock import iso_moment

_TOKENS = {
    "yyyy": r"(?P<year>\d{4})",
    "MM": r"(?P<month>\d{2})",
    "dd": r"(?P<day>\d{2})",
    "HH": r"(?P<hour>\d{2})",
    "mm": r"(?P<minute>\d{2})",
    "ss": r"(?P<second>\d{2})",
}
_TOKEN = re.compile("|".join(_TOKENS))
_COUNTS = {"seconds": 1, "millis": 1000}
_DATE = {"yyyy", "MM", "dd"}


def known(form: str) -> bool:
    """Return whether a form names a day at least, and nothing twice."""
    tokens = _TOKEN.findall(form)
    return form in {"iso", *_COUNTS} or (set(tokens) >= _DATE and len(tokens) == len(set(tokens)))


def parsed(text: str, form: str, zone: timezone) -> datetime | None:
    """Return the time that `text` names under `form`, None when it does not fit."""
    try:
        if form in _COUNTS:
            return datetime.fromtimestamp(int(text) / _COUNTS[form], timezone.utc) if text.isascii() else None
        if form == "iso":
            moment = iso_moment(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=zone)
        match = _pattern(form).fullmatch(text)
        if match is None:
            return None
        parts = {name: int(value) for name, value in match.groupdict().items()}
        return datetime(**parts, tzinfo=zone)
    except (ValueError, OverflowError, OSError):
        return None


@lru_cache(maxsize=32)
def _pattern(form: str) -> re.Pattern[str]:
    pieces, at = [], 0
    for token in _TOKEN.finditer(form):
        pieces += [re.escape(form[at : token.start()]), _TOKENS[token.group()]]
        at = token.end()
    return re.compile("".join(pieces) + re.escape(form[at:]), re.ASCII)
