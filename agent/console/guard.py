"""What a request of the page must bring: the session's cookie, and for every change proof of our own page.

The cookie is HttpOnly and SameSite=Strict. That alone does not tell pages of other ports of 127.0.0.1
apart, so a change must also carry a header that no foreign page may set without our leave, which no answer
ever gives (no CORS), and an Origin, where the browser sends one, that is the address asked.
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlsplit

from flask import Request, Response

from agent.console.app import Answer
from agent.console.session import Sessions

COOKIE = "kiosk_page"
#: Set by our script on every request that changes something.
HEADER = "X-Kiosk-Page"
SAFE = frozenset({"GET", "HEAD"})


def token(request: Request) -> str:
    """Return the session's token, "" for none."""
    return request.cookies.get(COOKIE, "")


def admit(request: Request, sessions: Sessions) -> None:
    """Let a request of the page through. Answer E8405 without a session, E8406 for a foreign change."""
    from_our_page(request)
    if not sessions.known(token(request)):
        raise Answer("E8405", HTTPStatus.UNAUTHORIZED)


def from_our_page(request: Request) -> None:
    """Answer E8406 for a change that another page may have asked for."""
    if request.method not in SAFE and not _own(request):
        raise Answer("E8406", HTTPStatus.FORBIDDEN)


def _own(request: Request) -> bool:
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    same = origin is None or urlsplit(origin).netloc.lower() == request.host.lower()
    return HEADER in request.headers and same and site == "same-origin" and request.is_json


def give(response: Response, session: str) -> Response:
    """Hand the session to the browser, until it is closed."""
    response.set_cookie(COOKIE, session, httponly=True, samesite="Strict", path="/")
    return response
