"""What was found when a configuration was checked last: to check takes longer than all the rest of `status`.

A file beside the records, like the last run's. It holds of one file of these very bytes, judged by this very
version; of any other it says nothing, and one that is torn or not to be written costs the time, no more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agent import __version__, lastrun

NAME = "last_check.json"
#: A file that nobody has checked: it may be as it should, or keep the next daemon from starting.
UNCHECKED = "W8619"


@dataclass(frozen=True)
class Checked:
    """A checked file: what is in it, and what is wrong with it in both languages."""

    config_hash: str = ""  # "" where the file cannot be used
    max_bytes: int = 0
    wrong: Mapping[str, Any] | None = None  # the first thing: code and facts
    lines: Mapping[str, list[str]] = field(default_factory=dict)  # language -> a line for each finding
    findings: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)  # the same for programs

    @property
    def broken(self) -> bool:
        """Return whether the file is known to be unusable."""
        return self.wrong is not None and self.wrong["code"] != UNCHECKED


def unchecked(max_bytes: int) -> Checked:
    """Return what is known of a file that nobody has checked."""
    return Checked("", max_bytes, {"code": UNCHECKED, "facts": {}})


def read(state_dir: Path, file: Path, digest: str) -> Checked | None:
    """Return what was found in this file when it had these bytes; None when nobody knows."""
    try:
        found = json.loads((state_dir / NAME).read_text("utf-8"))
        return Checked(**found["checked"]) if found["of"] == _of(file, digest) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def note(state_dir: Path, file: Path, digest: str, checked: Checked) -> None:
    """Note it. Nothing is made where no daemon has made the state directory yet."""
    lastrun.put(state_dir / NAME, {"of": _of(file, digest), "checked": asdict(checked)})


def _of(file: Path, digest: str) -> list[str]:
    return [__version__, str(file), digest]
