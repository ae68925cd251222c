"""The Flask app: who may ask (Host), what every answer says (headers), and what is never told (errors).

Errors are JSON everywhere: `{"code": "E....", "title": "..."}`, the title in the language of the site.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Flask, Response, jsonify, request
from prometheus_client import CollectorRegistry
from werkzeug.exceptions import HTTPException

from agent import logs
from agent.catalogue import AgentError, entry
from agent.clock import Clock
from agent.console import health
from agent.console.figures import Figures
from agent.control.powers import Powers
from drivers.errors import CodedError

log = logs.get(__name__)

#: What a request may carry where no handler asks for more.
MAX_BODY_BYTES = 64 * 2**10

#: The command line's exit status for what was asked wrongly.
USAGE = 2

HEADERS = {
    # Nothing is loaded from elsewhere, no script or style stands in a page, and nobody frames one.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self'; "
        "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def build(powers: Powers, clock: Clock, parts: Sequence[Blueprint] = ()) -> Flask:
    """Return the app: health, metrics and state, and the blueprints of the page and the intake."""
    app = Flask("agent.console", static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=MAX_BODY_BYTES, MAX_FORM_MEMORY_SIZE=MAX_BODY_BYTES)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of the default provider, which this app has
    app.json.ensure_ascii = False  # type: ignore[attr-defined]

    @app.before_request
    def _known_host() -> None:
        if not host_allowed(request.host, powers.current().console.listen):
            raise Answer("E8402", HTTPStatus.MISDIRECTED_REQUEST)

    @app.after_request
    def _headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.errorhandler(Exception)
    def _failed(error: Exception) -> tuple[Response, int, Mapping[str, str]]:
        answer = _answer(error)
        return jsonify(answer.body(powers.current().lang)), answer.status, answer.headers

    # Shared by whatever hangs itself in: the outbox is asked once, and there is one /metrics.
    figures, registry = Figures(powers, clock), CollectorRegistry()
    registry.register(figures)
    app.extensions.update(figures=figures, metrics=registry)
    app.register_blueprint(health.blueprint(powers, figures, registry))
    for part in parts:
        app.register_blueprint(part)
    return app


class Answer(AgentError):
    """An error that knows its HTTP status; `more` is added to the JSON."""

    def __init__(
        self,
        code: str,
        status: int,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
        /,
        **facts: object,
    ) -> None:
        self.status = int(status)
        self.headers = dict(headers or {})
        self.more = dict(more or {})
        super().__init__(code, **facts)

    def body(self, lang: str) -> dict[str, Any]:
        """Return the JSON of this answer."""
        return {"code": self.code, "title": entry(self.code).title(lang, self.facts), **self.more}


def _answer(error: Exception) -> Answer:
    if isinstance(error, Answer):
        return error
    if isinstance(error, HTTPException) and error.code is not None:
        # What werkzeug says in English may quote the request; the status says it all.
        headers = {k: v for k, v in error.get_headers() if k in {"Allow", "Retry-After"}}
        return Answer("E8403", error.code, headers, status=error.code)
    if isinstance(error, CodedError):
        logs.say_error(log, error)
        # What ends a command with "usage" is the asker's to mend.
        asked_wrongly = entry(error.code).exit == USAGE
        status = HTTPStatus.BAD_REQUEST if asked_wrongly else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(error.code, status, **error.facts)
    # The type alone: an arbitrary exception's text may quote what was being worked on.
    logs.say(log, "E8404", cause=type(error).__name__)
    log.debug("answering %s", request.endpoint, exc_info=error)
    return Answer("E8404", HTTPStatus.INTERNAL_SERVER_ERROR, cause=type(error).__name__)


def host_allowed(host: str, listen: str) -> bool:
    """Return whether a request names this machine, and not a name that another site's page had point here.

    Ports are not compared: a tunnel has another one. Where `listen` covers every address, any address is
    right and any name but localhost wrong.
    """
    named, own = _name(host), _name(listen)
    if named in {"localhost", "127.0.0.1", "::1", own}:
        return True
    return own in {"0.0.0.0", "::"} and _is_address(named)  # noqa: S104 -- compared, not bound


def _name(host: str) -> str:
    """Return a host without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
