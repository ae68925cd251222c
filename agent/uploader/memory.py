"""What outlives the process, as small values beside the records; and what of it people may see."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agent import inservice
from agent.config.schema import Config
from agent.hmpt.conventions import fingerprint
from agent.outbox import Outbox
from agent.uploader.breaker import Breaker
from agent.uploader.judgement import Judgement
from agent.uploader.registration import registered

#: Codes whose facts are remembered beside the latest one's.
MAX_TOLD = 15


def breaker_name(config: Config) -> str:
    """Return where the breaker is kept: another address is another platform, and owes us no patience."""
    return f"breaker:{config.platform.base_url}"


def judgement_name(config: Config) -> str:
    """Return where the judgement is kept: what a rehearsal accepted proves nothing to the province."""
    return f"judgement:{config.platform.base_url}"


def mark(config: Config) -> str:
    """Return what names the conventions in force."""
    return fingerprint(config.platform.conventions, encrypt=config.platform.encrypt)


class RememberedSigning:
    """Whether this platform signs its answers (P18): for good, until a person says that it no longer does."""

    def __init__(self, outbox: Outbox, base_url: str) -> None:
        self._outbox, self._name = outbox, f"signed_answers:{base_url}"

    def seen(self) -> bool:
        return self._outbox.setting(self._name) == "yes"

    def saw(self) -> None:
        if not self.seen():
            self._outbox.set_setting(self._name, "yes")

    def forget(self) -> None:
        """Take unsigned answers again."""
        self._outbox.set_setting(self._name, "")


def keep_told(outbox: Outbox, config: Config, code: str, facts: Mapping[str, str]) -> None:
    """Remember the facts with which a code was told."""
    told = _told(outbox, config)
    told.pop(code, None)
    outbox.set_setting(_told_name(config), json.dumps({**dict(list(told.items())[-MAX_TOLD:]), code: facts}))


def last_told(outbox: Outbox, config: Config, code: str) -> Mapping[str, str]:
    """Return the facts with which a code was told last, for a daemon that starts amid an outage."""
    return _told(outbox, config).get(code, {})


def _told_name(config: Config) -> str:
    return f"told:{config.platform.base_url}"


def _told(outbox: Outbox, config: Config) -> dict[str, dict[str, str]]:
    try:
        found = json.loads(outbox.setting(_told_name(config)) or "{}")
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def summary(outbox: Outbox, config: Config) -> dict[str, Any]:
    """Return what is known of the platform. English keys; nothing that names a person or a secret."""
    breaker = Breaker.from_json(outbox.setting(breaker_name(config)))
    judgement = Judgement.from_json(outbox.setting(judgement_name(config)))
    device, out = registered(outbox, config), inservice.out_of_service(outbox, config.device)
    return {
        "base_url": config.platform.base_url,
        "registered_at": None if device is None else device.at,
        "registered_last": None if device is None else device.last,
        "registered_before": None if device is None else device.already,
        "out_of_service_since": None if out is None else out.at,
        "out_of_service_by": None if out is None else out.who,
        "conventions": mark(config),
        "proven": not judgement.commissioning(mark(config)),
        "answers_signed": RememberedSigning(outbox, config.platform.base_url).seen(),
        "waiting_for": breaker.code or None,
        "next_try": breaker.open_until,
        "suspects": sorted(judgement.suspects),
    }
