"""Transcripts: written, read back, blanked, played."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from drivers_support import read_card
from hypothesis import given
from hypothesis import strategies as st
from watch_support import SAM_ID, UsbDesk

from drivers import transcript
from drivers.card import CardKind
from drivers.discovery import System, open_transport
from drivers.errors import ReaderError, ReaderMissing, ReaderProtocolError, ReaderTimeout, ReaderUnplugged
from drivers.sdt.frames import encode_command, encode_reply
from drivers.sdt.reader import SdtReader
from drivers.simulator import cards as deck
from drivers.simulator.faults import Faults
from drivers.transcript import Entry
from drivers.transport.recording import RecordingTransport
from drivers.transport.replay import ReplayTransport, Tape

entries = st.lists(
    st.builds(
        Entry,
        st.integers(0, 10**6).map(lambda ms: ms / 1000),
        st.booleans(),
        st.binary(min_size=1, max_size=100),
    ),
    max_size=12,
)


@given(entries)
def test_a_transcript_is_read_back_as_it_was(written: list[Entry]) -> None:
    text = transcript.written(written, personal=True, remarks=["port: x\ny"])
    assert transcript.parse(text) == written
    assert "\n# port: x y\n" in text


@given(st.text(max_size=300))
def test_any_text_is_a_transcript_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        transcript.parse(text)


@given(entries)
def test_blanking_keeps_every_size_and_time_and_what_was_sent(written: list[Entry]) -> None:
    kept = transcript.blanked(written)
    assert [(one.at, one.sent, len(one.data)) for one in kept] == [
        (one.at, one.sent, len(one.data)) for one in written
    ]
    assert [one.data for one in kept if one.sent] == [one.data for one in written if one.sent]


def recorded(
    shape: str, faults: Faults | None = None, kind: str = "R"
) -> tuple[list[Entry], deck.SimulatedCard]:
    """Read a card whose every answer is recorded."""
    desk = UsbDesk(shape, faults or Faults())
    (card,) = deck.generate(3, 1, kind)
    line = RecordingTransport(open_transport(desk.port, desk.system), desk.time.now)
    sdt = SdtReader(line, desk.time.now)
    sdt.sam_id()
    for _ in range(2):
        sdt.find()
    desk.module.place(card)
    try:
        if read_card(sdt):
            sdt.newest()
    except ReaderError:
        sdt.find()
    return line.entries, card


@pytest.mark.parametrize("kind", deck.KINDS)
@pytest.mark.parametrize(
    "faults",
    [
        Faults(),
        Faults(noise=1.0),
        Faults(drop_byte=1.0, step="read"),
        Faults(double=1.0),
        Faults(checksum=1.0, step="read"),
        Faults(cut=1.0, step="read"),
    ],
    ids=str,
)
def test_no_byte_of_a_card_is_left_in_a_blanked_transcript(faults: Faults, kind: str) -> None:
    written, card = recorded("two", faults, kind)
    kept = b"".join(one.data for one in transcript.blanked(written) if not one.sent)
    assert len(kept) > 60
    for text in card.personal_fields():
        raw = text.encode("utf-16-le")
        for start in range(0, len(raw) - 3, 2):
            assert raw[start : start + 4] not in kept, "two characters of a field in a row"
    whole = b"".join(one.data for one in written if not one.sent)
    assert card.name.encode("utf-16-le") in whole or faults.drop_byte or faults.cut


def play(written: list[Entry]) -> SdtReader:
    clock = UsbDesk("two").time
    return SdtReader(ReplayTransport(Tape(written), "replay", clock.now, clock.sleep), clock.now, "replay")


def test_a_blanked_transcript_plays_a_blank_card_of_its_kind() -> None:
    for kind in deck.KINDS:
        written, _ = recorded("four", kind=kind)
        sdt = play(transcript.parse(transcript.written(written, personal=False)))
        assert sdt.sam_id() == SAM_ID
        card = read_card(sdt)
        while card is None:
            card = read_card(sdt)
        assert card.kind is CardKind(kind)
        assert card.name == card.number == ""
        assert ("name", "blank") in card.flaws
        assert card.photo_block.startswith(bytes.fromhex("574C66007E00"))


def test_what_went_wrong_goes_wrong_again_and_nothing_else_does() -> None:
    written, card = recorded("two", Faults(checksum=1.0, step="read"))
    for personal in (True, False):
        sdt = play(transcript.parse(transcript.written(written, personal=personal)))
        assert sdt.sam_id() == SAM_ID
        while not sdt.find():
            pass
        sdt.select()
        with pytest.raises(ReaderProtocolError):
            sdt.read()
    written, card = recorded("two")
    sdt = play(written)
    for _ in range(3):
        sdt.sam_id()  # asked more often than it was recorded
    found = read_card(sdt) or read_card(sdt) or read_card(sdt)
    assert found is not None
    assert found.number == card.number
    with pytest.raises(ReaderTimeout):
        sdt.set_rf_bytes(0x50)  # never recorded
    sdt.close()
    with pytest.raises(ReaderUnplugged):
        sdt.find()


def test_answers_keep_their_time() -> None:
    find, late = encode_command(0x20, 0x01), encode_reply(b"\0\0\x80")
    sdt = play([Entry(1.0, True, find), Entry(3.4, False, late)])
    with pytest.raises(ReaderTimeout):
        sdt.find()


def test_a_file_is_opened_as_a_port_and_a_wrong_one_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "reader.txt"
    written, _ = recorded("hid")
    file.write_text(transcript.written(written, personal=False), "utf-8")
    system = System(serial_ports=list)
    for _ in range(2):
        open_transport(f"replay:{file}", system).close()
    assert len(system.tapes) == 1, "opened anew, it goes on where it stands"
    file.write_text("# a transcript\n> 0.0 GG\n", "utf-8")
    with pytest.raises(ReaderError, match="line 2") as wrong:
        open_transport(f"replay:{file}", system)
    assert wrong.value.code == "E1116"
    with pytest.raises(ReaderMissing):
        open_transport(f"replay:{tmp_path / 'none'}", system)
