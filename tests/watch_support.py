"""A reader's watch for tests: its memory, and every transport of the simulator in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agent.simulate import portraits
from agent.station import watch as watching
from drivers.card import CardRecord
from drivers.discovery import System, open_transport
from drivers.sdt.reader import SdtReader
from drivers.simulator.faults import Faults
from drivers.simulator.module import SimulatedModule
from drivers.simulator.usb import SimulatedUsb, UsbReader, VirtualTime

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


@dataclass
class UsbDesk:
    """A watch over one reader on a simulated bus, in virtual time."""

    shape: str
    faults: Faults = field(default_factory=Faults)
    told: list[watching.Happening] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.time = VirtualTime()
        self.module = SimulatedModule([], [portraits.path("collins")], self.faults)
        self.reader = UsbReader(self.module, self.shape)
        self.bus = SimulatedUsb(self.reader, time=self.time)
        self.system = System(serial_ports=list, usb_backend=self.bus)
        vendor, product = self.reader.description[:2]
        self.port = f"usb:{vendor:04X}:{product:04X}"
        self.memory = Remembered()
        self.watch = watching.ReaderWatch(
            watching.Means(
                open_reader=lambda: SdtReader(
                    open_transport(self.port, self.system), self.time.now, self.port
                ),
                memory=self.memory,
                monotonic=self.time.now,
                interval_s=lambda: 0.35,
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
