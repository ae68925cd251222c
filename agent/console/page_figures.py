"""Metrics of the page: who looks, who was turned away."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from agent.console.behind import Behind
from agent.console.figures import PREFIX, gauge


class PageFigures(Collector):
    """What Prometheus collects of the page."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind

    def collect(self) -> Iterable[Metric]:
        """Yield every metric; called at each scrape."""
        behind = self._behind
        yield gauge("page_sessions", "Sessions of the page.", {}, behind.sessions.count())
        yield gauge("page_streams", "Event streams under way.", {}, behind.places.taken)
        refused = "Event streams refused because all places were taken."
        yield CounterMetricFamily(f"{PREFIX}page_streams_refused", refused, value=behind.places.refused)
        wrong = "Wrong, used or expired one-time codes."
        yield CounterMetricFamily(f"{PREFIX}page_wrong_codes", wrong, value=behind.wrong_codes)
