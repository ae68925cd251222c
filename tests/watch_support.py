"""A reader's watch for tests: its memory, and a desk over any line, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lines_support import Line, UsbLine

from agent.station import watch as watching
from agent.station.loan import Loan
from drivers.card import CardRecord
from drivers.sdt.reader import SdtReader
from drivers.simulator.faults import Faults
from drivers.simulator.usb import VirtualTime
from drivers.transport import Transport

SAM_ID = "05.01-20101129-0001228293-0296863149"


@dataclass
class Remembered:
    """A memory that ends with the test."""

    sam_id: str | None = None
    last: str = ""

    def pinned(self) -> str | None:
        return self.sam_id

    def pin(self, sam_id: str) -> None:
        self.sam_id = sam_id

    def identity(self, card: CardRecord) -> str:
        return card.number

    def verified(self) -> tuple[str, float]:
        return self.last, 500.0


class Desk:
    """A watch over whatever `open_line` opens, and what it told."""

    def __init__(self, open_line: Callable[[], Transport], time: VirtualTime, port: str) -> None:
        self.time = time
        self.memory = Remembered()
        self.told: list[watching.Happening] = []
        self.loan = Loan()
        self.watch = watching.ReaderWatch(
            watching.Means(
                open_reader=lambda: SdtReader(open_line(), time.now, port),
                memory=self.memory,
                monotonic=time.now,
                interval_s=lambda: 0.35,
                loan=self.loan,
            )
        )

    def until(self, condition: Callable[[], bool], limit_s: float = 30.0) -> None:
        """Let the watch work until a condition holds, for so much virtual time at the most."""
        end = self.time.now() + limit_s
        while not condition():
            assert self.time.now() < end, [str(one) for one in self.told]
            self.time.sleep(self.watch.wait_s)
            self.told += self.watch.turn()

    def pass_time(self, seconds: float) -> None:
        """Let the watch work for so much virtual time."""
        end = self.time.now() + seconds
        self.until(lambda: self.time.now() >= end, seconds + 30.0)

    def presented(self) -> list[str]:
        """Return the numbers of the cards that were presented."""
        return [one.card.number for one in self.told if isinstance(one, watching.Presented)]

    def downs(self) -> list[str]:
        """Return the codes under which the reader was lost."""
        return [one.error.code for one in self.told if isinstance(one, watching.Down)]


class LineDesk(Desk):
    """A desk with a simulated reader at the far end of a line."""

    def __init__(self, line: Line) -> None:
        super().__init__(line.open, line.time, line.port)
        self.line, self.module = line, line.module

    def __enter__(self) -> LineDesk:
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.close()
        self.line.close()


class UsbDesk(LineDesk):
    """A desk with a reader on a simulated bus."""

    def __init__(self, shape: str, faults: Faults | None = None) -> None:
        line = UsbLine(shape, faults)
        super().__init__(line)
        self.reader, self.bus, self.system, self.port = line.reader, line.bus, line.system, line.port
