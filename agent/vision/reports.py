"""What the vision process says of camera, frames and face engine, told to journal and board."""

from __future__ import annotations

from collections.abc import Callable

from agent import logs
from agent.board import Board
from agent.config.schema import Config
from agent.face import acceptance
from agent.face.reasons import sentence
from agent.vision.process import CameraState, EngineState
from drivers.camera_source import shown

log = logs.get(__name__)


class Reports:
    """The listeners of `Vision`. `accepted` returns what the site has put down about its threshold."""

    def __init__(
        self, config: Callable[[], Config], board: Board, accepted: Callable[[], str | None]
    ) -> None:
        self._config, self._board, self._accepted = config, board, accepted
        self._engine = EngineState(None, None)

    def camera(self, state: CameraState) -> None:
        """Tell what became of the camera; without a reader it belongs to the kiosk's own program."""
        config = self._config()
        if not config.has_desk:
            return
        if state.up:
            logs.say(log, "I2002", source=shown(config.camera.source))
            self._board.post("camera", state="ok")
        else:
            logs.say(log, state.code, **state.facts)
            self._board.post("camera", state="down", code=state.code, facts=dict(state.facts))
            self._board.event(state.code, **state.facts)

    def hint(self, reason: str) -> None:
        """Tell why the newest frame is not good enough."""
        self._board.post("hint", reason=reason, code=sentence(reason))

    def engine(self, state: EngineState) -> None:
        """Tell what became of the face engine."""
        self._engine = state
        if state.code:
            logs.say(log, state.code, **state.facts)
            self._board.event(state.code, **state.facts)
        self.post_engine()

    def post_engine(self) -> None:
        """Put the engine on the board; that its threshold was never tried here stays there until it was."""
        engine = self._engine
        if engine.code:
            self._board.post("face", state="down", code=engine.code, facts=dict(engine.facts))
        elif engine.model is None or engine.threshold is None:
            self._board.post("face", state="off", code="W2423")
        else:
            accepted = acceptance.stands(self._accepted(), engine.model, engine.threshold)
            code = {} if accepted else {"code": acceptance.NOT_ACCEPTED}
            self._board.post("face", state="ok", model=engine.model, threshold=engine.threshold, **code)
