"""`capture`, `face accept`: what people at the desk and the hospital's IT do with camera and engine."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent import keys
from agent.catalogue import AgentError
from agent.control.powers import Powers
from agent.control.protocol import Caller, Handler
from agent.face import acceptance
from agent.face.acceptance import Acceptance
from agent.face.reasons import sentence
from agent.vision import CameraState, Vision

#: How long a picture by hand may take.
PICTURE_S = 6.0


def verbs(powers: Powers) -> dict[str, Handler]:
    """Return the verbs of this file."""
    return {
        "camera.picture": lambda args, caller: _picture(powers, caller),
        "face.accept": lambda args, caller: _accept(powers, caller),
        "face.state": lambda args, caller: face_state(powers),
    }


def _picture(powers: Powers, caller: Caller) -> dict[str, Any]:
    """Take a picture as at the desk, with no card."""
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
    password = config.camera.password
    secret = None if password is None else keys.read_secret(password, "camera.password").decode()
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
    """Return which engine is in force and whether the site has accepted its threshold."""
    try:
        model, threshold = acceptance.in_force(powers.current().face)
    except AgentError as error:
        return {"model": None, "threshold": None, "accepted": False, "code": error.code}
    accepted = acceptance.stands(powers.own.outbox.setting(acceptance.SETTING), model, threshold)
    code = "" if accepted else acceptance.NOT_ACCEPTED
    return {"model": model, "threshold": threshold, "accepted": accepted, "code": code}
