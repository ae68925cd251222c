"""Owning a state directory: the lock, the keys, the audit trail and the outbox, opened in that order.

Exactly one process owns a state directory at a time. The daemon does while it runs; without a daemon a
command of the command line becomes the owner for as long as it needs.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from agent import keys, logs
from agent.audit import Audit, Head
from agent.balance import GONE_ON
from agent.catalogue import AgentError
from agent.clock import Clock, Memory, TrustedClock, Uptime, stored_time
from agent.config.schema import Config
from agent.lock import StateLock
from agent.outbox import Ballast, Closing, Outbox, SealKeys, this_machine
from agent.recall import recalled, recalled_fault

log = logs.get(__name__)

#: The newest file of the audit trail, below the state directory.
TRAIL = "audit.jsonl"

_LAST_TIME, _BOOTS = "last_time", "boots"
_AUDIT_HEAD, _AUDIT_ALARM = "audit_head", "audit_alarm"
_FOLLOWED = "seal_key_followed"
_UNNAMED = "outbox"
#: Lines of the trail of which each stands for one accepted record, and those that finish one.
IMPORTED = "record.imported"
ACCEPTED = ("record.accepted", "record.reconciled", IMPORTED, "record.amended")
CLOSED = ("record.discarded", "record.superseded")
FINISHED = ("record.delivered", *CLOSED)


@dataclass(frozen=True)
class Ownership:
    """What the owner of a state directory works with."""

    state_dir: Path
    audit: Audit
    outbox: Outbox
    pseudonyms: logs.Pseudonyms
    clock: Clock
    config: Config
    ballast: Ballast
    time: TrustedClock

    def clock_trusted(self) -> bool:
        """Return whether the machine's clock can be believed."""
        return self.time.trust().believed

    def uptime(self) -> Uptime | None:
        """Return this moment where the clock cannot be believed, so that its time can be put right later."""
        return None if self.clock_trusted() else self.time.uptime()

    def accept_time(self) -> None:
        """Believe the clock as it is: a named person found it right."""
        self.time.confirmed()
        self.outbox.set_setting(_LAST_TIME, self.clock.now().isoformat())

    def store_time(self) -> None:
        """Remember the current time, unless it is behind what was stored: time only moves forward here."""
        if self.clock_trusted():
            self.outbox.set_setting(_LAST_TIME, self.clock.now().isoformat())

    def store_audit_head(self) -> None:
        """Remember in the outbox where the trail ends: what is cut off it afterwards is noticed."""
        head = json.dumps(asdict(self.audit.sync()))
        if head != self.outbox.setting(_AUDIT_HEAD):
            self.outbox.set_setting(_AUDIT_HEAD, head)

    def audit_alarm(self) -> dict[str, str] | None:
        """Return the alarm about the trail that nobody has acknowledged yet: its code and facts."""
        return recalled_fault(self.outbox.setting(_AUDIT_ALARM))

    def acknowledge_audit(self) -> None:
        """Take the alarm back; the caller writes down who did."""
        self.outbox.set_setting(_AUDIT_ALARM, "")


@contextmanager
def owning(config: Config, clock: Clock, patience_s: float = 0.0) -> Iterator[Ownership]:
    """Take the state directory, open what is in it, and give all of it back at the end.

    AgentError with the holder's process id when another process owns it.
    """
    state_dir = Path(config.state_dir)
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AgentError("E8302", path=state_dir, reason=error.strerror) from error
    with ExitStack() as stack:
        stack.enter_context(StateLock(state_dir, patience_s))
        ballast = Ballast(state_dir)
        ballast.give_up_if_full()
        keyring = keys.load(config)
        audit = stack.enter_context(Audit(state_dir / TRAIL, keyring.audit, clock, relief=ballast.give_up))
        outbox = stack.enter_context(
            Outbox.open(
                state_dir,
                SealKeys.derived(keyring.seal, keyring.seal_next),
                clock,
                config.outbox.max_bytes,
                ballast=ballast,
                machine=this_machine(),
            )
        )
        if keyring.seal_next is not None:
            _follow(config, audit, outbox)
        _tell_recounted(audit, outbox)
        _compare_head(audit, outbox)
        _reconcile(audit, outbox)
        _close_again(audit, outbox)
        pseudonyms = logs.Pseudonyms(keyring.pseudonym)
        time = TrustedClock(clock, _clock_memory(outbox))
        own = Ownership(state_dir, audit, outbox, pseudonyms, clock, config, ballast, time)
        yield own
        with contextlib.suppress(AgentError, OSError):  # a full or dying disk: the next round stores it
            own.store_audit_head()


def _tell_recounted(audit: Audit, outbox: Outbox) -> None:
    """Leave in the trail what the counters said before the start put them right."""
    if outbox.recounted:
        counters = {name: f"{told} -> {right}" for name, (told, right) in outbox.recounted.items()}
        audit.append(
            "outbox.recounted", who="service", target="outbox", result="W3141", durable=True, **counters
        )


def _compare_head(audit: Audit, outbox: Outbox) -> None:
    """Hold the trail against its end as the outbox remembers it; told, written down, and kept as an alarm."""
    known = recalled(outbox.setting(_AUDIT_HEAD), lambda stored: Head(**json.loads(stored)))
    if known is None:
        return
    lost = audit.lost_since(known)
    if lost is None:
        return
    code, facts = ("E3305", {"lines": str(lost)}) if lost else ("E3306", {"line": str(known.seq)})
    logs.say(log, code, **facts)
    audit.append("audit.cut", who="service", target="audit", result=code, durable=True, **facts)
    outbox.set_setting(_AUDIT_ALARM, json.dumps({"code": code, **facts}))
    outbox.set_setting(_AUDIT_HEAD, json.dumps(asdict(audit.sync())))


def _clock_memory(outbox: Outbox) -> Memory:
    def last_time() -> datetime | None:
        return recalled(outbox.setting(_LAST_TIME), stored_time)

    return Memory(last_time, lambda: outbox.setting(_BOOTS), lambda text: outbox.set_setting(_BOOTS, text))


def _follow(config: Config, audit: Audit, outbox: Outbox) -> None:
    """Tell that the next sealing key is in force; our own takes the former one's place at once."""
    kek = outbox.administration.kek_id
    if outbox.setting(_FOLLOWED) != kek:
        audit.append("keys.rotated", who="service", target="seal", key=kek, durable=True)
        outbox.set_setting(_FOLLOWED, kek)
    if config.keys.seal is None:
        keys.promote_own(config)
    else:
        logs.say(log, "I7302", key=kek)


def _reconcile(audit: Audit, outbox: Outbox) -> None:
    """Hold the outbox's count of accepted records against the trail's own.

    A record is durable before its line is written, so a kill in between leaves the trail behind: made up
    for. A trail ahead of the outbox means that records are gone - an old copy was put back, a file was
    damaged: each of them that was not finished is noted under its id, as quarantined.
    """
    accepted, written = outbox.counts().accepted, sum(audit.count(what) for what in ACCEPTED)
    if written > accepted:
        logs.say(log, "E3304", accepted=accepted, written=written)
        known, ended = outbox.upkeep.ids(), _endings(audit)
        lost = [record for record in audit.targets(ACCEPTED) if record not in known]
        missing = [record for record in lost if record not in ended and record != _UNNAMED]
        finished = max(0, written - accepted - len(missing))
        closed = min(finished, sum(ended[record]["what"] in CLOSED for record in lost if record in ended))
        outbox.upkeep.note_missing(missing[: written - accepted], finished - closed, closed)
        audit.append(
            "outbox.missing", who="service", target="outbox", records=str(len(missing)), durable=True
        )
    for _ in range(accepted - written):
        audit.append("record.reconciled", who="service", target=_UNNAMED)


def _close_again(audit: Audit, outbox: Outbox) -> None:
    """Let nobody send what a person closed, whatever a rebuilt row or an old copy says of it.

    A record is closed before its line is written: a trail that knows of more closings is ahead.
    """
    told = sum(audit.count(what) for what in CLOSED)
    if outbox.salvaged is None and told <= outbox.counts().discarded:
        return
    ended = _endings(audit).values()
    outbox.upkeep.close_again([_closing(line) for line in ended if line["what"] in CLOSED])


def _endings(audit: Audit) -> dict[str, Mapping[str, Any]]:
    """Return the line that ended each record: the last one, and none where the record came back after it."""
    whats = (*FINISHED, IMPORTED)
    ended: dict[str, Mapping[str, Any]] = {}
    for line in audit.select(sum(map(audit.count, whats)), lambda line: line.get("what") in whats):
        record = str(line.get("object"))
        ended.pop(record, None)
        if line["what"] != IMPORTED:
            ended[record] = line
    return ended


def _closing(line: Mapping[str, Any]) -> Closing:
    reason = str(line.get("reason", ""))
    closed_as = "superseded" if "by" in line else reason if reason in GONE_ON else "given_up"
    return Closing(str(line["object"]), closed_as, str(line["who"]), str(line.get("by", reason)))
