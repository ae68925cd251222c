"""What stands behind the page: made once, looked at by its routes and its metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agent.board import Board
from agent.clock import Clock
from agent.console.acts import Acts
from agent.console.persons import Persons
from agent.console.screen import Screen
from agent.console.session import Sessions
from agent.console.streams import Places
from agent.control.powers import Powers


@dataclass
class Behind:
    """What the page works with."""

    powers: Powers
    board: Board
    clock: Clock
    sessions: Sessions
    preview: Callable[[], bytes | None]
    places: Places = field(init=False)
    screen: Screen = field(init=False)
    acts: Acts = field(init=False)
    wrong_codes: int = 0
    noted_at: float | None = None

    def __post_init__(self) -> None:
        self.places = Places(lambda: self.powers.current().console.max_streams)
        self.screen = Screen(self.powers, self.board, self.clock, Persons(self.powers))
        self.acts = Acts(self.powers)
