"""Every fault on every transport at every step: no wrong card is read, and the next card reads."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from drivers_support import CARDS, driver, read_card, simulated, until
from watch_support import UsbDesk

from agent.station import watch as watching
from drivers.errors import ReaderError
from drivers.sdt.reader import SdtReader
from drivers.simulator.faults import STEPS, Faults, parse_faults
from drivers.simulator.usb import SHAPES
from drivers.transport.serial import SerialTransport

#: What is ordered, beside where and how often.
ORDERS: dict[str, dict[str, float]] = {
    "noise": {"noise": 1.0},
    "noise inside": {"noise_inside": 1.0},
    "false start": {"false_start": 1.0},
    "checksum": {"checksum": 1.0},
    "length": {"length": 1.0},
    "byte lost": {"drop_byte": 1.0},
    "cut off": {"cut": 1.0},
    "silence": {"silence": 1.0},
    "late": {"late": 1.0},
    "a little late": {"late": 1.0, "late_s": 1.2},
    "doubled": {"double": 1.0},
    "dripping": {"drip": 1.0},
    "pulled away": {"pull": 1.0},
    "misunderstood": {"status": 0x10},
    "card refused": {"status": 0x41},
    "unrecognised": {"status": 0x24},
    "hangs": {"hang_after": 1},
}
STEPS_OF_A_CARD = ("id", "find", "select", "read", "newest")


def order(name: str, step: str, times: int) -> Faults:
    """Return one fault at one step."""
    return parse_faults(
        [f"{key}={value}" for key, value in ORDERS[name].items()] + [f"step={step}", f"times={times}"]
    )


def survived(shape: str, faults: Faults) -> None:
    """Let faults happen to one card for ten seconds, then lay down another one."""
    desk = UsbDesk(shape, faults)
    first, second = CARDS[:2]
    desk.module.place(first)
    desk.pass_time(10.0)
    assert set(desk.presented()) <= {first.number}
    desk.module.faults = Faults()
    desk.module.lift()
    desk.pass_time(1.0)
    desk.module.place(second)
    # The last fault's own time-outs may still run; then it is read at the first look.
    desk.until(lambda: second.number in desk.presented(), 8.0)
    cards = [one.card for one in desk.told if isinstance(one, watching.Presented)]
    assert all(card.flaws == () for card in cards)
    assert desk.presented().count(first.number) <= 1
    desk.watch.close()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ORDERS)
def test_each_fault_at_each_step_is_survived_over_usb(shape: str, name: str) -> None:
    for step in STEPS_OF_A_CARD:
        for times in (1, 3, 0):
            survived(shape, order(name, step, times))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("replies", range(1, 9))
def test_a_reader_pulled_out_at_any_moment_reads_when_it_is_back(shape: str, replies: int) -> None:
    desk = UsbDesk(shape, Faults(unplug_after=replies))
    desk.module.place(CARDS[0])
    desk.until(lambda: any(isinstance(one, watching.Down) for one in desk.told))
    codes = {one.error.code for one in desk.told if isinstance(one, watching.Down)}
    assert codes <= {"E1103", "E1101"}
    desk.module.faults = Faults()
    desk.module.lift()
    desk.pass_time(5.0)
    desk.module.place(CARDS[1])
    desk.until(lambda: CARDS[1].number in desk.presented(), 5.0)


@pytest.mark.parametrize("step", STEPS_OF_A_CARD)
def test_each_fault_at_each_step_is_survived_over_a_serial_line(step: str) -> None:
    """On a real pty, one reader after the other faults, with an impatient driver."""
    with simulated() as reader:
        sdt = SdtReader(SerialTransport(reader.port), time.monotonic, reader.port, patience=0.08)
        for name in ORDERS:
            reader.module.faults = replace(order(name, step, 1), late_s=0.3)
            reader.place(CARDS[0])
            for _ in range(4):
                try:
                    sdt.sam_id()
                    if read_card(sdt) is not None:
                        sdt.newest()
                except ReaderError:
                    continue
            if name == "hangs":
                sdt.reset()
            reader.lift()
            reader.place(CARDS[1])
            seen: list[str] = []

            def read(seen: list[str] = seen) -> bool:
                try:
                    card = read_card(sdt)
                except ReaderError:
                    return False
                if card is not None:
                    assert card.flaws == ()
                    seen.append(card.number)
                return bool(seen)

            until(read)
            assert seen == [CARDS[1].number], name
            reader.lift()
        sdt.close()


def test_a_module_that_hangs_is_reset_and_one_that_stays_silent_is_opened_anew() -> None:
    desk = UsbDesk("two", Faults(hang_after=3, times=1))
    desk.module.place(CARDS[0])
    desk.until(lambda: bool(desk.presented()), 10.0)
    assert not any(isinstance(one, watching.Down) for one in desk.told)
    desk = UsbDesk("two", Faults(silence=1.0))
    desk.until(lambda: len([one for one in desk.told if isinstance(one, watching.Down)]) == 2)
    assert {one.error.code for one in desk.told if isinstance(one, watching.Down)} == {"E1104"}
    desk.module.faults = Faults()
    desk.module.place(CARDS[1])
    desk.until(lambda: bool(desk.presented()), 10.0)


def test_every_step_that_the_simulator_knows_can_be_asked() -> None:
    with simulated() as reader, driver(reader.port) as sdt:
        reader.place(CARDS[0])
        sdt.reset()
        assert sdt.status() == 0x90
        sdt.set_rf_bytes(0x50)
        assert read_card(sdt) is not None
    assert set(STEPS_OF_A_CARD) < set(STEPS)
