"""What may be asked of a running daemon by signal: an end, the configuration again, more or fewer lines."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent import logs
from agent.catalogue import AgentError

log = logs.get(__name__)


class Asked:
    """What a signal asked for: noted in its handler, done between two ticks."""

    def __init__(self) -> None:
        self.wanted: set[int] = set()

    def answer(self, reload: Callable[[], None], level: str) -> None:
        """SIGHUP: read the configuration again. SIGUSR1: log more. SIGUSR2: log as configured."""
        while self.wanted:
            number = self.wanted.pop()
            if number == signal.SIGUSR1:
                logs.louder(level)
            elif number == signal.SIGUSR2:
                logs.quieter(level)
            else:
                try:
                    reload()
                except AgentError as error:
                    logs.say_error(log, error)
                    for finding in getattr(error, "findings", ()):
                        place = f"{finding.place.line}:{finding.place.column}"
                        logs.say(log, finding.code, **finding.facts, place=place)


@contextmanager
def listening(stop: threading.Event, asked: Asked) -> Iterator[None]:
    """Turn signals into events; after the first request to stop the old handlers stand again."""

    def on_stop(number: int, _frame: object) -> None:
        signal.signal(number, before[number])
        stop.set()

    def on_wish(number: int, _frame: object) -> None:
        asked.wanted.add(number)

    wanted = {
        **dict.fromkeys((signal.SIGTERM, signal.SIGINT), on_stop),
        **dict.fromkeys((signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2), on_wish),
    }
    before = {int(number): signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
