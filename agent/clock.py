"""Time as an argument: UTC inside, Asia/Shanghai at the platform's border and on screens.

A clock is *trusted* when the kernel says that it is synchronised, when the platform's own time agreed with
it in this boot, or when a named person said so - and never before the last time that was stored here. A
record made before is held: it keeps boot and monotonic time, from which its true time is computed, once,
as soon as the clock of that boot is known.
"""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Protocol

#: The platform's zone. China has had no daylight saving since 1991, so a fixed offset is exact.
SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")

#: No kiosk of this generation was switched on before; an unset RTC says 1970 or 2000.
EARLIEST = datetime(2024, 1, 1, tzinfo=timezone.utc)

#: How far a clock may be from the last stored time, or from the platform's: what NTP corrects in daily life.
TOLERANCE = timedelta(minutes=2)
#: Boots whose clocks are remembered: weeks without a network, switched off every evening.
MAX_BOOTS = 64
#: The kernel is not asked again within this.
ASK_AGAIN_S = 30.0

_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


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


class Trust(Enum):
    """How far the machine's clock can be believed; the value is shown."""

    NTP = "ntp"  # the kernel says: synchronised
    PLATFORM = "platform"  # the platform's time agreed with it in this boot
    PERSON = "person"  # a named person said so
    UNCHECKED = "unchecked"  # plausible, and nobody has confirmed it yet
    WRONG = "wrong"  # the platform's time says otherwise
    UNSET = "unset"  # before 2024
    BEHIND = "behind"  # before the last time that was stored

    @property
    def believed(self) -> bool:
        """Return whether a record's time may be sent as it is."""
        return self in {Trust.NTP, Trust.PLATFORM, Trust.PERSON}

    @property
    def may_sign(self) -> bool:
        """Return whether a request may be signed: a plausible clock is checked by asking."""
        return self not in {Trust.UNSET, Trust.BEHIND}


@dataclass(frozen=True)
class Uptime:
    """A moment that no change of the clock moves."""

    boot: str
    monotonic_s: float


def rfc3339(moment: datetime) -> str:
    """Return a moment as facts, JSON and the journal's fields write it: RFC 3339, in UTC."""
    return moment.astimezone(timezone.utc).isoformat()


def stored_time(text: str) -> datetime:
    """Return a stored moment. ValueError for what is none, or in no zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


#: Python 3.10 reads fewer of these forms than 3.11 does; a kiosk's time means the same on both.
_ISO = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)(?:[Tt ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9}))?)?"
    r"([Zz]|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)


def iso_moment(text: str) -> datetime:
    """Return a moment as others write it by ISO 8601, its offset too where one stands. Else ValueError."""
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(text)
    year, month, day, hour, minute, second, fraction, offset = match.groups(default="")
    if offset in {"Z", "z"}:
        offset = "+00:00"
    elif offset:
        offset = f"{offset[:3]}:{offset[3:].removeprefix(':') or '00'}"
    time = f"{hour or '00'}:{minute or '00'}:{second or '00'}.{fraction[:6]:0<6}"
    return datetime.fromisoformat(f"{year}-{month}-{day}T{time}{offset}")


def as_json(value: object) -> str:
    """Return what JSON has no form for as a text: a moment by RFC 3339."""
    return rfc3339(value) if isinstance(value, datetime) else str(value)


def signed(seconds: float) -> str:
    """Return whole seconds as people read them: "+3", "-3", and "+0" for less than half a one either way."""
    return f"{round(seconds):+d}"


def boot_id() -> str:
    """Return the kernel's name for this boot."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


def synchronised() -> bool:
    """Return whether the system clock is kept by NTP, whichever program does it.

    adjtimex(2) knows of all of them; where the unit's sandbox forbids it (ProtectClock=), timesyncd's mark
    and timedated, which asks adjtimex outside, are left.
    """
    state = _adjtimex()
    if state is not None:
        return state != _TIME_ERROR
    return _TIMESYNCD.exists() or _timedated()


def _adjtimex() -> int | None:
    """Return the kernel's clock state, None where we may not ask. Asking changes nothing (modes = 0)."""
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else int(state)


def _timedated() -> bool:
    command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.stdout.strip() == "yes"


@dataclass(frozen=True)
class Memory:
    """Where the clock's past is kept: the last trusted time, and what the clocks of boots were off by."""

    last_time: Callable[[], datetime | None]
    load: Callable[[], str | None]
    store: Callable[[str], None]


@dataclass(frozen=True)
class _Asked:
    """When the kernel was asked, by which clock, and what it said."""

    at: float
    zero: float
    synchronised: bool


class TrustedClock:
    """Whether the machine's clock can be believed, and since when. Safe from any thread."""

    def __init__(
        self,
        clock: Clock,
        memory: Memory,
        kernel: Callable[[], bool] = synchronised,
        boot: str | None = None,
    ) -> None:
        self._clock, self._memory, self._kernel = clock, memory, kernel
        self._boot = boot_id() if boot is None else boot
        self._lock = threading.RLock()
        self._asked: _Asked | None = None
        self._wrong = False
        # boot -> seconds since 1970 at its monotonic zero, and how that is known
        self._boots: dict[str, tuple[float, str]] = _boots(memory.load())

    def trust(self) -> Trust:
        """Return how far the clock can be believed now."""
        with self._lock:
            now, last = self._clock.now(), self._memory.last_time()
            if now < EARLIEST:
                return Trust.UNSET
            if last is not None and now < last - TOLERANCE:
                return Trust.BEHIND
            if self._by_kernel(self._zero(now)):
                self._note(self._zero(now), Trust.NTP)
                return Trust.NTP
            known = self._boots.get(self._boot)
            if known is not None and self._agrees(known[0], now):
                return Trust(known[1])
            return Trust.WRONG if self._wrong else Trust.UNCHECKED

    def checked(self, skew_s: float, *, correct: bool) -> None:
        """Take note of the platform's time, `skew_s` ahead of ours. `correct`: it counts instead of ours."""
        with self._lock:
            self._wrong = abs(skew_s) > TOLERANCE.total_seconds()
            if not self._wrong:
                self._note(self._zero(self._clock.now()), Trust.PLATFORM)
            elif correct:
                self._note(self._zero(self._clock.now()) + skew_s, Trust.PLATFORM)

    def confirmed(self) -> None:
        """Take note that a named person found the clock right."""
        with self._lock:
            self._wrong = False
            self._note(self._zero(self._clock.now()), Trust.PERSON)

    def uptime(self) -> Uptime:
        """Return this moment, so that it can be put right later."""
        return Uptime(self._boot, self._clock.monotonic())

    def at(self, moment: Uptime) -> datetime | None:
        """Return the true time of a moment, None while the clock of its boot is not known."""
        with self._lock:
            known = self._boots.get(moment.boot)
        if known is None or not moment.boot:
            return None
        return datetime.fromtimestamp(known[0] + moment.monotonic_s, timezone.utc)

    # --- inside -------------------------------------------------------------------------------------

    def _by_kernel(self, zero: float) -> bool:
        """Return the kernel's word, asked again from time to time, and at once when the clock was moved."""
        now = self._clock.monotonic()
        if self._asked is None or now - self._asked.at >= ASK_AGAIN_S or abs(zero - self._asked.zero) > 1.0:
            self._asked = _Asked(now, zero, self._kernel())
        return self._asked.synchronised

    def _zero(self, now: datetime) -> float:
        return now.timestamp() - self._clock.monotonic()

    def _agrees(self, zero: float, now: datetime) -> bool:
        """Return whether the clock has not been moved since its time was confirmed."""
        return abs(self._zero(now) - zero) <= TOLERANCE.total_seconds()

    def _note(self, zero: float, how: Trust) -> None:
        """Remember what this boot's clock is; a second is no change worth writing."""
        known = self._boots.get(self._boot)
        if known is not None and known[1] == how.value and abs(known[0] - zero) < 1.0:
            return
        self._boots.pop(self._boot, None)
        self._boots[self._boot] = (zero, how.value)
        while len(self._boots) > MAX_BOOTS:
            del self._boots[next(iter(self._boots))]
        self._memory.store(json.dumps(self._boots))


def _boots(stored: str | None) -> dict[str, tuple[float, str]]:
    try:
        found = json.loads(stored or "{}").items()
        return {str(boot): (float(zero), Trust(how).value) for boot, (zero, how) in found}
    except (ValueError, TypeError, AttributeError):
        return {}
