"""The configuration in force, and which of its keys may change while the agent runs."""

from __future__ import annotations

from typing import Any

from agent import sm
from agent.catalogue import AgentError
from agent.config.schema import Config

#: Everything else answers "needs restart". A name covers what is below it.
RELOADABLE = (
    "platform.conventions",
    "platform.drain_per_minute",
    "platform.retry_budget_per_hour",
    "platform.correct_skew",
    "operators",
    "images",
    "face.threshold",
    "intake.mapping",
    "intake.pictures",
    "console.clear_after_s",
    "console.notice",
    "console.mask",
    "logging",
    "lang",
)


class Live:
    """Holds one frozen Config; replacing it is a single assignment, so readers never see half of one."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def config(self) -> Config:
        """Return the configuration in force."""
        return self._config

    def replace(self, config: Config) -> None:
        """Put a configuration in force. AgentError E8105 when keys need a restart; then nothing changes."""
        fixed = [key for key in changed(self._config, config) if not reloadable(key)]
        if fixed:
            raise AgentError("E8105", keys=", ".join(fixed))
        self._config = config


def fingerprint(config: Config) -> str:
    """Return twelve hex digits that say which configuration is in force. No secret stands in one."""
    return sm.sm3(config.model_dump_json(by_alias=True).encode()).hex()[:12]


def changed(old: Config, new: Config) -> list[str]:
    """Return the dotted names of the keys whose values differ."""
    return sorted(_differences(old.model_dump(by_alias=True), new.model_dump(by_alias=True), ""))


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str) -> list[str]:
    found: list[str] = []
    for key in old.keys() | new.keys():
        left, right = old.get(key), new.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            found += _differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found.append(prefix + key)
    return found


def reloadable(key: str) -> bool:
    """Return whether a dotted key may change while the agent runs."""
    return any(key == name or key.startswith(name + ".") for name in RELOADABLE)
