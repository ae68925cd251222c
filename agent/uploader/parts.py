"""What the uploader works with."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from agent.audit import Audit
from agent.board import Board
from agent.clock import Clock, Trust
from agent.config.schema import Config
from agent.hmpt.client import PlatformClient
from agent.outbox import Outbox
from agent.uploader.making import Smaller


@dataclass(frozen=True)
class Parts:
    """Everything from outside. `pseudonym`: of a card number; `trust`: in our clock, at this moment."""

    config: Callable[[], Config]
    client: PlatformClient
    outbox: Outbox
    audit: Audit
    board: Board
    clock: Clock
    rng: random.Random
    pseudonym: Callable[[str], str]
    smaller: Smaller
    trust: Callable[[], Trust] = lambda: Trust.NTP
