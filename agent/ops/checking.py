"""Checks that depend on one another, made side by side within a time that is never exceeded.

A check returns a code of the catalogue, or None, and facts. What cannot be looked at because something before
it failed is said to follow from that, not to be broken itself. A check that hangs is left behind and named.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.catalogue import entry
from drivers.errors import CodedError

Found = tuple[str | None, Mapping[str, Any]]
GOOD: Found = (None, {})


class Blocked(Exception):
    """Raised by a look to which another check has left nothing to see: `by` names it."""

    def __init__(self, by: str) -> None:
        super().__init__(by)
        self.by = by


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Check:
    """One look.

    `needs` names checks without whose success this one would only repeat their failure, `after` those that
    it merely waits for, and not for ever. `regardless`: whether somebody else has the answer, so that what
    it needs does not matter.
    """

    name: str
    look: Callable[[], Found]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    regardless: Callable[[], bool] = _never


@dataclass(frozen=True)
class Result:
    """One check: `code` is None when all is well; `follows` names the failed check that stood before it."""

    check: str
    code: str | None
    facts: Mapping[str, str] = field(default_factory=dict)
    follows: str | None = None

    @property
    def failed(self) -> bool:
        """Return whether what needs this check cannot be looked at."""
        return self.follows is not None or (self.code is not None and entry(self.code).severity == "error")


def run(checks: Sequence[Check], within_s: float) -> list[Result]:
    """Make every check, each as soon as those it needs are done. Return the results in the given order."""
    deadline, patience = time.monotonic() + within_s, time.monotonic() + within_s / 2
    done = {check.name: threading.Event() for check in checks}
    results: dict[str, Result] = {}

    def make(check: Check) -> None:
        for name in check.after:
            done[name].wait(max(0.0, patience - time.monotonic()))
        for name in check.needs:
            done[name].wait(max(0.0, deadline - time.monotonic()))
        # One that is not done by now hangs: what needs it cannot be told to follow from anything else.
        stopped = [name for name in check.needs if name not in results or results[name].failed]
        blocked = bool(stopped) and not check.regardless()
        # Whoever reads it is told what to mend first, not the last link of the chain.
        first = next((one.follows for name in stopped if (one := results.get(name)) and one.follows), None)
        follows = first or (stopped[0] if stopped else None)
        results[check.name] = Result(check.name, None, follows=follows) if blocked else _made(check)
        done[check.name].set()

    for check in checks:
        threading.Thread(target=make, args=(check,), name=f"check {check.name}", daemon=True).start()
    for event in done.values():
        event.wait(max(0.0, deadline - time.monotonic()))
    return [
        results.get(check.name, Result(check.name, "E8604", {"seconds": f"{within_s:g}"})) for check in checks
    ]


def _made(check: Check) -> Result:
    try:
        code, facts = check.look()
    except Blocked as blocked:
        return Result(check.name, None, follows=blocked.by)
    except CodedError as error:
        code, facts = error.code, error.facts
    except Exception as error:  # noqa: BLE001 -- whatever stands in the way is itself the finding
        code, facts = "E8203", {"cause": type(error).__name__}
    return Result(check.name, code, {name: str(value) for name, value in facts.items()})
