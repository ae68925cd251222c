"""What the verbs of the control socket work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agent.board import Board
from agent.config.schema import Config
from agent.onfile import OnFile
from agent.operators import Operators
from agent.ownership import Ownership
from agent.station import DeskInput
from agent.station.loan import Loan
from agent.supervisor import LoopState
from agent.vision.pictures import Pictures
from agent.vision.process import Vision


@dataclass(frozen=True)
class Powers:
    """What the verbs may see and do. Without a daemon there is no board and no loop."""

    own: Ownership
    board: Board | None = None
    loops: Callable[[], Sequence[LoopState]] = tuple
    record_ready: Callable[[], None] = lambda: None
    record_changed: Callable[[], None] = lambda: None
    config: Callable[[], Config] | None = None
    reload: Callable[[], None] | None = None
    #: The file that a reload reads; None without a daemon.
    on_file: Callable[[], OnFile | None] = lambda: None
    vision: Vision | None = None
    pictures: Pictures | None = None
    loan: Loan | None = None
    face_changed: Callable[[], None] = lambda: None
    page_code: Callable[[], Mapping[str, object]] | None = None
    #: The desk itself; absent without a daemon.
    operators: Operators | None = None
    tell: Callable[[DeskInput], None] | None = None

    def current(self) -> Config:
        """Return the configuration in force."""
        return self.own.config if self.config is None else self.config()
