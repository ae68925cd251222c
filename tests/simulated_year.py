"""A site's life in fast motion: so many records a day, three outages of weeks, a restart every week.

    python simulated_year.py FOLDER DAYS PER_DAY KEEP_DAYS

The real outbox and the real housekeeping on a clock that is moved by hand. One line of JSON a day.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from hmpt_support import config
from outbox_support import HandClock, receipt, verification

from agent.board import Board
from agent.config.schema import Config
from agent.housekeeping import Housekeeping
from agent.outbox import Claim, SettleDelivered, SettleLater
from agent.ownership import Ownership, owning
from agent.records import PictureKind

DAY_S = 86400.0
#: Facts and two sealed rows' overhead make the rest of 2 KB.
PICTURE_BYTES = 1200
#: What the uploader still tries while nobody answers.
TRIES_A_DAY = 20


def outages(days: int) -> list[range]:
    """Return three outages, of a seventeenth of the time each: three weeks of a year."""
    length = max(2, days // 17)
    return [range(start, start + length) for start in (days // 6, days // 2, 3 * days // 4)]


class Life:
    """One site."""

    def __init__(self, folder: Path, per_day: int, keep_days: int) -> None:
        base = config("http://127.0.0.1:1")
        audit = base.audit.model_copy(update={"keep_days": keep_days})
        self.settings: Config = base.model_copy(update={"state_dir": str(folder), "audit": audit})
        self.folder, self.per_day = folder, per_day
        self.clock = HandClock()

    def week(self, days: range, down: set[int]) -> Iterator[dict[str, object]]:
        """Live from one restart to the next."""
        with owning(self.settings, self.clock) as own:
            own.accept_time()  # what is not confirmed ends no receipt's time
            board = Board(self.clock)
            keeper = Housekeeping(lambda: self.settings, own, board)
            for day in days:
                self.take(own)
                self.send(own, reachable=day not in down)
                self.clock.seconds += DAY_S / 2
                # At night: as many rounds as the file needs to shrink.
                for _ in range(1 + self.per_day // 50):
                    self.clock.seconds += 10
                    keeper.round()
                self.clock.seconds = (day + 1) * DAY_S
                yield self.evening(own, day)

    def take(self, own: Ownership) -> None:
        """Keep a day's records."""
        for number in range(self.per_day):
            self.clock.seconds += 30
            one = verification(at=self.clock.now(), number=f"{number:018}")
            pictures = {PictureKind.CAMERA: os.urandom(PICTURE_BYTES)}
            own.outbox.open_attempt(one.id)
            own.outbox.put(one, pictures, person=own.pseudonyms.full(one.number), holds={})

    def send(self, own: Ownership, *, reachable: bool) -> None:
        """Deliver all that waits, or try in vain."""
        tries = 0
        while (reachable or tries < TRIES_A_DAY) and (claim := own.outbox.claim(self.clock.now())):
            tries += 1
            self.attempt(own, claim, reachable=reachable)

    def attempt(self, own: Ownership, claim: Claim, *, reachable: bool) -> None:
        """Send once."""
        own.outbox.note_attempt(
            claim,
            request_id=claim.id,
            conventions_fingerprint="f",
            conventions_json="{}",
            sm3_hex="00" * 32,
            length=2700,
        )
        later = SettleLater(self.clock.now() + timedelta(hours=1), "E4101", "refused", unknown=None)
        own.outbox.settle(claim, SettleDelivered(receipt(claim.id)) if reachable else later)

    def evening(self, own: Ownership, day: int) -> dict[str, object]:
        """Return what is to be seen at the end of a day."""
        counts = own.outbox.counts()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        files = [self.folder / "outbox.db", self.folder / "outbox.db-wal"]
        return {
            "day": day,
            "rss": pages * os.sysconf("SC_PAGE_SIZE"),
            "file": sum(path.stat().st_size for path in files if path.exists()),
            "accepted": counts.accepted,
            "waiting": counts.ready,
            "delivered": counts.delivered,
            "difference": counts.difference + len(own.outbox.recounted),
            "rows": len(own.outbox.upkeep.ids()),
        }


def main(folder: str, days: str, per_day: str, keep_days: str) -> None:
    """Live, and tell."""
    life = Life(Path(folder), int(per_day), int(keep_days))
    down = {day for outage in outages(int(days)) for day in outage}
    for start in range(0, int(days), 7):
        for evening in life.week(range(start, min(start + 7, int(days))), down):
            print(json.dumps(evening), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
