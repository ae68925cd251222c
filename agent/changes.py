"""What changed in the configuration since it was last in force, for the audit trail.

The outbox keeps a digest of each value, never a value: which keys changed is known after a restart as well.
A few settings that decide about people - the threshold, the engine - are kept in clear, and written as old
and new.
"""

from __future__ import annotations

import json
from typing import Any

from agent import sm
from agent.config.schema import Config
from agent.live import fingerprint
from agent.ownership import Ownership
from agent.recall import recalled

_SEEN = "config_seen"
IN_CLEAR = ("face.threshold", "face.engine", "platform.base_url", "platform.encrypt")


def note(own: Ownership, config: Config) -> list[str]:
    """Write down what changed, if anything did. Return the keys, dotted."""
    new = _digests(config)
    stored = own.outbox.setting(_SEEN)
    before, old = recalled(stored, _read) or ("", {})
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if not changed:
        return []
    now = fingerprint(config)
    if stored:
        own.audit.append(
            "config.changed",
            who="service",
            target="config",
            keys=",".join(changed),
            before=before,
            after=now,
            durable=True,
            **{key: f"{old.get(key)} -> {new.get(key)}" for key in changed if key in IN_CLEAR},
        )
    own.outbox.set_setting(_SEEN, json.dumps({"hash": now, "keys": new}))
    return changed if stored else []


def _read(stored: str) -> tuple[str, dict[str, str]]:
    seen = json.loads(stored)
    return str(seen["hash"]), dict(seen["keys"])


def _digests(config: Config) -> dict[str, str]:
    found: dict[str, str] = {}
    _walk(config.model_dump(mode="json", by_alias=True), "", found)
    return found


def _walk(values: dict[str, Any], prefix: str, found: dict[str, str]) -> None:
    for name, value in values.items():
        key = prefix + name
        if isinstance(value, dict) and value:
            _walk(value, f"{key}.", found)
        else:
            text = json.dumps(value, ensure_ascii=False, sort_keys=True)
            found[key] = text if key in IN_CLEAR else sm.sm3(text.encode()).hex()[:16]
