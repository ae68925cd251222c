"""How the simulated platform misbehaves: every Nth request, or to order, one request after the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

MAX_ORDERS = 100_000


@dataclass(frozen=True)
class Faults:
    """N: every Nth request that `on` names. 0: never. Those below the line are amounts, not counts."""

    # The request does not get as far as the platform.
    cut_request: int = 0  # reset while the body is still coming in
    unauthorized: int = 0  # 401 from the bus, without the platform's JSON
    forbidden: int = 0  # 403, likewise
    missing: int = 0  # 404
    redirect: int = 0  # 302 to a login page
    html: int = 0  # a page with status 200
    too_large: int = 0  # 413
    limited: int = 0  # 429 with Retry-After
    unavailable: int = 0  # 503 with Retry-After
    error: int = 0  # 500 without JSON
    # The platform refuses, or says that it took what it did not take.
    refuse: int = 0  # A2301
    system: int = 0  # B0001
    duplicate: int = 0  # refused as a repeated request id
    silent: int = 0  # code 200, and nothing written down
    # Accepted and written down; what goes wrong is the answer.
    lost_answer: int = 0  # closed without an answer
    reset: int = 0  # reset without an answer
    hang: int = 0  # no answer until the client leaves
    truncated: int = 0  # closed in the middle of the answer
    slow: int = 0  # a byte now and then
    gateway: int = 0  # 502
    garbage: int = 0  # no JSON
    empty: int = 0
    html_after: int = 0  # a page with status 200, after the record was taken
    huge: int = 0  # larger than any answer
    charset: int = 0  # GBK
    bom: int = 0  # a byte order mark; harmless
    wrong_id: int = 0  # somebody else's requestId
    no_id: int = 0
    forge: int = 0  # the signature wrong
    stale: int = 0  # signed rightly, a day ago
    unsigned: int = 0  # the signature left out
    undecipherable: int = 0  # {"data": ...} that no key opens
    contradict: int = 0  # code 200, exceptionCode A2301
    # ------------------------------------------------------------------------------------------------
    down: int = 0  # 1: 503 for everything
    delay: float = 0.0  # seconds before each answer
    retry_after: float = 1.0  # seconds, for 429 and 503
    retry_after_date: int = 0  # 1: as a date
    skew: float = 0.0  # seconds by which the platform's clock is ahead
    lock_after: int = 0  # bad signatures, then everything is refused
    lock_s: float = 600.0
    on: str = "records"  # records | registrations | all


_AMOUNTS = ("down", "delay", "retry_after", "retry_after_date", "skew", "lock_after", "lock_s", "on")
#: What can be ordered for one request.
NAMES = tuple(field.name for field in fields(Faults) if field.name not in _AMOUNTS)
OK = "ok"
_ON = ("records", "registrations", "all")


def parse_faults(texts: Iterable[str]) -> Faults:
    """Read NAME=VALUE texts, names with dashes or underscores. ValueError for one that is none."""
    known = {name: type(value) for name, value in asdict(Faults()).items()}
    chosen: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        name = name.replace("-", "_")
        if name not in known:
            raise ValueError(f"no fault {name!r}; there are {' | '.join(sorted(known))}")
        chosen[name] = known[name](value)
    if chosen.get("on", "all") not in _ON:
        raise ValueError(f"on: there are {' | '.join(_ON)}")
    return Faults(**chosen)


class Schedule:
    """Which faults befall which request. Safe from any thread; memory bounded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._orders: deque[str] = deque()

    def order(self, *names: str) -> None:
        """Order a fault for each of the next requests, `ok` for none. ValueError for an unknown one."""
        unknown = set(names) - {OK, *NAMES}
        if unknown:
            raise ValueError(f"no fault {sorted(unknown)}; there are {' | '.join(NAMES)}")
        with self._lock:
            if len(self._orders) + len(names) > MAX_ORDERS:
                raise ValueError(f"more than {MAX_ORDERS} orders")
            self._orders += names

    def next(self, faults: Faults, *, record: bool) -> frozenset[str]:
        """Return the names of the faults of the request that just came in."""
        if faults.on != "all" and record != (faults.on == "records"):
            return frozenset()
        with self._lock:
            self._count += 1
            if self._orders:
                return frozenset({self._orders.popleft()} - {OK})
            return frozenset(
                name for name in NAMES if (every := getattr(faults, name)) and self._count % every == 0
            )
