"""Lines to readers: USB in four shapes, HID nodes, their errors told apart, report descriptors."""

from __future__ import annotations

import fcntl
import os
import select
from collections import deque
from pathlib import Path

import pytest
from drivers_support import CARDS, read_card
from hypothesis import given
from hypothesis import strategies as st
from lines_support import FRAMINGS, hidraw
from watch_support import SAM_ID, LineDesk, UsbDesk

from agent.simulate import portraits
from drivers.discovery import System, open_transport
from drivers.errors import (
    ReaderBusy,
    ReaderError,
    ReaderMissing,
    ReaderPermission,
    ReaderProtocolError,
    ReaderUnplugged,
)
from drivers.sdt.reader import SdtReader
from drivers.simulator.module import SimulatedModule
from drivers.simulator.usb import SHAPES, SimulatedUsb, UsbReader, VirtualTime
from drivers.transport.hid_framing import (
    PLAIN,
    EnvelopeFraming,
    Framing,
    RawFraming,
    Reports,
    parse_report_descriptor,
)
from drivers.transport.hidraw import open_hidraw
from drivers.transport.serial import SerialTransport


def driver(desk: UsbDesk) -> SdtReader:
    return SdtReader(open_transport(desk.port, desk.system), desk.time.now, desk.port)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("empty_packets", [False, True])
def test_a_card_is_read_over_every_shape(shape: str, empty_packets: bool) -> None:
    desk = UsbDesk(shape)
    desk.reader.empty_packets = empty_packets
    sdt = driver(desk)
    assert sdt.sam_id() == SAM_ID
    for card in CARDS:
        desk.module.place(card)
        read = read_card(sdt)
        assert read is not None
        assert (read.name, read.number, read.flaws) == (card.name, card.number, ())
        assert len(read.photo_block) == 1024
        assert sdt.newest().there
        desk.module.lift()
        assert not sdt.newest().there
    sdt.close()
    sdt.close()
    with pytest.raises(ReaderUnplugged):
        sdt.find()


def test_no_reading_waits_for_a_packet_that_will_not_come() -> None:
    """A body of a whole number of packets ends without a short one."""
    for shape in SHAPES:
        desk = UsbDesk(shape)
        sdt = driver(desk)
        desk.module.place(CARDS[0])
        before = desk.time.now()
        assert read_card(sdt) is not None
        assert desk.time.now() - before < 0.1


@pytest.mark.parametrize("shape", SHAPES)
def test_no_right_in_use_and_gone_are_three_errors(shape: str) -> None:
    desk = UsbDesk(shape)
    desk.reader.permitted = False
    with pytest.raises(ReaderPermission, match=r"60-kiosk-agent\.rules"):
        driver(desk).find()
    desk.reader.permitted, desk.reader.busy = True, True
    with pytest.raises(ReaderBusy):
        driver(desk)
    desk.reader.busy = False
    sdt = driver(desk)
    assert sdt.find() is False
    desk.bus.unplug(desk.reader, 5.0)
    with pytest.raises(ReaderUnplugged):
        sdt.find()
    with pytest.raises(ReaderMissing):
        driver(desk)
    desk.time.sleep(5.0)
    assert driver(desk).find() is False


def test_a_closed_line_is_not_left_exclusive_to_nobody() -> None:
    tiocgexcl = 0x80045440  # asm-generic/ioctls.h; no name in termios
    # Somebody else holds it open, as ModemManager does: the kernel keeps the mark until the last one closes.
    master, slave = os.openpty()
    SerialTransport(os.ttyname(slave)).close()
    exclusive = fcntl.ioctl(slave, tiocgexcl, bytes(4))
    os.close(master)
    os.close(slave)
    assert exclusive == bytes(4)


def test_the_kernels_driver_is_set_aside_and_put_back() -> None:
    desk = UsbDesk("hid")
    desk.reader.kernel_driver = True
    sdt = driver(desk)
    assert desk.reader.kernel_driver is False
    assert sdt.find() is False
    sdt.close()
    assert desk.reader.kernel_driver is True


def test_a_body_whose_head_was_lost_is_not_taken_for_the_next_ones() -> None:
    desk = UsbDesk("four")
    sdt = driver(desk)
    stale = (0.0, b"\0\0\x9f" + bytes(4) + b"\x97")
    desk.reader.pipes[0x85] = deque([stale])
    assert sdt.find() is False
    desk.module.place(CARDS[0])
    assert read_card(sdt) is not None


def test_of_two_readers_the_named_one_is_opened() -> None:
    first = UsbReader(SimulatedModule([], [portraits.path("collins")]), "two", serial="A1")
    second = UsbReader(
        SimulatedModule([], [portraits.path("collins")], sam_id=bytes(range(16))), "two", serial="B2"
    )
    clock = VirtualTime()
    system = System(serial_ports=list, usb_backend=SimulatedUsb(first, second, time=clock))
    ids = []
    for port in ("usb:0400:c35a", "usb:0400:C35A:B2", "auto"):
        sdt = SdtReader(open_transport(port, system), clock.now)
        ids.append(sdt.sam_id())
        sdt.close()
    assert ids[0] == ids[2] == SAM_ID
    assert ids[1] != SAM_ID
    with pytest.raises(ReaderMissing):
        open_transport("usb:0400:C35A:C3", system)


def test_a_device_without_a_readers_pipes_is_refused() -> None:
    reader = UsbReader(SimulatedModule([], [portraits.path("collins")]), "hid", ids=(0x0400, 0xC35A))
    system = System(serial_ports=list, usb_backend=SimulatedUsb(reader))
    with pytest.raises(ReaderError, match="E1110"):
        open_transport("usb:0400:C35A", system)


def test_a_reader_that_decodes_in_a_cloud_is_never_opened() -> None:
    reader = UsbReader(SimulatedModule([], [portraits.path("collins")]), "hid", ids=(0xC216, 0x0102))
    with pytest.raises(ReaderError, match="E1111"):
        open_transport("usb:C216:0102", System(serial_ports=list, usb_backend=SimulatedUsb(reader)))


# --- hidraw -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reports", [PLAIN, Reports(64, 64, 7)])
@pytest.mark.parametrize("shape", FRAMINGS)
def test_a_card_is_read_over_a_hidraw_node(shape: str, reports: Reports) -> None:
    with LineDesk(hidraw(shape, reports=reports)) as desk:
        sdt = SdtReader(desk.line.open(), desk.time.now)
        desk.module.place(CARDS[0])
        read = read_card(sdt)
        assert read is not None
        assert read.number == CARDS[0].number
        assert sdt.find() is False
        sdt.close()


def test_a_node_that_vanishes_is_unplugged() -> None:
    line = hidraw("hid")
    host = line.open()
    line.close()
    with pytest.raises(ReaderUnplugged):
        host.read(1.0)
    host.close()
    with pytest.raises(ReaderUnplugged):
        host.write(b"x")


def test_a_node_is_opened_with_the_reports_that_its_descriptor_names(tmp_path: Path) -> None:
    node, described = tmp_path / "hidraw3", tmp_path / "class/hidraw/hidraw3/device/report_descriptor"
    os.mkfifo(node)
    described.parent.mkdir(parents=True)
    described.write_bytes(DESCRIPTOR_WITH_IDS)
    line = open_hidraw(node, tmp_path, RawFraming())
    line.write(b"\xaa\xbb")
    readable, _, _ = select.select([line._descriptor], [], [], 1.0)
    assert readable
    assert os.read(line._descriptor, 100) == b"\x03\xaa\xbb" + bytes(62)
    line.close()
    with pytest.raises(ReaderMissing):
        open_hidraw(tmp_path / "none", tmp_path, RawFraming())


# --- reports ----------------------------------------------------------------------------------------

# Vendor page, 64 bytes in and out, no ids: what plain readers have.
DESCRIPTOR = bytes.fromhex("0600FF 0901 A101 1500 26FF00 7508 9540 0901 8102 0901 9102 C0")
# Report 1: a keyboard's 8 bytes in; report 3: 63 bytes in, 64 out.
DESCRIPTOR_WITH_IDS = bytes.fromhex("0600FF 0901 A101 8501 7508 9508 8102 A4 8503 953F 8102 9540 9102 B4 C0")


def test_report_descriptors() -> None:
    assert parse_report_descriptor(DESCRIPTOR) == Reports(64, 64, None)
    assert parse_report_descriptor(DESCRIPTOR_WITH_IDS) == Reports(63, 64, 3)
    assert parse_report_descriptor(b"\xfe\x03\x01abc" + DESCRIPTOR) == Reports(64, 64, None)
    for one_way in (b"", DESCRIPTOR[:-5], bytes.fromhex("0600FF 7508 9540 8102")):
        with pytest.raises(ReaderProtocolError):
            parse_report_descriptor(one_way)


@given(st.binary(max_size=200))
def test_any_descriptor_is_parsed_or_refused(raw: bytes) -> None:
    try:
        reports = parse_report_descriptor(raw)
    except ReaderProtocolError:
        return
    assert reports.input_bytes > 0
    assert reports.output_bytes > 0


@pytest.mark.parametrize("framing", [RawFraming(), EnvelopeFraming()])
@given(raw=st.binary(max_size=70))
def test_any_report_is_unwrapped_without_a_crash(framing: Framing, raw: bytes) -> None:
    assert len(framing.unwrap(raw)) <= len(raw)


def enveloped(content: bytes) -> bytes:
    counted = (len(content) + 3).to_bytes(2, "little") + b"\0\0\0" + content
    return (b"\xaa\0\1" + counted + (sum(counted) & 0xFFFF).to_bytes(2, "little")).ljust(64, b"\0")


@given(st.binary(min_size=1, max_size=54), st.integers(0, 63), st.integers(1, 255))
def test_an_enveloped_packet_gives_its_bytes_and_a_spoilt_one_none_or_the_same(
    content: bytes, place: int, change: int
) -> None:
    framing, packet = EnvelopeFraming(), bytearray(enveloped(content))
    assert framing.unwrap(bytes(packet)) == content
    packet[place] ^= change
    # Number and filling may be anything; whatever counts is summed.
    untouched = place in {1, 2} or place >= 5 + 3 + len(content) + 2
    assert framing.unwrap(bytes(packet)) == (content if untouched else b"")


def test_the_published_envelope_of_a_command() -> None:
    command = bytes.fromhex("AAAAAA96690003200122")
    (packet,) = EnvelopeFraming().wrap(command)
    assert packet == (bytes.fromhex("88 0000 0B00 B1") + command + bytes.fromhex("FF03")).ljust(64, b"\0")
    with pytest.raises(ValueError, match="do not fit"):
        EnvelopeFraming().wrap(bytes(60))


@given(st.binary(min_size=1, max_size=300))
def test_raw_reports_carry_any_bytes(data: bytes) -> None:
    reports = RawFraming().wrap(data)
    assert b"".join(reports).startswith(data)
    assert {len(report) for report in reports} == {64}
