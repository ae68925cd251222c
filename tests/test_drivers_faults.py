"""Every fault on every line at every step: no wrong card is read, and the next card reads."""

from __future__ import annotations

from functools import partial

import pytest
from drivers_support import CARDS, driver, read_card, simulated
from lines_support import LINES, UsbLine
from watch_support import Desk, LineDesk, UsbDesk

from agent.station import watch as watching
from drivers import transcript
from drivers.simulator.faults import STEPS, Faults, parse_faults
from drivers.simulator.usb import VirtualTime
from drivers.transcript import Entry
from drivers.transport import Transport
from drivers.transport.recording import RecordingTransport
from drivers.transport.replay import ReplayTransport, Tape

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
TIMES = (1, 3, 0)


def order(name: str, step: str, times: int) -> Faults:
    """Return one fault at one step."""
    return parse_faults(
        [f"{key}={value}" for key, value in ORDERS[name].items()] + [f"step={step}", f"times={times}"]
    )


def survived(desk: LineDesk) -> None:
    """Let the faults in force happen to one card for ten seconds, then lay down another one."""
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


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("name", ORDERS)
def test_each_fault_at_each_step_is_survived_on_every_line(line: str, name: str) -> None:
    for step in STEPS_OF_A_CARD:
        for times in TIMES:
            with LineDesk(LINES[line](order(name, step, times))) as desk:
                survived(desk)


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("replies", range(1, 9))
def test_a_reader_pulled_out_at_any_moment_reads_when_it_is_back(line: str, replies: int) -> None:
    with LineDesk(LINES[line](Faults(unplug_after=replies))) as desk:
        desk.module.place(CARDS[0])
        desk.until(lambda: bool(desk.downs()))
        assert set(desk.downs()) <= {"E1103", "E1101"}
        desk.module.faults = Faults()
        desk.module.lift()
        desk.pass_time(5.0)
        desk.module.place(CARDS[1])
        desk.until(lambda: CARDS[1].number in desk.presented(), 5.0)


# --- transcripts ------------------------------------------------------------------------------------


class RecordedLine(UsbLine):
    """A line whose every opening goes into one transcript."""

    recorder: RecordingTransport | None = None

    def open(self) -> Transport:
        """Open it, and write down what goes over it."""
        line = super().open()
        if self.recorder is None:
            self.recorder = RecordingTransport(line, self.time.now)
        self.recorder.line = line
        return self.recorder

    @property
    def entries(self) -> list[Entry]:
        """Return what has been written down."""
        return [] if self.recorder is None else self.recorder.entries


def recorded(faults: Faults) -> tuple[list[Entry], LineDesk]:
    """Survive faults. Return the transcript as a file holds it, and the desk."""
    line = RecordedLine("two", faults)
    with LineDesk(line) as desk:
        survived(desk)
    return transcript.parse(transcript.written(line.entries, personal=True)), desk


@pytest.mark.parametrize("name", ORDERS)
def test_each_fault_in_a_transcript_is_played_and_survived(name: str) -> None:
    """Whoever plays it sees the cards and the faults that the desk saw, however often the line was opened."""
    for step in STEPS_OF_A_CARD:
        for times in TIMES:
            entries, seen = recorded(order(name, step, times))
            tape, clock = Tape(entries), VirtualTime()
            opened = partial(ReplayTransport, tape, "replay", clock.now, clock.sleep)
            desk = Desk(opened, clock, "replay")
            desk.pass_time(entries[-1].at + 10.0)
            desk.watch.close()
            assert desk.presented() == seen.presented()
            # An exchange asked for a moment earlier than recorded may be one less that failed.
            assert set(desk.downs()) <= set(seen.downs())


def test_a_module_that_hangs_is_reset_and_one_that_stays_silent_is_opened_anew() -> None:
    desk = UsbDesk("two", Faults(hang_after=3, times=1))
    desk.module.place(CARDS[0])
    desk.until(lambda: bool(desk.presented()), 10.0)
    assert desk.downs() == []
    desk = UsbDesk("two", Faults(silence=1.0))
    desk.until(lambda: len(desk.downs()) == 2)
    assert set(desk.downs()) == {"E1104"}
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
