"""What a person enters into a field of table 4.2: understood and checked before it is kept. Pure.

One place for whoever asks a person - `outbox amend`, the page's form, the operator's name - by the rules of
`agent.hmpt.checks` and this site's conventions. No error quotes the value.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Any

from agent.catalogue import AgentError
from agent.clock import SHANGHAI
from agent.config.schema import Conventions
from agent.hmpt import checks
from agent.hmpt.checks import ADDRESS_LENGTH, MAX_LENGTHS, Problem
from agent.hmpt.codes import NATIONS, SEXES
from agent.hmpt.render import LONG_TERM
from agent.records import ENTERED, Verification

#: A chip's address goes whole (R9); what is typed keeps within the column.
_LIMITS = {**MAX_LENGTHS, "address": ADDRESS_LENGTH}
#: Seen by nobody: what turns the direction of writing, ends a line or a paragraph.
_INVISIBLE = {"Cf", "Zl", "Zp"}
_DATE = re.compile(r"([0-9]{4})[-./年]?([0-9]{2})[-./月]?([0-9]{2})日?")


def values(
    verification: Verification, given: Mapping[str, object], conventions: Conventions
) -> dict[str, str]:
    """Return what a person enters for a record: field of the facts -> value as the facts hold it.

    `given` has the names of `records.ENTERED`. AgentError for the first that cannot be: E3132 blank, E3133
    not in its table, E3134 too long, E3135 a character that is not sent, E3138 no day, E3139 days in the
    wrong order.
    """
    found: dict[str, Any] = {ENTERED[name]: value(name, one, conventions) for name, one in given.items()}
    for contradiction in _out_of_order(replace(verification, **found), set(given)):
        raise contradiction
    return found


def value(name: str, given: object, conventions: Conventions) -> str:
    """Return one value as the facts hold it. AgentError as `values` raises it."""
    text = " ".join(given.split()) if isinstance(given, str) else ""
    for problem in _problems(name, text, conventions):
        raise problem.error()
    return _READ.get(name, _as_it_is)(name, text, conventions)


def _problems(name: str, text: str, conventions: Conventions) -> Iterator[Problem]:
    if not text:
        yield Problem(name, "E3132")
    yield from checks.unsendable(name, text, conventions)
    for one in text:
        if unicodedata.category(one) in _INVISIBLE:
            yield Problem(name, "E3135", {"character": f"U+{ord(one):04X}"})
    if name in _LIMITS:
        yield from checks.too_long(name, text, _LIMITS[name], conventions.length_unit)


# --- from what is typed to what a chip would say ----------------------------------------------------


def _as_it_is(_name: str, text: str, _conventions: Conventions) -> str:
    return text


def _coded(
    name: str, text: str, _conventions: Conventions, table: Mapping[str, str], suffix: str = ""
) -> str:
    """Return a code of a table, typed as such - 8, 08 - or as what it stands for - 壮, 壮族."""
    by_word = {meaning: code for code, meaning in table.items()}
    by_word |= {meaning + suffix: code for meaning, code in by_word.items()}
    by_word |= {written: code for code in table for written in (code, code.lstrip("0"), code.zfill(2))}
    if text not in by_word:
        raise checks.outside(name, (f"{code} {meaning}" for code, meaning in table.items())).error()
    return by_word[text]


def _day(name: str, text: str, _conventions: Conventions) -> str:
    """Return a day as chips write it."""
    match = _DATE.fullmatch(text)
    try:
        return f"{date(*map(int, match.groups())):%Y%m%d}" if match else _no_day(name, "")
    except ValueError:
        return _no_day(name, "")


def _until(name: str, text: str, conventions: Conventions) -> str:
    if text in {LONG_TERM, conventions.permanent_date}:
        return LONG_TERM
    try:
        return _day(name, text, conventions)
    except AgentError:
        return _no_day(name, f" | {LONG_TERM}")


def _no_day(name: str, more: str) -> str:
    raise AgentError("E3138", field=name, allowed=f"2024-06-01 | 20240601{more}")


_READ: Mapping[str, Callable[[str, str, Conventions], str]] = {
    "nationalCode": partial(_coded, table=NATIONS, suffix="族"),
    "sexCode": partial(_coded, table=SEXES),
    "cardStartDate": _day,
    "cardEndDate": _until,
}


def _out_of_order(verification: Verification, entered: set[str]) -> Iterator[AgentError]:
    """Yield what contradicts itself: she showed a card that was valid from a day between birth and then."""
    v = verification
    days = {
        "birthday": v.birth,
        "cardStartDate": v.valid_from,
        "verifyDate": f"{v.verified_at.astimezone(SHANGHAI):%Y%m%d}",
        "cardEndDate": v.valid_until if v.valid_until != LONG_TERM else "",
    }
    for earlier, later in (
        ("birthday", "cardStartDate"),
        ("cardStartDate", "verifyDate"),
        ("cardStartDate", "cardEndDate"),
    ):
        known = days[earlier] and days[later] and entered & {earlier, later}
        if known and days[earlier] > days[later]:
            yield AgentError("E3139", earlier=earlier, later=later)
