"""The numbers behind /metrics and /api/state, read from the outbox at most once a second.

Whoever scrapes in a tight loop reads the last answer: the outbox has one thread, and the desk needs it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from agent import __version__
from agent.balance import GONE_ON, STATES
from agent.clock import Clock
from agent.console.view import NOT_PARTS
from agent.control.looking import stats
from agent.control.powers import Powers

#: How old an answer may be.
FRESH_S = 1.0
PREFIX = "kiosk_agent_"
#: Whoever counts these while somebody sits at the desk knows how her comparison ended.
OF_A_PERSON = frozenset({"I1005", "I2001", "I2003", "I2004", "W1016", "W1017", "W2001", "W2002"})


class Figures(Collector):
    """What Prometheus collects; `queue` is the same for people."""

    def __init__(self, powers: Powers, clock: Clock) -> None:
        self._powers = powers
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._queue: dict[str, Any] = {}
        self._trusted = False

    def queue(self) -> dict[str, Any]:
        """Return the outbox's counters as `outbox stats` shows them."""
        with self._lock:
            self._read()
            return {
                key: value.isoformat() if isinstance(value, datetime) else value
                for key, value in self._queue.items()
            }

    def clock_trusted(self) -> bool:
        """Return whether this machine's clock can be believed."""
        with self._lock:
            self._read()
            return self._trusted

    def _read(self) -> None:
        now = self._clock.monotonic()
        if self._read_at is None or now - self._read_at >= FRESH_S:
            self._queue, self._trusted = stats(self._powers), self._powers.own.clock_trusted()
            self._read_at = now

    def collect(self) -> Iterable[Metric]:
        """Yield every metric; called at each scrape."""
        with self._lock:
            self._read()
            queue, trusted = dict(self._queue), self._trusted
        yield gauge("info", "Version of the agent.", {"version": __version__}, 1)
        yield from self._outbox(queue)
        yield gauge("clock_trusted", "Whether the machine's clock can be believed.", {}, trusted)
        yield from self._loops()
        yield from self._parts()
        yield from self._events()
        yield from self._followups()

    def _outbox(self, queue: dict[str, Any]) -> Iterator[Metric]:
        records = GaugeMetricFamily(f"{PREFIX}records", "Records by state.", labels=["state"])
        for state in STATES:
            records.add_metric([state], queue[state])
        yield records
        closed = GaugeMetricFamily(
            f"{PREFIX}records_discarded",
            "Discarded records by why nobody here goes on.",
            labels=["closed_as"],
        )
        for reason in ("given_up", *GONE_ON):
            closed.add_metric([reason], queue[reason])
        yield closed
        yield CounterMetricFamily(
            f"{PREFIX}records_accepted", "Records ever accepted.", value=queue["accepted"]
        )
        plain = {
            "records_waiting": ("Records kept and neither delivered nor discarded.", "waiting"),
            "ledger_difference": ("Records by which the counters do not balance; must be 0.", "difference"),
            "attempts": ("Sends of all records that still have a row.", "attempts"),
            "outbox_bytes": ("Bytes of sealed bodies that are kept.", "bytes"),
            "outbox_limit_bytes": ("outbox.max_bytes.", "limit"),
            "disk_free_bytes": ("Bytes free where the outbox lies.", "free"),
            "ballast": ("Whether the reserve on the disk still stands.", "ballast"),
            "lost_keys": ("Epoch keys that cannot be unwrapped.", "lost_keys"),
            "copied": ("Whether the state directory came from another machine.", "copied"),
        }
        for name, (text, key) in plain.items():
            yield gauge(name, text, {}, queue[key])
        oldest, success = queue["oldest_waiting"], queue["last_success"]
        age = 0.0 if oldest is None else max(0.0, (self._clock.now() - oldest).total_seconds())
        yield gauge("oldest_waiting_seconds", "Age of the oldest record that waits; 0: none does.", {}, age)
        if success is not None:
            text = "When the platform last took a record."
            yield gauge("last_success_timestamp_seconds", text, {}, success.timestamp())

    def _loops(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(f"{PREFIX}loop_up", "Whether a loop beats in time.", labels=["loop"])
        restarts = CounterMetricFamily(
            f"{PREFIX}loop_restarts", "How often a loop died and was restarted.", labels=["loop"]
        )
        for loop in self._powers.loops():
            up.add_metric([loop.name], loop.alive and not loop.late_s)
            restarts.add_metric([loop.name], loop.restarts)
        yield up
        yield restarts

    def _parts(self) -> Iterator[Metric]:
        """Whatever posts its state on the board: reader, camera, platform, outbox, console."""
        up = GaugeMetricFamily(f"{PREFIX}part_up", "Whether a part of the agent works.", labels=["part"])
        topics = {} if self._powers.board is None else self._powers.board.snapshot()
        for topic, state in sorted(topics.items()):
            if topic not in NOT_PARTS:
                up.add_metric([topic], state.get("state") == "ok")
        yield up
        handed_in = topics.get("intake")
        if handed_in is not None:
            results = CounterMetricFamily(
                f"{PREFIX}intake_results", "Results handed in since the start.", labels=["outcome"]
            )
            for outcome in ("kept", "repeated", "refused"):
                results.add_metric([outcome], handed_in[outcome])
            yield results
            yield gauge(
                "intake_quarantined", "Refused files that wait for a person.", {}, handed_in["quarantined"]
            )
        next_try = topics.get("platform", {}).get("next_try")
        wait_s = 0.0
        if next_try is not None:
            wait_s = max(0.0, (datetime.fromisoformat(next_try) - self._clock.now()).total_seconds())
        yield gauge("platform_retry_seconds", "Until the platform is asked again; 0: it is used.", {}, wait_s)

    def _events(self) -> Iterator[Metric]:
        """How often each code was told, but for those that say how one person's comparison ended."""
        family = CounterMetricFamily(f"{PREFIX}events", "What happened, by catalogue code.", labels=["code"])
        counts = {} if self._powers.board is None else self._powers.board.counts()
        for code, count in sorted(counts.items()):
            if code not in OF_A_PERSON:
                family.add_metric([code], count)
        yield family

    def _followups(self) -> Iterator[Metric]:
        """The oldest open follow-up in whole hours: their number would tell how a comparison ended."""
        listed = self._powers.own.outbox.followups.listed(1)
        age_s = (self._clock.now() - listed[0].opened_at).total_seconds() if listed else 0.0
        text = "Whole hours that the oldest open follow-up has been open; 0: none is, or it is new."
        yield gauge("followups_oldest_hours", text, {}, max(0, int(age_s // 3600)))


def gauge(name: str, text: str, labels: dict[str, str], value: float) -> GaugeMetricFamily:
    """Return one gauge of the agent's."""
    family = GaugeMetricFamily(PREFIX + name, text, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family
