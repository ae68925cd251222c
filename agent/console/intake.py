"""`POST /api/intake/v1/verifications`: a kiosk program hands its finished results in.

The answer comes after the durable commit. Whoever got none - a kill, a lost line - sends the same again and
gets the same record. The contract is docs/intake-openapi.json, made by `agent.intake.openapi`.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge

from agent.catalogue import AgentError
from agent.console.app import Answer
from agent.intake import openapi
from agent.intake.faults import Rejected
from agent.intake.keeping import Intake
from agent.intake.reading import parsed

#: Three pictures of three million base64 characters, and the rest.
MAX_BODY_BYTES = 10 * 2**20
#: Submissions at the same time: each may hold a hundred megabytes of pixels.
AT_ONCE = 2
RETRY_AFTER_S = {"E8504": 1, "E3103": 5, "E3105": 5, "E2307": 5, "E2308": 5}
STATUSES = {
    "E8501": HTTPStatus.BAD_REQUEST,
    "E8503": HTTPStatus.CONFLICT,
    "E3101": HTTPStatus.INSUFFICIENT_STORAGE,
    "E3102": HTTPStatus.INSUFFICIENT_STORAGE,
}


def blueprint(intake: Intake, token: Callable[[], bytes], lang: Callable[[], str]) -> Blueprint:
    """Return the address, and the document that describes it."""
    part = Blueprint("intake", __name__, url_prefix="/api/intake/v1")
    places = threading.BoundedSemaphore(AT_ONCE)

    @part.post("/verifications")
    def verifications() -> tuple[Response, int]:
        try:
            _known(token())
            with _place(places):
                kept = intake.keep(parsed(_body()))
        except AgentError as error:
            raise _answer(error, lang()) from error
        answer = {"record": kept.record, "state": kept.state, "holds": dict(kept.holds)}
        return jsonify(answer), HTTPStatus.CREATED if kept.new else HTTPStatus.OK

    @part.get("/openapi.json")
    def document() -> Response:
        return jsonify(openapi.document())

    def _known(expected: bytes) -> None:
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        right = hmac.compare_digest(shown.strip().encode("utf-8", "replace"), expected)
        if not (right and scheme.lower() == "bearer"):
            refusal = Answer("E8502", HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
            intake.refused(refusal)
            raise refusal

    return part


@contextmanager
def _place(places: threading.BoundedSemaphore) -> Iterator[None]:
    if not places.acquire(blocking=False):
        raise AgentError("E8504")
    try:
        yield
    finally:
        places.release()


def _body() -> bytes:
    request.max_content_length = MAX_BODY_BYTES
    try:
        return request.get_data(cache=False)
    except RequestEntityTooLarge:
        limit = str(MAX_BODY_BYTES)
        raise Answer("E8505", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, limit=limit) from None


def _answer(error: AgentError, lang: str) -> Answer:
    if isinstance(error, Answer):
        return error
    more: dict[str, Any] = {"faults": error.as_json(lang)} if isinstance(error, Rejected) else {}
    wait_s = RETRY_AFTER_S.get(error.code)
    headers = {} if wait_s is None else {"Retry-After": str(wait_s)}
    status = HTTPStatus.TOO_MANY_REQUESTS if error.code == "E8504" else STATUSES.get(error.code)
    return Answer(error.code, status or HTTPStatus.SERVICE_UNAVAILABLE, headers, more, **error.facts)
