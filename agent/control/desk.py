"""`capture`, `face accept`, `desk ...`, `followups ...`: what people at the desk decide, and its tools."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from agent import keys, masks
from agent.catalogue import AgentError
from agent.config.schema import Mask
from agent.control.powers import Powers
from agent.control.protocol import Caller, Handler
from agent.face import acceptance
from agent.face.acceptance import Acceptance
from agent.face.reasons import SENTENCES, sentence
from agent.followups import FollowUps
from agent.station import Again, DeskInput, Ending, EndIt
from agent.station.events import DECLINED
from agent.vision.process import CameraState, Vision

#: How long a picture by hand may take.
PICTURE_S = 6.0


def verbs(powers: Powers) -> dict[str, Handler]:
    """Return the verbs of this file."""
    return {
        "camera.picture": lambda args, caller: _picture(powers, caller),
        "face.accept": lambda args, caller: _accept(powers, caller),
        "face.state": lambda args, caller: face_state(powers),
        "desk.end": lambda args, caller: _end(powers, str(args["why"]), caller),
        "desk.again": lambda args, caller: _again(powers, caller),
        "desk.sign_in": lambda args, caller: _sign_in(powers, str(args["name"]), caller),
        "desk.sign_out": lambda args, caller: _sign_out(powers, caller),
        "followups.list": lambda args, caller: _followups(powers),
        "followups.show": lambda args, caller: _followup(
            powers, str(args["id"]), caller, reveal=bool(args.get("reveal"))
        ),
        "followups.close": lambda args, caller: _close(powers, str(args["id"]), str(args["how"]), caller),
    }


def _picture(powers: Powers, caller: Caller) -> dict[str, Any]:
    """Take a picture as at the desk, with no card."""
    if powers.current().own_camera.source == "none":
        raise AgentError("E2101", source="none", reason="not there")
    states: list[CameraState] = []
    with _vision(powers, states) as vision:
        seen = vision.picture(PICTURE_S)
    if seen.camera_jpeg is None:
        down = next((state for state in states if not state.up), None)
        raise AgentError("E2401") if down is None else AgentError(down.code, **down.facts)
    powers.own.audit.append("camera.captured", who=caller.name, target="camera", durable=True)
    return {
        "jpeg": base64.b64encode(seen.camera_jpeg).decode("ascii"),
        "reason": seen.reason,
        "code": sentence(seen.reason),
    }


@contextmanager
def _vision(powers: Powers, states: list[CameraState]) -> Iterator[Vision]:
    """Use the daemon's vision process; without a daemon, one of our own for the moment."""
    if powers.vision is not None:
        yield powers.vision
        return
    config = powers.current()
    secret = keys.camera_password(config)
    vision = Vision(config.camera, config.face, config.images, powers.own.clock, secret, states.append)
    vision.start()
    try:
        yield vision
    finally:
        vision.close()


def _accept(powers: Powers, caller: Caller) -> dict[str, Any]:
    """Record that this site tried model and threshold with real cards."""
    own = powers.own
    model, threshold = acceptance.in_force(powers.current().face)
    accepted = Acceptance(model, threshold, caller.name, own.clock.now().isoformat())
    own.audit.append("face.accepted", who=caller.name, target=model, threshold=str(threshold), durable=True)
    own.outbox.set_setting(acceptance.SETTING, accepted.to_json())
    powers.face_changed()
    return face_state(powers)


def face_state(powers: Powers) -> dict[str, Any]:
    """Return which engine is in force and whether the site has accepted its threshold.

    Where a kiosk compares, nothing of it is anybody's trouble: no code.
    """
    state = _face_state(powers)
    return state if powers.current().has_desk else {**state, "code": ""}


def _face_state(powers: Powers) -> dict[str, Any]:
    face = powers.current().face
    if face.engine == "none":
        return {"model": None, "threshold": None, "accepted": False, "code": SENTENCES["engine_none"]}
    try:
        model, threshold = acceptance.in_force(face)
    except AgentError as error:
        return {"model": None, "threshold": None, "accepted": False, "code": error.code}
    accepted = acceptance.stands(powers.own.outbox.setting(acceptance.SETTING), model, threshold)
    code = "" if accepted else acceptance.NOT_ACCEPTED
    return {"model": model, "threshold": threshold, "accepted": accepted, "code": code}


# --- what the registrar decides ---------------------------------------------------------------------


def _end(powers: Powers, why: str, caller: Caller) -> dict[str, Any]:
    """End the attempt under way. A comparison made by then is kept all the same."""
    endings = {ending.value: ending for ending in (Ending.WRONG_CARD, *DECLINED)}
    if why not in endings:
        raise AgentError("E2602", received=why[:40], expected=", ".join(sorted(endings)))
    return _tell(powers, EndIt(endings[why], caller.name))


def _again(powers: Powers, caller: Caller) -> dict[str, Any]:
    """Say that the card that was just verified is meant once more."""
    return _tell(powers, Again(caller.name))


def _tell(powers: Powers, word: DeskInput) -> dict[str, Any]:
    if powers.tell is None:
        raise AgentError("E2603")
    powers.tell(word)
    return {"told": True}


def _sign_in(powers: Powers, name: str, caller: Caller) -> dict[str, Any]:
    """Let somebody operate the desk; what was held for want of an operator is looked at again."""
    if powers.operators is None:
        raise AgentError("E2603")
    signed_in = powers.operators.sign_in(name, caller.name)
    powers.own.audit.append("operator.signed_in", who=caller.name, target=signed_in, durable=True)
    _post_operator(powers)
    powers.record_changed()
    return {"operator": signed_in}


def _sign_out(powers: Powers, caller: Caller) -> dict[str, Any]:
    if powers.operators is None:
        raise AgentError("E2603")
    gone = powers.operators.signed_in()
    powers.operators.sign_out()
    powers.own.audit.append("operator.signed_out", who=caller.name, target=gone or "nobody", durable=True)
    _post_operator(powers)
    return {"operator": powers.operators.in_force()}


def _post_operator(powers: Powers) -> None:
    """Tell the board that somebody is there; who it is, it does not say."""
    if powers.board is not None and powers.operators is not None:
        powers.board.post("operator", state="present" if powers.operators.in_force() else "missing")


# --- who still has to be verified somehow -----------------------------------------------------------


def _followups(powers: Powers) -> list[dict[str, Any]]:
    followups = FollowUps(powers.own.outbox, powers.own.audit)
    rule = powers.current().console.mask
    found = []
    for case in followups.open():
        name, number = _masked(powers, case.id, rule)
        found.append({**asdict(case), "name": name, "number": number})
    return found


def _masked(powers: Powers, case: str, rule: Mask) -> tuple[str, str]:
    """Return whom a case is about, masked; dashes where its key is lost."""
    try:
        person = powers.own.outbox.followups.person(case)
    except AgentError:
        return "-", "-"
    return masks.name(person.name, rule.name), masks.number(person.number, rule.number)


def _followup(powers: Powers, case: str, caller: Caller, *, reveal: bool) -> dict[str, Any]:
    """Return whom a case is about: masked, or in full, which is audited."""
    if reveal:
        person = FollowUps(powers.own.outbox, powers.own.audit).person(case, caller.name)
        return {"id": case, "name": person.name, "number": person.number}
    person, rule = powers.own.outbox.followups.person(case), powers.current().console.mask
    return {
        "id": case,
        "name": masks.name(person.name, rule.name),
        "number": masks.number(person.number, rule.number),
    }


def _close(powers: Powers, case: str, how: str, caller: Caller) -> dict[str, Any]:
    FollowUps(powers.own.outbox, powers.own.audit).close(case, caller.name, how)
    return {"id": case, "open": powers.own.outbox.followups.count()}
