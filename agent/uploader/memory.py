"""What outlives the process, as small values beside the records; and what of it people may see."""

from __future__ import annotations

from typing import Any

from agent.config.schema import Config
from agent.hmpt.conventions import fingerprint
from agent.outbox import Outbox
from agent.uploader.breaker import Breaker
from agent.uploader.judgement import Judgement
from agent.uploader.registration import registered

BREAKER, JUDGEMENT = "breaker", "judgement"


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


def summary(outbox: Outbox, config: Config) -> dict[str, Any]:
    """Return what is known of the platform. English keys; nothing that names a person or a secret."""
    breaker = Breaker.from_json(outbox.setting(BREAKER))
    judgement = Judgement.from_json(outbox.setting(JUDGEMENT))
    device = registered(outbox, config)
    mark = fingerprint(config.platform.conventions, encrypt=config.platform.encrypt)
    return {
        "base_url": config.platform.base_url,
        "registered_at": None if device is None else device.at,
        "registered_before": None if device is None else device.already,
        "conventions": mark,
        "proven": not judgement.commissioning(mark),
        "answers_signed": RememberedSigning(outbox, config.platform.base_url).seen(),
        "waiting_for": breaker.code or None,
        "next_try": breaker.open_until,
        "suspects": sorted(judgement.suspects),
    }
