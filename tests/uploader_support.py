"""A running uploader with a real outbox, and platforms for it to speak to."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hmpt_support import APP_ID, PICTURES, SECRET, TICKET
from hmpt_support import config as platform_config
from outbox_support import SEAL_KEYS, verification
from pictures_support import PICTURE_CHILD

from agent.audit import Audit
from agent.board import Board
from agent.clock import SystemClock, Trust
from agent.config.schema import Config
from agent.heartbeat import Heartbeat
from agent.hmpt.client import PlatformClient
from agent.hmpt.signing import Identity
from agent.live import Live
from agent.outbox import Outbox
from agent.records import Verification
from agent.simulate.dialect import LIKELY, Dialect
from agent.simulate.platform import Faults, SimulatedPlatform
from agent.uploader import Parts, Uploader
from agent.uploader.memory import RememberedSigning

CLOCK = SystemClock()


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of back-off become hundredths; its growth and its bounds are tested on their own."""
    monkeypatch.setattr("agent.uploader.backoff.BASE_S", 0.02)
    monkeypatch.setattr("agent.uploader.backoff.PLATFORM_CAP_S", 0.2)
    monkeypatch.setattr("agent.uploader.backoff.RECORD_CAP_S", 0.1)


class Bench:
    """A running uploader, wired as the service wires it."""

    def __init__(self, folder: Path, settings: Config) -> None:
        self.live = Live(settings)
        self.outbox = Outbox.open(folder, SEAL_KEYS, CLOCK, 2**30)
        self.audit = Audit(folder / "audit.jsonl", b"k", CLOCK)
        self.board = Board(CLOCK)
        self.signing = RememberedSigning(self.outbox, settings.platform.base_url)
        self.skews: list[float] = []
        self.trust = Trust.NTP
        self.pictures = PICTURE_CHILD
        self.client = PlatformClient(
            self.live.config,
            Identity(APP_ID, SECRET.encode(), TICKET),
            CLOCK,
            self.signing,
            self.skews.append,
        )
        self.stop = threading.Event()
        self.uploader = Uploader(
            Parts(
                config=self.live.config,
                client=self.client,
                outbox=self.outbox,
                audit=self.audit,
                board=self.board,
                clock=CLOCK,
                rng=random.Random(5),
                pseudonym=lambda number: f"p:{len(number)}",
                smaller=self._smaller,
                trust=lambda: self.trust,
            )
        )
        self._thread = threading.Thread(target=self.uploader.run, args=(Heartbeat("u", CLOCK), self.stop))

    def _smaller(self, picture: bytes, share: float) -> bytes:
        return self.pictures.smaller(picture, share)

    def start(self) -> None:
        self._thread.start()

    def put(self, one: Verification | None = None) -> str:
        one = one or verification()
        self.outbox.put(one, PICTURES, person=one.id, holds={})
        self.uploader.wake()
        return one.id

    def close(self) -> None:
        self.stop.set()
        self.uploader.wake()
        if self._thread.ident is not None:
            self._thread.join()
        self.client.close()
        self.outbox.close()
        self.audit.close()

    def until(self, condition: Callable[[], bool], patience_s: float = 20.0) -> None:
        deadline = CLOCK.monotonic() + patience_s
        pause = threading.Event()
        while not condition():
            assert CLOCK.monotonic() < deadline, "waited in vain"
            pause.wait(0.01)

    def state(self, record: str) -> str:
        return self.outbox.administration.row(record).state

    def delivered(self, count: int, patience_s: float = 20.0) -> None:
        """Wait until so many records are delivered."""
        self.until(lambda: self.outbox.counts().delivered == count, patience_s)

    def codes(self) -> set[str]:
        return {event.code for event in self.board.events()}


def settings(url: str, **platform: Any) -> Config:
    made = platform_config(url).model_dump(by_alias=True)
    made["platform"] |= {"drain_per_minute": 6000, "retry_budget_per_hour": 100000, **platform}
    return Config.model_validate({key: made[key] for key in ("platform", "device")})


@contextmanager
def bench(folder: Path, url: str, *, started: bool = True, **platform: Any) -> Iterator[Bench]:
    made = Bench(folder, settings(url, **platform))
    try:
        if started:
            made.start()
        yield made
    finally:
        made.close()


def platform(
    faults: Faults | None = None, secret: str = SECRET, port: int = 0, dialect: Dialect = LIKELY
) -> SimulatedPlatform:
    return SimulatedPlatform(secret, APP_ID, TICKET, faults=faults, port=port, dialect=dialect)
