"""Bytes to JSON, strictly: what two readers could understand in two ways is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from agent.intake.faults import Fault, Rejected

MAX_DEPTH = 16


class _Ambiguous(ValueError):
    """Valid for a lenient parser; what it means is anybody's guess."""


def parsed(raw: bytes) -> Any:
    """Return the JSON value. Rejected with one fault for anything else; the fault never quotes the text."""
    try:
        value = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_constant)
        _check_depth(value)
        return value
    except UnicodeDecodeError:
        reason = "not UTF-8"
    except _Ambiguous as error:
        reason = str(error)
    except json.JSONDecodeError as error:
        reason = f"{error.msg}: line {error.lineno} column {error.colno}"
    except (ValueError, RecursionError):  # a number of thousands of digits; brackets without end
        reason = "too large or too deep"
    raise Rejected([Fault("E8506", "", {"reason": reason})])


def _check_depth(value: Any) -> None:
    """Refuse what nobody nests so deep but to break those who read it again."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _inner(outer)]
        if not level:
            return
    raise _Ambiguous(f"nested deeper than {MAX_DEPTH}")


def _inner(outer: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Ambiguous("a key stands twice")
    return found


def _constant(name: str) -> Any:
    raise _Ambiguous(f"{name} is no JSON number")
