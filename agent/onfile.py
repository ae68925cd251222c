"""What the configuration file says by now, beside what is in force: the next start goes by the file.

A refused reload is soon forgotten; the power cut that makes the file count comes at night.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent import lastrun
from agent.config import Config
from agent.config.loader import File, read
from agent.live import changed

#: So many keys are named; the rest is counted by whoever looks at the file.
NAMED = 5


class OnFile:
    """One file, read again only when its bytes have changed: monitoring asks every minute."""

    def __init__(self, path: Path, env: Mapping[str, str]) -> None:
        self.path = path
        self._env = dict(env)
        self._known: tuple[str, File] | None = None

    def differs(self, current: Config) -> dict[str, Any]:
        """Return how the file differs from what is in force, by code and facts; empty where it does not."""
        file = self._read()
        wrong = [finding for finding in file.findings if finding.fatal]
        if wrong or file.config is None:
            first = wrong[0]
            place = f"{first.place.line}:{first.place.column}"
            return {
                "code": "E8617",
                "facts": {"count": str(len(wrong)), "first": place, "cause": first.code},
            }
        keys = changed(current, file.config)
        if not keys:
            return {}
        told = ", ".join(keys[:NAMED]) + (" ..." if len(keys) > NAMED else "")
        return {"code": "W8618", "facts": {"keys": told}}

    def _read(self) -> File:
        digest = lastrun.digest(self.path)
        # What cannot be read has no digest, and may be readable the next time.
        if self._known is None or not digest or self._known[0] != digest:
            self._known = digest, read(self.path, self._env)
        return self._known[1]
