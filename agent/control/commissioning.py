"""`register` and `upload --dry-run`, with the daemon's own secrets: nobody else needs to read them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from agent.catalogue import AgentError
from agent.control.powers import Powers
from agent.control.protocol import Caller, Handler
from agent.hmpt import checks, shown
from agent.hmpt.allotted import identity
from agent.hmpt.client import VERIFY, PlatformClient, Prepared
from agent.hmpt.conventions import time_text
from agent.hmpt.signing import canonical, headers
from agent.records import Delivered
from agent.uploader import wording
from agent.uploader.judgement import Judgement
from agent.uploader.making import Maker, sent_pictures
from agent.uploader.memory import judgement_name
from agent.uploader.registration import refusal_code, register, registered


def verbs(powers: Powers) -> dict[str, Handler]:
    """Return the verbs of this file."""
    return {
        "register.state": lambda _args, _caller: _state(powers),
        "register": lambda _args, caller: _register(powers, caller),
        "upload.dry_run": lambda args, _caller: _dry_run(powers, str(args["id"])),
    }


def _client(powers: Powers) -> PlatformClient:
    return PlatformClient(powers.current, identity(powers.current()), powers.own.clock)


# --- register -----------------------------------------------------------------------------------------


def _state(powers: Powers) -> dict[str, Any]:
    known = registered(powers.own.outbox, powers.current())
    return {
        "registered": known is not None,
        "at": None if known is None else known.at,
        "already": None if known is None else known.already,
    }


def _register(powers: Powers, caller: Caller) -> dict[str, Any]:
    """Send /machine/info now, whatever is remembered. AgentError under the code of what stood in the way."""
    own, config, client = powers.own, powers.current(), _client(powers)
    try:
        outcome = register(
            client, config, own.outbox, own.audit, own.clock, who=caller.name, board=powers.board
        )
    finally:
        client.close()
    if not isinstance(outcome, Delivered):
        skew = "-" if client.skew_s is None else f"{client.skew_s:+.0f}"
        code = refusal_code(outcome, client.skew_s)
        raise AgentError(code, detail=wording.detail(outcome), skew=skew, device=config.device.device_no)
    powers.record_ready()
    return {**_state(powers), "message": outcome.receipt.message}


# --- upload --dry-run ---------------------------------------------------------------------------------


def _dry_run(powers: Powers, record: str) -> dict[str, Any]:
    """Return what a record's next attempt would send, made by the uploader's own parts; sends nothing."""
    own, config, who = powers.own, powers.current(), identity(powers.current())
    row, claim, client = own.outbox.administration.row(record), own.outbox.peek(record), _client(powers)
    try:
        made = Maker(
            client, lambda: Judgement.from_json(own.outbox.setting(judgement_name(config))).good
        ).make(claim, config)
    finally:
        client.close()
    conventions, time = made.conventions, time_text(made.conventions, own.clock.now())
    sent = headers(conventions, who, made.prepared.request_id if made.prepared else "-", time)
    return {
        "id": record,
        "state": row.state,
        "url": config.platform.base_url.rstrip("/") + VERIFY,
        "canonical": canonical(conventions, who, time),
        "headers": {**sent, "Authorization": f"… ({len(who.authorization)})"},
        "secret_length": len(who.secret),
        "conventions": conventions.model_dump(by_alias=True, mode="json"),
        "kept": conventions != config.platform.conventions,
        "body": None if made.prepared is None else _body(made.prepared, encrypted=config.platform.encrypt),
        "fields": [
            asdict(one) for one in shown.fields(claim.verification, sent_pictures(claim), conventions)
        ],
        "holds": dict(row.holds),
        "problems": [{"field": one.field, "reason": one.reason} for one in made.problems],
        "oddities": checks.oddities(claim.verification, conventions),
    }


def _body(prepared: Prepared, *, encrypted: bool) -> dict[str, Any]:
    wrapped = next(iter(prepared.body.chunks())).startswith(b'{"data":')
    plain = '{"data":{…}}' if wrapped else "{…}"
    return {
        "encrypted": encrypted,
        "length": prepared.length,
        "sm3": prepared.sm3_hex,
        "shape": '{"data":"…"}' if encrypted else plain,
    }
