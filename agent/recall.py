"""Small values that the outbox keeps beside the records, read back.

A rotten bit in one of them, or another version's form, must keep nobody from starting: what cannot be
understood counts as never kept, and is written anew when it is known again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def recalled(stored: str | None, make: Callable[[str], T]) -> T | None:
    """Return what `make` makes of a stored text; None for no text, and for one that it cannot understand."""
    try:
        return make(stored) if stored else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def recalled_facts(stored: str | None) -> dict[str, Any] | None:
    """Return stored facts by their names; None as `recalled`."""
    return recalled(stored, lambda text: dict(json.loads(text)))


def recalled_fault(stored: str | None) -> dict[str, Any] | None:
    """Return stored facts with the code under which people hear of them; None as `recalled`."""
    facts = recalled_facts(stored)
    return facts if facts is not None and "code" in facts else None
