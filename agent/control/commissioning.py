"""`register` and `upload --dry-run`, with the daemon's own secrets: nobody else needs to read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from agent import inservice
from agent.catalogue import AgentError
from agent.control.powers import Powers
from agent.control.protocol import Caller, Handler
from agent.hmpt import checks, shown
from agent.hmpt.allotted import identity
from agent.hmpt.client import VERIFY, PlatformClient, Prepared
from agent.hmpt.conventions import time_text
from agent.hmpt.refusals import ALREADY_REGISTERED
from agent.hmpt.signing import canonical, headers
from agent.records import Delivered
from agent.uploader import wording
from agent.uploader.judgement import Judgement
from agent.uploader.making import Maker, sent_pictures
from agent.uploader.memory import RememberedSigning, judgement_name
from agent.uploader.registration import refusal_code, register, registered
from agent.vision.pictures import Pictures


def verbs(powers: Powers) -> dict[str, Handler]:
    """Return the verbs of this file."""
    return {
        "register.state": lambda _args, _caller: _state(powers),
        "register": lambda args, caller: _register(powers, args, caller),
        "probe.note": lambda args, caller: _note_probe(powers, args, caller),
        "upload.dry_run": lambda args, _caller: _dry_run(powers, str(args["id"])),
    }


def _client(powers: Powers) -> PlatformClient:
    config, own = powers.current(), powers.own
    signing = RememberedSigning(own.outbox, config.platform.base_url)
    return PlatformClient(powers.current, identity(config), own.clock, signing)


# --- register -----------------------------------------------------------------------------------------


def _state(powers: Powers) -> dict[str, Any]:
    outbox, config = powers.own.outbox, powers.current()
    known, out = registered(outbox, config), inservice.out_of_service(outbox, config.device)
    return {
        "registered": known is not None,
        "at": None if known is None else known.at,
        "last": None if known is None else known.last,
        "already": None if known is None else known.already,
        "status": inservice.status(outbox, config.device),
        "since": None if out is None else out.at,
        "answers_signed": RememberedSigning(outbox, config.platform.base_url).seen(),
    }


def device_state(powers: Powers) -> dict[str, Any]:
    """Return what `status` and `doctor` say of the device's own state with the platform."""
    config, state = powers.current(), _state(powers)
    return {
        "device": config.device.device_no,
        "status": state["status"],
        "out_of_service_since": state["since"],
        # Nobody registers it, and nobody ever heard that it is.
        "unconfirmed": config.platform.register_ == "never" and not state["registered"],
    }


def _register(powers: Powers, args: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """Send /machine/info now, whatever is remembered. AgentError under the code of what stood in the way.

    `status`: what is to hold from now on; without it the device's state is not changed. `confirmed`: a person
    knows that the administrator enabled the device.
    """
    out = inservice.out_of_service(powers.own.outbox, powers.current().device)
    status = args.get("status")
    if status == inservice.DISABLED:
        return _taken_out(powers, caller)
    if out is None:
        return _sent(powers, caller, inservice.ENABLED)
    if status is None:
        raise AgentError(inservice.CODE, device=powers.current().device.device_no)
    return _put_back(powers, caller, confirmed=bool(args.get("confirmed")))


def _sent(powers: Powers, caller: Caller, status: int) -> dict[str, Any]:
    own, config, client = powers.own, powers.current(), _client(powers)
    try:
        outcome = register(
            client,
            config,
            own.outbox,
            own.audit,
            own.clock,
            who=caller.name,
            board=powers.board,
            status=status,
        )
    finally:
        client.close()
    if not isinstance(outcome, Delivered):
        skew = "-" if client.skew_s is None else f"{round(client.skew_s):+d}"
        code = refusal_code(outcome, client.skew_s)
        raise AgentError(code, detail=wording.detail(outcome), skew=skew, device=config.device.device_no)
    powers.record_ready()
    known = outcome.receipt.exception_code == ALREADY_REGISTERED
    return {**_state(powers), "already": known, "message": outcome.receipt.message}


def _taken_out(powers: Powers, caller: Caller) -> dict[str, Any]:
    """Hold the device's records from now on, then tell the platform: AgentError E5114 where that fails."""
    own, device = powers.own, powers.current().device
    inservice.say(own.outbox, device, inservice.DISABLED, caller.name, own.clock.now())
    own.audit.append("device.out_of_service", who=caller.name, target=device.device_no, durable=True)
    if powers.board is not None:
        powers.board.event(inservice.CODE, device=device.device_no)
    powers.record_ready()
    try:
        return _sent(powers, caller, inservice.DISABLED)
    except AgentError as error:
        detail = f"{error.code} {error.facts.get('detail', '')}".rstrip()
        raise AgentError("E5114", device=device.device_no, detail=detail) from error


def _put_back(powers: Powers, caller: Caller, *, confirmed: bool) -> dict[str, Any]:
    """Tell the platform, then let the records go. AgentError E5115 where its answer says nothing of `status`.

    B2301 is "known, nothing changed": a device that was disabled there is so still, until its administrator
    enables it by hand - and a person who knows that says so.
    """
    own, device = powers.own, powers.current().device
    result = _sent(powers, caller, inservice.ENABLED)
    if result["already"] and not confirmed:
        raise AgentError("E5115", device=device.device_no)
    inservice.say(own.outbox, device, inservice.ENABLED, caller.name, own.clock.now())
    word = "administrator" if result["already"] else "platform"
    own.audit.append("device.in_service", who=caller.name, target=device.device_no, word=word, durable=True)
    powers.record_changed()
    powers.record_ready()
    return {**result, "status": inservice.ENABLED, "since": None}


def _note_probe(powers: Powers, args: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """Write a probe down: who asked which platform about which device, and what came of it."""
    device = powers.current().device
    powers.own.audit.append(
        "platform.probed",
        who=caller.name,
        target=powers.current().platform.base_url,
        device=device.device_no,
        machine=device.machine_code,
        result=str(args["result"])[:40],
        requests=str(args["requests"])[:4],
        registered=str(args["registered"])[:10],
        status=str(args["status"])[:2],
        durable=True,
    )
    return {"noted": True}


# --- upload --dry-run ---------------------------------------------------------------------------------


def _dry_run(powers: Powers, record: str) -> dict[str, Any]:
    """Return what a record's next attempt would send, made by the uploader's own parts; sends nothing."""
    own, config, who = powers.own, powers.current(), identity(powers.current())
    row, claim, client = own.outbox.administration.row(record), own.outbox.peek(record), _client(powers)
    pictures = powers.pictures or Pictures(own.clock)
    try:
        good = Judgement.from_json(own.outbox.setting(judgement_name(config))).good
        made = Maker(client, lambda: good, pictures.smaller).make(claim, config)
        sent = sent_pictures(claim, pictures.smaller)
    finally:
        client.close()
        if powers.pictures is None:
            pictures.close()
    conventions, time = made.conventions, time_text(made.conventions, own.clock.now())
    shown_headers = headers(conventions, who, made.prepared.request_id if made.prepared else "-", time)
    return {
        "id": record,
        "state": row.state,
        "url": config.platform.base_url.rstrip("/") + VERIFY,
        "canonical": canonical(conventions, who, time),
        "headers": {**shown_headers, "Authorization": f"… ({len(who.authorization)})"},
        "secret_length": len(who.secret),
        "conventions": conventions.model_dump(by_alias=True, mode="json"),
        "kept": conventions != config.platform.conventions,
        "body": None if made.prepared is None else _body(made.prepared, encrypted=config.platform.encrypt),
        "fields": [asdict(one) for one in shown.fields(claim.verification, sent, conventions)],
        "holds": dict(row.holds),
        "problems": [
            {"field": one.field, "reason": one.reason, "code": one.code, "facts": dict(one.facts)}
            for one in made.problems
        ],
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
