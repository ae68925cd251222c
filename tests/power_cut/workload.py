"""A kiosk's year in a second, under the journal: `python -m power_cut.workload STATE_DIR SEED STEPS [MUTANT]`.

Says through descriptor 199 what it is about to do and what was acknowledged to it.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from hmpt_support import config
from outbox_support import NAME, NUMBER, HandClock, receipt, verification

from agent import keys
from agent.catalogue import AgentError
from agent.config.schema import Config
from agent.outbox import Outbox, SettleDelivered, SettleHeld, SettleLater, SettleParked, owner, space, store
from agent.outbox.followups import Person
from agent.ownership import Ownership, owning
from agent.records import FaceResult, FaceVerdict, Hold, PictureKind, Supplement
from power_cut import mutants

MARK_FD = 199
BALLAST = 96 * 1024


def settings(state_dir: Path) -> Config:
    """Return the configuration of a kiosk whose data lie there."""
    return config("http://127.0.0.1:1").model_copy(update={"state_dir": str(state_dir)})


def small() -> None:
    """Make checkpoints and ballast so small that a short run meets many of them."""
    space.BALLAST_BYTES = BALLAST
    space.RESERVE_BYTES = 4096
    owner.AUTOCHECKPOINT_PAGES = 40
    store.CHECKPOINT_BYTES = 100_000


def mark(what: str, *values: str) -> None:
    """Tell the journal."""
    os.write(MARK_FD, json.dumps([what, *values]).encode())


class Life:
    """What is done to one outbox."""

    def __init__(self, own: Ownership, clock: HandClock, rng: random.Random, known: list[str]) -> None:
        self.own, self.clock, self.rng, self.known = own, clock, rng, known
        self.outbox: Outbox = own.outbox

    def put(self) -> None:
        one = verification(f"{self.rng.getrandbits(128):032x}", at=self.clock.now())
        followed = self.rng.random() < 0.2
        if followed:
            one = replace(one, face=FaceVerdict(FaceResult.NOT_VERIFIED, reason="no_face"))
        size = self.rng.choice((300, 3000, 40_000))
        pictures = {PictureKind.CAMERA: self.rng.randbytes(size), PictureKind.CARD: self.rng.randbytes(200)}
        holds = {Hold.OPERATOR: "operationUser"} if self.rng.random() < 0.2 else {}
        if self.rng.random() < 0.7:
            self.outbox.open_attempt(one.id)
        for _ in range(self.rng.choice((1, 1, 2))):
            mark("putting", one.id)
            self.outbox.put(one, pictures, person=f"p{self.rng.randrange(5)}", holds=holds)
            mark("put", one.id)
            if followed:
                mark("followed", one.id)
        self.own.audit.append("record.accepted", who="station", target=one.id)
        self.known.append(one.id)

    def send(self) -> None:
        claim = self.outbox.claim(self.clock.now())
        if claim is None:
            return
        noted = self.rng.random() < 0.9
        if noted:
            self.outbox.note_attempt(
                claim,
                request_id=claim.id,
                conventions_fingerprint=f"{self.rng.randrange(3):016x}",
                conventions_json="{}",
                sm3_hex="00" * 32,
                length=10,
            )
        fate = self.rng.random()
        if noted and fate < 0.6:
            self.outbox.settle(claim, SettleDelivered(receipt(claim.id)))
            mark("delivered", claim.id)
        elif fate < 0.75:
            later = self.clock.now() + timedelta(seconds=self.rng.randrange(60))
            self.outbox.settle(
                claim, SettleLater(later, "E4101", "later", self.rng.choice((True, False, None)))
            )
        elif fate < 0.85:
            self.outbox.settle(claim, SettleParked("E5101", "refused"))
        elif fate < 0.95:
            self.outbox.settle(claim, SettleHeld({Hold.NATION: "nation"}))
        else:
            self.outbox.return_abandoned()

    def complete(self) -> None:
        for held in self.outbox.held()[:2]:
            self.outbox.supplement(held.id, Supplement("operator", "甲", "test", self.clock.now()))
            if self.rng.random() < 0.3:
                with_picture = self.rng.randbytes(500)
                if PictureKind.FINGER not in self.outbox.picture_kinds(held.id):
                    self.outbox.add_picture(held.id, PictureKind.FINGER, with_picture)
            self.outbox.rehold(held.id, {})

    def administer(self) -> None:
        parked = self.outbox.administration.list_records("parked", 5)
        if not parked:
            return
        record = self.rng.choice(parked).id
        fate = self.rng.randrange(3)
        if fate == 0:
            self.outbox.administration.retry(record)
        elif fate == 1:
            mark("amending", record)
            new, _ = self.outbox.administration.amend(
                record, lambda _: {"address": "别处"}, lambda *_: {}, "it"
            )
            mark("put", new)
            mark("discarded", record)
            self.own.audit.append("record.amended", who="it", target=new)
        else:
            assert self.outbox.verification(record).face.result is not FaceResult.FAILED
            self.outbox.administration.discard(record, "it", "a test")
            mark("discarded", record)

    def keep_house(self) -> None:
        self.clock.seconds += self.rng.randrange(3 * 3600)
        self.outbox.upkeep.erase(timedelta(hours=2))
        if self.rng.random() < 0.3:
            mark("expiring")
            self.outbox.upkeep.expire(timedelta(hours=6))
        self.outbox.upkeep.give_back()
        if self.rng.random() < 0.3:
            self.outbox.upkeep.checkpoint()

    def follow_up(self) -> None:
        case = f"{self.rng.getrandbits(128):032x}"
        if self.rng.random() < 0.5:
            self.outbox.open_attempt(case)
            self.outbox.followups.add(case, "refused", Person(NAME, NUMBER))
            mark("followed", case)
        for one in self.outbox.followups.listed(1):
            self.outbox.followups.close(one.id, "it", "a test")
            mark("closed", one.id)

    def ballast(self) -> None:
        if self.own.ballast.stands():
            self.own.ballast.give_up()
        else:
            self.own.ballast.restore()

    def rotate(self) -> None:
        self.outbox.administration.rotate()

    def replace_key(self) -> None:
        path = keys.next_to(keys.own_key(self.own.config, "seal"))
        keys.write_key(path, self.rng.randbytes(keys.KEY_BYTES).hex().encode())
        following = keys.load(self.own.config).seal_next
        assert following is not None
        self.outbox.administration.rewrap(following)
        keys.promote_own(self.own.config)


def live(state_dir: Path, seed: int, steps: int) -> None:
    """Do that many things at random, starting anew from time to time; without any, start and stop."""
    rng, clock, known, left = random.Random(seed), HandClock(), list[str](), steps
    while True:
        with ExitStack() as stack:
            own = stack.enter_context(owning(settings(state_dir), clock))
            one = Life(own, clock, rng, known)
            deeds: dict[Callable[[], None], int] = {
                one.put: 30,
                one.send: 40,
                one.complete: 8,
                one.administer: 10,
                one.keep_house: 8,
                one.follow_up: 4,
                one.ballast: 2,
                one.rotate: 2,
                one.replace_key: 2,
            }
            for _ in range(min(left, rng.randrange(10, 40))):
                left -= 1
                clock.seconds += 1
                try:
                    rng.choices(list(deeds), list(deeds.values()))[0]()
                except AgentError as error:
                    raise SystemExit(f"{error.code} {error.facts}") from error
        if left <= 0:
            return


if __name__ == "__main__":
    small()
    if len(sys.argv) > 4:
        mutants.MUTANTS[sys.argv[4]].put_back()
    live(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
