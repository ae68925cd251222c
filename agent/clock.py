"""Time as an argument: UTC inside, Asia/Shanghai at the platform's border and on screens.

A clock is *trusted* when it cannot be obviously wrong: the year is plausible and it is not before the
last time that was stored. A record made under an untrusted clock is held, not sent.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Protocol

#: The platform's zone. China has had no daylight saving since 1991, so a fixed offset is exact.
SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")

#: No kiosk of this generation was switched on before; an unset RTC says 1970 or 2000.
EARLIEST = datetime(2024, 1, 1, tzinfo=timezone.utc)

#: How far behind the last stored time a clock may be: what NTP corrects in daily life.
TOLERANCE = timedelta(minutes=2)


class Clock(Protocol):
    """What the agent asks of a clock."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only ever grow; comparable between processes of one boot."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        return time.monotonic()


def trusted(now: datetime, last_stored: datetime | None) -> bool:
    """Return whether `now` can be the true time, given the last time this agent stored."""
    return now >= EARLIEST and (last_stored is None or now >= last_stored - TOLERANCE)
