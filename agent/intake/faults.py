"""What is wrong with something handed in: each thing with its code and its place, all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.catalogue import AgentError, entry

#: More than this nobody mends at once; what follows is counted.
MAX_FAULTS = 50


@dataclass(frozen=True)
class Fault:
    """One thing. `pointer` is a JSON pointer (RFC 6901) into what was handed in; facts name no person."""

    code: str
    pointer: str
    facts: Mapping[str, str] = field(default_factory=dict)

    def as_json(self, lang: str) -> dict[str, str]:
        """Return the fault for the caller."""
        title = entry(self.code).title(lang, self.facts)
        return {"code": self.code, "pointer": self.pointer, "title": title}


class Rejected(AgentError):
    """What was handed in cannot be kept; `faults` says why, all at once."""

    code = "E8501"

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = list(faults)
        super().__init__(count=len(self.faults))

    def as_json(self, lang: str) -> list[dict[str, str]]:
        """Return the faults for the caller, a bounded number of them."""
        return [fault.as_json(lang) for fault in self.faults[:MAX_FAULTS]]


def pointer(path: Sequence[Any]) -> str:
    """Return a path as a JSON pointer."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
