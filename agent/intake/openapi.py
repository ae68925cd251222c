"""The contract for whoever writes the kiosk's program: OpenAPI 3.1, made from the schema itself."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from agent import __version__
from agent.intake.schema import Submission

_SCHEMAS = "#/components/schemas/"

_KEPT = {
    "type": "object",
    "required": ["record", "state", "holds"],
    "additionalProperties": False,
    "properties": {
        "record": {"type": "string", "pattern": "^[0-9a-f]{32}$", "description": "for `outbox show`"},
        "state": {
            "enum": ["ready", "sending", "held", "parked", "delivered", "quarantined", "discarded"],
            "description": "held: kept, and sent when what `holds` names has been supplied",
        },
        "holds": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
_FAULT = {
    "type": "object",
    "required": ["code", "pointer", "title"],
    "additionalProperties": False,
    "properties": {
        "code": {"type": "string", "pattern": "^E[0-9]{4}$"},
        "pointer": {"type": "string", "description": "RFC 6901, into what was handed in"},
        "title": {"type": "string"},
    },
}
_ERROR = {
    "type": "object",
    "required": ["code", "title"],
    "additionalProperties": False,
    "properties": {
        "code": {"type": "string", "pattern": "^E[0-9]{4}$", "description": "kiosk-agent explain CODE"},
        "title": {"type": "string"},
        "faults": {"type": "array", "items": {"$ref": _SCHEMAS + "Fault"}},
    },
}
_RETRY_AFTER = {"Retry-After": {"required": True, "schema": {"type": "string", "pattern": "^[0-9]+$"}}}
_CHALLENGE = {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}}

#: Status -> what it means, headers.
_ERRORS: dict[str, tuple[str, dict[str, Any]]] = {
    "400": ("Not kept: every fault with its code and place.", {}),
    "401": ("No token, or a wrong one.", _CHALLENGE),
    "409": ("This id was handed in before with other content; the earlier record stands.", {}),
    "413": ("Too large.", {}),
    "421": ("The request's Host does not name this machine.", {}),
    "429": ("Too many at once: send the same again after Retry-After.", _RETRY_AFTER),
    "503": (
        "Nothing was kept - the disk failed, or no picture could be looked at: send the same again.",
        {},
    ),
    "507": ("No room for records; nothing was kept.", {}),
}


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    schema = Submission.model_json_schema(ref_template=_SCHEMAS + "{model}")
    parts = schema.pop("$defs", {})
    responses = {
        "201": _response("Kept: durable before this answer.", "Kept"),
        "200": _response("The same was kept before; nothing was added.", "Kept"),
        **{status: _response(text, "Error", headers) for status, (text, headers) in _ERRORS.items()},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kiosk-agent intake",
            "version": __version__,
            "description": "A kiosk that compares by itself hands its results in, on loopback.",
        },
        "paths": {
            "/api/intake/v1/verifications": {
                "post": {
                    "operationId": "handIn",
                    "summary": "Hand in one finished verification",
                    "security": [{"token": []}],
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": {"$ref": _SCHEMAS + "Submission"}}},
                    },
                    "responses": responses,
                }
            }
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**parts, "Submission": schema, "Kept": _KEPT, "Fault": _FAULT, "Error": _ERROR},
        },
    }


def _response(text: str, schema: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": _SCHEMAS + schema}}}
    return {"description": text, "content": content, **({"headers": headers} if headers else {})}
