"""The registrar's page: its frame for anybody, everything else for whoever the desktop entry let in.

`GET /` holds no data at all. The script fills it from `/api/events`, and asks `/api/page` where no stream is
to be had. What changes something is a POST that only our own page can make (`guard.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, render_template, request

from agent import __version__, logs
from agent.console import guard, held, it
from agent.console.app import Answer
from agent.console.behind import Behind
from agent.console.figures import Figures
from agent.console.page_figures import PageFigures
from agent.console.persons import REVEAL_S
from agent.console.streams import Stream
from agent.console.texts import LANGUAGES, LOST, texts
from agent.console.view import sentence
from agent.control.powers import Powers
from agent.hmpt.codes import NATIONS

log = logs.get(__name__)

LANG_COOKIE = "kiosk_lang"
#: What main.js leads to, asked for at once and not one after the other.
MODULES = ("api.js", "dialogs.js", "dom.js", "it.js", "lists.js", "preview.js", "sound.js", "stage.js")
YEAR_S = 365 * 86400
#: A wrong code is noted in the trail at most so often: the trail is not for anybody to fill.
NOTED_EVERY_S = 60.0


def blueprint(behind: Behind, ending: threading.Event) -> Blueprint:
    """Return the frame, open to anybody, and below it what needs the session."""
    part = Blueprint("page", __name__, static_folder="static", template_folder="templates")
    part.record_once(lambda state: state.app.extensions["metrics"].register(PageFigures(behind)))

    @part.get("/")
    def desk() -> Response:
        lang = _lang(behind.powers)
        frame = render_template("page.html", lang=lang, t=texts(lang), **_frame(behind.powers, lang))
        answer = Response(frame, content_type="text/html; charset=utf-8")
        if request.args.get("lang") == lang:
            answer.set_cookie(LANG_COOKIE, lang, max_age=YEAR_S, samesite="Strict", httponly=True)
        return answer

    @part.get("/open")
    def entrance() -> str:
        lang = _lang(behind.powers)
        return render_template("open.html", lang=lang, t=texts(lang))

    @part.post("/api/page/open")
    def opened() -> Response:
        guard.from_our_page(request)
        session = behind.sessions.open(_text("code"))
        if session is None:
            _note_wrong_code(behind)
            raise Answer("E8407", HTTPStatus.FORBIDDEN)
        logs.say(log, "I8402")
        return guard.give(jsonify(opened=True), session)

    part.register_blueprint(_inside(behind, ending))
    return part


def _inside(behind: Behind, ending: threading.Event) -> Blueprint:
    """Return what only a session may see and do."""
    part = Blueprint("inside", __name__)
    powers, screen, sessions = behind.powers, behind.screen, behind.sessions

    @part.before_request
    def _session() -> None:
        guard.admit(request, sessions)

    @part.get("/api/page")
    def view() -> Response:
        return jsonify(screen.view(_lang(powers), _figures()))

    @part.get("/api/events")
    def events() -> Response:
        lang, figures, token = _lang(powers), _figures(), guard.token(request)
        gone: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
        behind.places.take()
        stream = Stream(
            behind.board,
            view=lambda: screen.view(lang, figures),
            going_on=lambda: not ending.is_set() and not gone() and sessions.known(token),
            give_back=behind.places.give_back,
        )
        return Response(stream, content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    @part.get("/api/page/preview")
    def preview() -> Response:
        jpeg = behind.preview()
        return (
            Response(status=HTTPStatus.NO_CONTENT) if jpeg is None else Response(jpeg, mimetype="image/jpeg")
        )

    @part.get("/api/page/it")
    def for_it() -> Response:
        return jsonify(it.overview(powers, behind.board, _figures(), behind.clock, _lang(powers)))

    _acting(part, behind)

    @part.post("/api/page/close")
    def close() -> Response:
        sessions.close(guard.token(request))
        answer = jsonify(closed=True)
        answer.delete_cookie(guard.COOKIE, path="/", samesite="Strict", httponly=True)
        return answer

    return part


def _acting(part: Blueprint, behind: Behind) -> None:
    """Add what the registrar can do. The verbs are those of the control socket, under the operator's name."""
    powers, screen, acts = behind.powers, behind.screen, behind.acts

    @part.post("/api/page/operator")
    def operator() -> Response:
        name = _text("name")
        return jsonify(acts.do("desk.sign_in", name=name) if name else acts.do("desk.sign_out"))

    @part.post("/api/page/attempt/end")
    def end() -> Response:
        return jsonify(acts.do("desk.end", why=_text("why")))

    @part.post("/api/page/attempt/again")
    def again() -> Response:
        return jsonify(acts.do("desk.again"))

    @part.post("/api/page/followups/<case>/reveal")
    def reveal_followup(case: str) -> Response:
        return jsonify({**acts.do("followups.show", id=case, reveal=True), "seconds": REVEAL_S})

    @part.post("/api/page/followups/<case>/close")
    def close_followup(case: str) -> Response:
        acts.named()
        closed = acts.do("followups.close", id=case, how=_text("how"))
        screen.forget()
        return jsonify(closed)

    @part.post("/api/page/records/<record>/reveal")
    def reveal(record: str) -> Response:
        return jsonify(screen.persons.reveal(record, acts.caller().name))

    @part.post("/api/page/records/<record>/complete")
    def complete(record: str) -> Response:
        held.complete(powers, record, _given(), acts.named())
        screen.forget()
        return jsonify(completed=True)


def _lang(powers: Powers) -> str:
    """Return the language asked for, else the one chosen before, else the site's."""
    asked = request.args.get("lang") or request.cookies.get(LANG_COOKIE) or ""
    return asked if asked in LANGUAGES else powers.current().lang


def _figures() -> Figures:
    figures: Figures = current_app.extensions["figures"]
    return figures


def _frame(powers: Powers, lang: str) -> dict[str, Any]:
    """Return what the page holds before any data: words, and the notice before a picture is taken."""
    config, words = powers.current(), texts(lang)
    hours = f"{config.outbox.keep_delivered_h:g}"
    notice = config.console.notice or words["notice"].format(hours=hours)
    return {
        "facing": request.args.get("view") == "facing",
        "other": next(one for one in LANGUAGES if one != lang),
        "version": __version__,
        "device": config.device,
        "modules": MODULES,
        "notice": [line.strip() for line in notice.splitlines() if line.strip()],
        "nations": NATIONS,
        "lost": sentence(LOST, {}, lang),
        "words": dict(words),
    }


def _given() -> dict[str, Any]:
    """Return the request's JSON object. Answer 400 for anything else."""
    given = request.get_json()
    if not isinstance(given, dict):
        raise Answer("E8403", HTTPStatus.BAD_REQUEST, status=int(HTTPStatus.BAD_REQUEST))
    return given


def _text(key: str) -> str:
    """Return a text of the request's JSON, "" for none."""
    value = _given().get(key)
    return value if isinstance(value, str) else ""


def _note_wrong_code(behind: Behind) -> None:
    behind.wrong_codes += 1
    now = behind.clock.monotonic()
    if behind.noted_at is None or now - behind.noted_at >= NOTED_EVERY_S:
        behind.noted_at = now
        behind.powers.own.audit.append("page.refused", who="unknown", target="page", result="wrong code")
