"""What the uploader makes of clocks: may ours sign, what time is it there, how far apart are they."""

from __future__ import annotations

import threading

from agent.clock import Clock, Trust
from agent.hmpt.client import PlatformClient
from agent.records import PlatformDown

#: A clock that nobody has confirmed is asked about this often, when nothing else does.
ASK_TIME_S = 60.0
#: A platform's clock this far from ours is worth a word.
SKEW_TOLD_S = 60.0


class Timekeeping:
    """For one thread. `code`: why nothing may be signed, "" when it may."""

    def __init__(self, client: PlatformClient, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self.code = ""
        self._asked: float | None = None
        self._skewed = False

    def turned(self, trust: Trust) -> bool:
        """Return whether the clock became fit to sign with, or unfit, since the last time."""
        before, self.code = self.code, "" if trust.may_sign else "E7503"
        return self.code != before

    def ask(self, stop: threading.Event) -> PlatformDown | None:
        """Ask the platform what time it is, if that is due. Return why nothing was heard."""
        now = self._clock.monotonic()
        if self._asked is not None and now - self._asked < ASK_TIME_S:
            return None
        self._asked = now
        return self._client.ask_time(stop)

    def newly_skewed(self) -> str | None:
        """Return by how many seconds the platform is ahead, signed: once, until the two agreed in between."""
        skew_s = self._client.skew_s
        off = skew_s is not None and abs(skew_s) > SKEW_TOLD_S
        told, self._skewed = self._skewed, off
        return f"{round(skew_s):+d}" if off and not told and skew_s is not None else None
