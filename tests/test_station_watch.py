"""The watch over a real line: opening, losing, resetting, recognising the reader and the card on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from drivers_support import CARDS, simulated, until
from watch_support import SAM_ID, Remembered

from agent.catalogue import AgentError
from agent.simulate import portraits
from agent.station import watch as watching
from agent.station.opening import opened
from drivers.discovery import System, open_transport, openers
from drivers.errors import ReaderPermission
from drivers.sdt.reader import SdtReader
from drivers.sdt.samid import sam_id
from drivers.simulator.module import SimulatedModule
from drivers.simulator.reader import SimulatedReader
from drivers.simulator.usb import SimulatedUsb, UsbReader, VirtualTime


@dataclass
class Desk:
    """A watch and what it told."""

    watch: watching.ReaderWatch
    memory: Remembered
    told: list[watching.Happening] = field(default_factory=list)

    def turn(self) -> None:
        time.sleep(self.watch.wait_s)
        self.told += self.watch.turn()

    def until(self, condition: Callable[[], bool]) -> None:
        def once() -> bool:
            self.turn()
            return condition()

        until(once, 30)

    def names(self) -> list[str]:
        return [type(one).__name__ for one in self.told]


@contextmanager
def watched(reader: SimulatedReader, memory: Remembered | None = None) -> Iterator[Desk]:
    known = memory or Remembered()
    watch = watching.ReaderWatch(
        watching.Means(
            open_reader=lambda: SdtReader(open_transport(reader.port), time.monotonic, reader.port),
            memory=known,
            monotonic=time.monotonic,
            interval_s=lambda: 0.02,
        )
    )
    try:
        yield Desk(watch, known)
    finally:
        watch.close()


def test_the_first_reader_is_commissioned_and_another_one_is_an_alarm() -> None:
    with simulated() as reader:
        with watched(reader) as desk:
            desk.until(lambda: desk.told == [watching.Up(SAM_ID)])
            assert desk.memory.sam_id == SAM_ID
        with watched(reader, Remembered(sam_id="05.01-20200101-0000000001-0000000002")) as desk:
            reader.place(CARDS[0])
            desk.until(lambda: len(desk.told) >= 2)
            for down in desk.told:
                assert isinstance(down, watching.Down)
                assert isinstance(down.error, AgentError)
                assert down.error.code == "E1109"
                assert down.error.facts["received"] == SAM_ID


def test_a_card_is_told_once_and_the_last_one_only_recognised() -> None:
    with simulated() as reader:
        reader.place(CARDS[0])
        with watched(reader) as desk:
            desk.until(lambda: "Presented" in desk.names())
            presented = desk.told[-1]
            assert isinstance(presented, watching.Presented)
            assert presented.card.number == CARDS[0].number
            for _ in range(10):
                desk.turn()
            reader.lift()
            desk.until(lambda: "Lifted" in desk.names())
            assert desk.names() == ["Up", "Presented", "Lifted"]
            reader.place(CARDS[1])
        with watched(reader, Remembered(last=CARDS[1].number)) as desk:
            desk.until(lambda: len(desk.told) == 2)
            assert getattr(desk.told[1], "code", "") == "W1003"


def test_the_same_card_a_moment_after_its_record_asks_first() -> None:
    with simulated() as reader, watched(reader) as desk:

        def laid() -> watching.Happening:
            reader.place(CARDS[0])
            desk.until(lambda: not {"Presented", "NotAgain"}.isdisjoint(desk.names()))
            told = desk.told[-1]
            reader.lift()
            desk.until(lambda: "Lifted" in desk.names())
            desk.told.clear()
            return told

        first = laid()
        assert isinstance(first, watching.Presented)
        desk.watch.kept(first.card)
        assert getattr(laid(), "code", "") == "W1002"
        assert isinstance(laid(), watching.Presented)


def test_a_card_that_may_not_be_read_yet_is_read_once_it_may() -> None:
    allowed: list[bool] = []
    with simulated() as reader:
        means = watching.Means(
            open_reader=lambda: SdtReader(open_transport(reader.port), time.monotonic, reader.port),
            memory=Remembered(),
            monotonic=time.monotonic,
            interval_s=lambda: 0.02,
            may_read=lambda: bool(allowed),
        )
        desk = Desk(watching.ReaderWatch(means), Remembered())
        reader.place(CARDS[0])
        for _ in range(5):
            desk.turn()
        assert desk.names() == ["Up"]
        allowed.append(True)
        desk.until(lambda: desk.names() == ["Up", "Presented"])
        desk.watch.close()


def test_of_two_readers_the_commissioned_one_is_opened() -> None:
    clock = VirtualTime()
    modules = [
        SimulatedModule([], [portraits.path("collins")], sam_id=bytes([number] * 16)) for number in (1, 2, 3)
    ]
    bus = SimulatedUsb(*(UsbReader(module, "two") for module in modules), time=clock)
    system = System(serial_ports=list, usb_backend=bus)

    def found(commissioned: str | None) -> str:
        reader = opened(openers("auto", system), "auto", clock.now, commissioned)
        try:
            return reader.sam_id()
        finally:
            reader.close()

    ids = [sam_id(bytes([number] * 16)) for number in (1, 2, 3)]
    assert found(None) == ids[0]
    assert [found(one) for one in ids] == ids
    assert found("05.01-20200101-0000000001-0000000002") == ids[0], "for the watch to refuse"
    bus.readers[0].permitted = False
    assert found(ids[2]) == ids[2]
    for reader in bus.readers:
        reader.permitted = False
    with pytest.raises(ReaderPermission):
        found(ids[0])
