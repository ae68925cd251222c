"""`outbox export|import`: how a kiosk PC is replaced. No plain record leaves the process that owns it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from agent import inservice
from agent.balance import FINISHED
from agent.catalogue import AgentError
from agent.control.powers import Powers
from agent.control.protocol import Caller, Handler
from agent.followups import FollowUps
from agent.outbox import sealing
from agent.ownership import Ownership
from agent.records import Hold

#: Records of a request that names many; 64 bytes each.
MAX_IDS = 5000
MOVED = "moved"
#: From one request of `export --move` to its next nothing is sent; given up, it holds nobody up for long.
PAUSE_S = 60.0


def verbs(powers: Powers) -> dict[str, Handler]:
    """Return the verbs of this file."""
    return {
        "outbox.exportable": lambda args, _caller: _exportable(powers, args),
        "outbox.export": lambda args, caller: _export(powers, args, caller),
        "outbox.exported": lambda args, caller: _exported(powers, args, caller),
        "outbox.import": lambda args, caller: _import(powers, args, caller),
    }


def _exportable(powers: Powers, args: Mapping[str, Any]) -> list[str]:
    _moving(powers, args)
    return powers.own.outbox.administration.exportable()


def _moving(powers: Powers, args: Mapping[str, Any]) -> None:
    """What is sent from here after it was exported would be sent from the other machine as well."""
    if args.get("move"):
        powers.own.outbox.pause(PAUSE_S)


def _export(powers: Powers, args: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """Return one record, or follow-up without one, sealed under the export's key and label.

    Whoever asks has the key to it: written down as it is when one is revealed, whatever becomes of the file.
    """
    _moving(powers, args)
    case = str(args["id"])
    entry = powers.own.outbox.administration.export_entry(case)
    sealed = sealing.seal(_key(args), entry, str(args["label"]))
    powers.own.audit.append("record.exported", who=caller.name, target=case)
    return {"piece": base64.b64encode(sealed).decode("ascii")}


def _exported(powers: Powers, args: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """Note that the export is on its disk; `move`: it goes on elsewhere, so nobody goes on with it here.

    `whole`: it was to be everything; what nevertheless waits here is named in `left` as well.
    """
    own = powers.own
    _moving(powers, args)
    ids = [str(record) for record in list(args["ids"])[:MAX_IDS]]
    records = own.outbox.administration.note_exported(ids)
    own.audit.append(
        "outbox.exported",
        who=caller.name,
        target=str(args["file"])[:200],
        records=str(records),
        followups=str(len(ids) - records),
        durable=True,
    )
    file = str(args["file"])[:200]
    left = [one for one in ids if not _handed_over(powers, one, file, caller)] if args.get("move") else []
    if args.get("whole"):
        left = list(dict.fromkeys([*left, *own.outbox.administration.waiting()]))
    if args.get("last"):
        own.outbox.pause(0.0)
    return {"exported": records, "followups": len(ids) - records, "left": left}


def _handed_over(powers: Powers, case: str, file: str, caller: Caller) -> bool:
    """Hand over a record and its follow-up, or a follow-up alone. False: it stays, and the export says so."""
    own = powers.own
    own.outbox.pause(PAUSE_S)  # anew for each: synced commits, and many of them take longer than one pause
    try:
        own.outbox.administration.hand_over(case, caller.name, file)
        own.audit.append("record.discarded", who=caller.name, target=case, reason=MOVED)
    except AgentError as error:
        # Delivered meanwhile, finished long ago, or no record at all: nothing to give up. Being sent: said.
        if error.code == "E3115":
            return False
    return FollowUps(own.outbox, own.audit).moved(case, caller.name, MOVED)


def _import(powers: Powers, args: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    own = powers.own
    try:
        piece = base64.b64decode(str(args["piece"]), validate=True)
    except binascii.Error:
        raise AgentError("E3124") from None
    entry = sealing.unseal(_key(args), piece, str(args["label"]))
    # Else it would take the ballast for itself, and nothing that is here could leave any more.
    own.outbox.check_room(len(entry))
    taken = own.outbox.administration.import_entry(entry, own.pseudonyms.full)
    if taken.new:
        # The balance counts the first of the two as one more accepted record.
        what = "record.imported" if taken.is_record else "followup.imported"
        own.audit.append(what, who=caller.name, target=taken.id)
        if taken.is_record:
            _finished_before(own, taken.id, caller)
            _service_known(powers, taken.id, caller)
        powers.record_ready()
        powers.record_changed()
    return {"id": taken.id, "new": taken.new, "record": taken.is_record}


def _finished_before(own: Ownership, record: str, caller: Caller) -> None:
    """Write down how a record ended on the other machine: should its row be lost, this trail still tells."""
    row = own.outbox.administration.row(record)
    if row.state not in FINISHED:
        return
    what, facts = row.state, {}
    if row.closed_as == "superseded":
        what, facts = row.closed_as, {"by": row.superseded_by or ""}
    elif row.state == "discarded":
        facts = {"reason": MOVED if row.closed_as == MOVED else row.closed_why or ""}
    own.audit.append(
        f"record.{what}", who=caller.name, target=record, durable=False, source="import", **facts
    )


def _service_known(powers: Powers, record: str, caller: Caller) -> None:
    """Take over that a device is out of service, of which a record that waits for it tells.

    Only where nobody ever said anything of that device here.
    """
    own = powers.own
    if Hold.DEVICE.value not in own.outbox.administration.row(record).holds:
        return
    verification = own.outbox.verification(record)
    if inservice.last_word(own.outbox, verification) is None:
        inservice.say(own.outbox, verification, inservice.DISABLED, caller.name, own.clock.now())
        target = verification.device_no
        own.audit.append(
            "device.out_of_service", who=caller.name, target=target, source="import", durable=True
        )


def _key(args: Mapping[str, Any]) -> sealing.Key:
    try:
        secret = bytes.fromhex(str(args["key"]))
    except ValueError:
        raise AgentError("E8201") from None
    if len(secret) != sealing.KEY_BYTES:
        raise AgentError("E8201")
    return sealing.Key(secret, 0)
