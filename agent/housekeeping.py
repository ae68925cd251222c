"""The loop that nobody notices: time, retention, room, rot.

Erases what is over, gives its pages back while the desk is idle, reads slowly through what waits, keeps the
ballast standing, and says when room runs out - once at each step, on the board all the time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from agent import logs, malloc
from agent.board import Board
from agent.catalogue import AgentError
from agent.config.schema import Config
from agent.heartbeat import Heartbeat
from agent.ownership import Ownership

log = logs.get(__name__)

ROUND_S = 10.0
#: Nobody has laid a card down and nothing was sent for this long.
IDLE_S = 5.0
#: Steps of vacuum a round: together well below a second.
VACUUM_STEPS = 10
#: 20 GiB of waiting records are read within four hours.
SCRUB_BYTES = 16 * 2**20


class Housekeeping:
    """One thread; nothing waits for it."""

    def __init__(self, config: Callable[[], Config], own: Ownership, board: Board) -> None:
        self._config = config
        self._own = own
        self._board = board
        self._told: str | None = None

    def run(self, heartbeat: Heartbeat, stop: threading.Event) -> None:
        """Keep house until `stop` is set."""
        while not stop.is_set():
            heartbeat.beat()
            with heartbeat.silence(ROUND_S):
                try:
                    self.round()
                except AgentError as error:
                    # A full or failing disk: said, and tried again; the records themselves are not touched.
                    logs.say_error(log, error)
                stop.wait(ROUND_S)

    def round(self) -> None:
        """Do everything that is due, once."""
        own, config = self._own, self._config()
        own.ballast.restore()
        own.store_time()
        own.store_audit_head()
        upkeep = own.outbox.upkeep
        trusted = own.clock_trusted()
        upkeep.erase(timedelta(hours=config.outbox.keep_delivered_h), trusted=trusted)
        if trusted:
            # A clock that jumped years ahead must not end the time of receipts and of the trail.
            keep = timedelta(days=config.audit.keep_days)
            upkeep.expire(keep)
            own.audit.prune(own.clock.now() - keep)
        upkeep.forget_backups()
        idle = own.outbox.idle_s() >= IDLE_S
        if idle:
            self._while_idle()
        for record in upkeep.scrub(SCRUB_BYTES):
            self._board.event("E3113", record=record, cause="scrub")
        self._tell_room()
        if idle:
            upkeep.shrink_memory()
            malloc.trim()

    def _while_idle(self) -> None:
        upkeep = self._own.outbox.upkeep
        # First, because on a full disk the log's own room is what shrinking the database needs.
        upkeep.checkpoint()
        for _ in range(VACUUM_STEPS):
            if not upkeep.give_back():
                break
        upkeep.checkpoint()

    def _tell_room(self) -> None:
        room, counts = self._own.outbox.room(), self._own.outbox.counts()
        lost = self._own.outbox.administration.lost_keys
        code = room.code or ("E7301" if lost else "E3122" if self._own.outbox.copied else None)
        self._board.post(
            "outbox",
            state="ok" if code is None else "attention",
            code=code,
            waiting=counts.waiting,
            used=room.used,
            limit=room.limit,
            free=room.free,
        )
        if code is not None and code != self._told and code == room.code:
            share = round(100 * room.used / room.limit)
            logs.say(log, code, share=share, used=room.used, limit=room.limit, free=room.free)
            self._board.event(code, share=share, free=room.free)
        self._told = code
