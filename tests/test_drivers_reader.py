"""The driver against a reader on a real pty, fault by fault; after each fault the next card reads."""

from __future__ import annotations

import os
import threading
import time
import tty
from pathlib import Path

import pytest
from drivers_support import CARDS, driver, read_card, simulated, until

from drivers.card import CardKind
from drivers.discovery import open_transport
from drivers.errors import (
    ReaderBusy,
    ReaderError,
    ReaderMissing,
    ReaderPermission,
    ReaderProtocolError,
    ReaderRefused,
    ReaderTimeout,
    ReaderUnplugged,
)
from drivers.sdt.frames import encode_reply
from drivers.sdt.reader import Newest, SdtReader
from drivers.simulator.faults import Faults, parse_faults
from drivers.simulator.reader import SimulatedReader
from drivers.transport.serial import SerialTransport


def test_a_card_is_read_once_and_again_only_after_it_was_lifted() -> None:
    with simulated() as reader, driver(reader.port) as sdt:
        assert read_card(sdt) is None
        reader.place(CARDS[0])
        card = read_card(sdt)
        assert card is not None
        assert card.kind is CardKind.RESIDENT
        assert (card.name, card.number, card.address) == (CARDS[0].name, CARDS[0].number, CARDS[0].address)
        assert card.valid_until == CARDS[0].valid_until
        assert card.flaws == ()
        assert len(card.text_block) == 256
        assert len(card.photo_block) == 1024
        assert card.photo_block.startswith(bytes.fromhex("574C66007E00"))
        assert sdt.newest() == Newest(there=True)
        assert read_card(sdt) is None
        reader.lift()
        assert sdt.newest() == Newest(there=False)
        reader.place(CARDS[0])
        assert read_card(sdt) is not None


def test_the_readers_own_id() -> None:
    with simulated() as reader, driver(reader.port) as sdt:
        assert sdt.sam_id() == "05.01-20101129-0001228293-0296863149"


def test_a_card_pulled_away_between_find_and_read_is_refused_and_the_next_one_reads() -> None:
    with simulated() as reader, driver(reader.port) as sdt:
        reader.place(CARDS[0])
        assert sdt.find()
        reader.lift()
        with pytest.raises(ReaderRefused, match="0x81") as refused:
            sdt.select()
        assert refused.value.code == "E1106"
        assert refused.value.status == 0x81
        with pytest.raises(ReaderRefused, match="0x41"):
            sdt.read()
        reader.place(CARDS[1])
        assert read_card(sdt) is not None


def test_a_loop_lays_down_every_card_and_skips_none() -> None:
    with simulated(loop_s=0.2) as reader, driver(reader.port) as sdt:
        seen: list[str] = []

        def all_seen() -> bool:
            card = read_card(sdt)
            if card is not None:
                seen.append(card.number)
            return len(seen) == len(CARDS)

        until(all_seen)
        assert seen == [card.number for card in CARDS]


FAULTS = [
    (Faults(noise=1.0), ()),
    (Faults(noise_inside=0.15), (ReaderProtocolError, ReaderTimeout)),
    (Faults(checksum=0.2), (ReaderProtocolError,)),
    (Faults(drop_byte=0.2), (ReaderProtocolError, ReaderTimeout)),
    (Faults(silence=0.2), (ReaderTimeout,)),
]


@pytest.mark.parametrize(("faults", "expected"), FAULTS, ids=lambda value: str(value)[:40])
def test_each_fault_has_its_outcome_and_no_wrong_card_is_ever_read(
    faults: Faults, expected: tuple[type[ReaderError], ...]
) -> None:
    with simulated(faults, loop_s=0.2) as reader, driver(reader.port) as sdt:
        seen: list[str] = []

        allowed: tuple[type[ReaderError], ...] = (*expected, ReaderRefused)

        def enough() -> bool:
            try:
                card = read_card(sdt)
            except allowed:
                return False
            if card is not None:
                assert card.flaws == ()
                seen.append(card.number)
            return len(seen) >= 2

        until(enough, patience_s=60)
    # In their order; a card whose answer was spoilt is laid down again, none is skipped.
    assert list(dict.fromkeys(seen)) == [card.number for card in CARDS][: len(set(seen))]


def test_a_late_answer_is_never_taken_for_the_next_one() -> None:
    with simulated(Faults(late=1.0, late_s=1.4)) as reader, driver(reader.port) as sdt:
        with pytest.raises(ReaderTimeout) as timeout:
            sdt.find()
        assert timeout.value.facts["step"] == "find card"
        assert timeout.value.facts["port"] == reader.port
        reader.module.faults = Faults()
        reader.place(CARDS[0])
        # The old answer said "no card"; taken for the answer to this find it would hide the card.
        time_left = time.monotonic() + 5
        while not sdt.find():
            assert time.monotonic() < time_left
        sdt.select()
        assert sdt.read().number == CARDS[0].number


def test_an_unplugged_line_is_told_and_the_replugged_one_works(tmp_path: Path) -> None:
    with simulated() as reader:
        reader.link(tmp_path / "reader")
        with driver(str(tmp_path / "reader")) as sdt:
            assert sdt.find() is False
            reader.unplug()
            with pytest.raises(ReaderUnplugged):
                until(sdt.find)

        def back() -> bool:
            try:
                with driver(str(tmp_path / "reader")) as again:
                    return again.find() is False
            except ReaderError:
                return False

        until(back)


def test_a_missing_a_forbidden_and_a_busy_port_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ReaderMissing):
        open_transport(str(tmp_path / "none"))
    with pytest.raises(ReaderMissing):
        open_transport("auto")
    with simulated() as reader:
        first = SerialTransport(reader.port)
        with pytest.raises(ReaderBusy) as busy:
            SerialTransport(reader.port)
        assert busy.value.facts["holder"] == "another program"
        first.close()
        monkeypatch.setattr("os.access", lambda *_: False)
        with pytest.raises(ReaderPermission, match=r"group|mode"):
            SerialTransport(reader.port)


class Scripted:
    """A line whose other end answers one command after the other, as told."""

    def __init__(self, *answers: bytes | tuple[bytes, ...]) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.asked: list[bytes] = []
        self._thread = threading.Thread(target=self._answer, args=(answers,))

    def __enter__(self) -> SdtReader:
        self._reader = SdtReader(SerialTransport(os.ttyname(self._slave)), time.monotonic)
        self._thread.start()
        return self._reader

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._reader.close()
        os.close(self._slave)
        os.close(self._master)

    def say(self, data: bytes) -> None:
        """Send something that nobody asked for."""
        os.write(self._master, data)

    def _answer(self, answers: tuple[bytes | tuple[bytes, ...], ...]) -> None:
        pause = threading.Event()
        for answer in answers:
            self.asked.append(os.read(self._master, 100))
            for part in (answer,) if isinstance(answer, bytes) else answer:
                os.write(self._master, part)
                pause.wait(0.1)


FOUND = encode_reply(b"\0\0\x9f", bytes(4))
EMPTY = encode_reply(b"\0\0\x80")
ID = encode_reply(b"\0\0\x90", bytes(16))


@pytest.mark.parametrize("code", [0x10, 0x11])
def test_a_reader_that_misunderstood_us_is_asked_once_more(code: int) -> None:
    line = Scripted(encode_reply(bytes((0, 0, code))), FOUND)
    with line as reader:
        assert reader.find()
    assert line.asked[0] == line.asked[1]


def test_after_a_spoilt_answer_old_answers_pass_until_the_id_comes() -> None:
    line = Scripted(EMPTY[:-1] + b"\0", EMPTY + FOUND + ID, FOUND)
    with line as reader:
        with pytest.raises(ReaderProtocolError):
            reader.find()
        assert reader.find()
    assert [asked[7:9].hex() for asked in line.asked] == ["2001", "12ff", "2001"]


def test_old_answers_that_trickle_in_pass_as_well() -> None:
    with Scripted(EMPTY[:-1] + b"\0", (EMPTY, FOUND, ID), EMPTY) as reader:
        with pytest.raises(ReaderProtocolError):
            reader.find()
        assert reader.find() is False


def test_a_doubled_answer_is_not_taken_for_the_next_one() -> None:
    line = Scripted(EMPTY, ID, EMPTY)
    with line as reader:
        assert reader.find() is False
        line.say(FOUND)
        assert reader.find() is False


def test_an_answer_of_another_shape_is_not_taken_for_ours() -> None:
    with Scripted(ID + EMPTY) as reader:
        assert reader.find() is False


@pytest.mark.parametrize("code", [0x60, 0x66])
def test_a_broken_security_module_is_permanent(code: int) -> None:
    with Scripted(encode_reply(bytes((0, 0, code)))) as reader, pytest.raises(ReaderRefused, match="E1107"):
        reader.find()


@pytest.mark.parametrize("data", [b"\x01\x00\x04\x00" + bytes(100), b"\xff" * 1284, bytes(1284)])
def test_blocks_that_do_not_add_up_are_refused(data: bytes) -> None:
    answer = encode_reply(b"\0\0\x90", data)
    with Scripted(answer) as reader, pytest.raises(ReaderProtocolError, match="blocks"):
        reader.read()


def test_faults_are_read_from_the_command_line_and_wrong_ones_refused() -> None:
    assert parse_faults(["noise=0.5", "seed=9"]) == Faults(noise=0.5, seed=9)
    with pytest.raises(ValueError, match="no fault 'nose'"):
        parse_faults(["nose=1"])


def test_an_unknown_command_and_a_spoilt_one_are_answered_as_the_document_says() -> None:
    with simulated() as reader:
        line = SerialTransport(reader.port)
        line.write(bytes.fromhex("AAAAAA9669000330053600"))
        assert line.read(1.0) == bytes.fromhex("AAAAAA9669000400002125")
        line.write(bytes.fromhex("AAAAAA96690003200121"))
        assert line.read(1.0) == bytes.fromhex("AAAAAA9669000400001014")
        line.close()


def test_the_same_seed_gives_the_same_people_with_right_check_digits() -> None:
    with simulated() as reader:
        assert isinstance(reader, SimulatedReader)
        assert reader.cards == CARDS
    assert len({card.number for card in CARDS}) == len(CARDS)
