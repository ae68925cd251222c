"""What is found, what of it `auto` opens, and why the rest is left alone."""

from __future__ import annotations

import grp
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import usb.core
from drivers_support import simulated, until
from hmpt_support import config

from agent.ops import readers
from agent.simulate import portraits
from drivers import access
from drivers.discovery import Candidate, System, candidates, chosen, open_transport
from drivers.errors import ReaderError, ReaderMissing, ReaderPermission
from drivers.simulator.module import SimulatedModule
from drivers.simulator.usb import SimulatedUsb, UsbReader
from drivers.transport.hidraw import HidrawTransport
from drivers.transport.serial import SerialTransport


def bus(*shapes: str, **ids: tuple[int, int]) -> SimulatedUsb:
    return SimulatedUsb(
        *(
            UsbReader(SimulatedModule([], [portraits.path("collins")]), shape, ids=ids.get(shape))
            for shape in shapes
        )
    )


def machine(folder: Path, *ports: str, usb: SimulatedUsb | None = None) -> System:
    """A machine's /dev, /sys and /proc in a folder."""
    for name in ("dev/kiosk-agent", "sys/class/hidraw", "proc"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return System(
        folder / "dev",
        folder / "sys",
        folder / "proc",
        lambda: [(port, "a bridge\x1b") for port in ports],
        usb or bus(),
    )


def hid_node(system: System, name: str, ids: str) -> Path:
    device = system.sys / "class/hidraw" / name / "device"
    device.mkdir(parents=True)
    vendor, product = ids.split(":")
    (device / "uevent").write_text(
        f"DRIVER=hid-generic\nHID_ID=0003:0000{vendor}:0000{product}\nHID_NAME=x\n"
    )
    os.mkfifo(system.dev / name)
    return system.dev / name


def by_port(found: list[Candidate]) -> dict[str, Candidate]:
    return {one.port: one for one in found}


def test_auto_opens_the_named_port_and_no_other_adapter(tmp_path: Path) -> None:
    with simulated() as reader, simulated() as other:
        system = machine(tmp_path, reader.port, other.port)
        with pytest.raises(ReaderMissing):
            open_transport("auto", system)
        found = by_port(candidates(system))
        assert {one.code for one in found.values()} == {"W1112"}
        assert not any(one.auto for one in found.values())
        assert found[other.port].name == "a bridge"
        (system.dev / "kiosk-agent/idcard").symlink_to(reader.port)
        line = open_transport("auto", system)
        assert isinstance(line, SerialTransport)
        line.close()
        first, second = candidates(system)
        assert (first.port, first.auto, first.code) == (str(system.dev / "kiosk-agent/idcard"), True, None)
        assert (second.port, second.code) == (other.port, "W1112")


def test_auto_opens_a_sure_usb_reader_and_not_what_is_known_second_hand(tmp_path: Path) -> None:
    system = machine(tmp_path, usb=bus("hid", "envelope", "two"))
    found = candidates(system)
    assert [(one.port, one.driver, one.auto, one.code) for one in found] == [
        ("usb:0400:C35A", "usb-bulk", True, None),
        ("usb:2B8B:2721", "usb-hid", False, "W1112"),
        ("usb:10C4:0007", "usb-hid", False, "W1112"),
    ]
    open_transport("auto", system).close()
    with pytest.raises(ReaderMissing):
        open_transport("auto", machine(tmp_path, usb=bus("hid")))
    open_transport("usb:2B8B:2721", system).close()


def test_a_reader_with_a_hid_node_is_opened_through_that(tmp_path: Path) -> None:
    system = machine(tmp_path, usb=bus("hid"))
    hid_node(system, "hidraw0", "046D:C31C")
    node = hid_node(system, "hidraw4", "2B8B:2721")
    (found,) = candidates(system)
    assert (found.port, found.driver) == ("usb:2B8B:2721", "hidraw")
    for port in ("usb:2B8B:2721", str(node)):
        line = open_transport(port, system)
        assert isinstance(line, HidrawTransport)
        line.close()


def test_a_cloud_reader_and_a_missing_libusb_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = candidates(machine(tmp_path, usb=bus("hid", hid=(0xC216, 0x0102))))
    assert (found.code, found.auto) == ("E1111", False)

    def none(**_: object) -> None:
        raise usb.core.NoBackendError("No backend available")

    monkeypatch.setattr(usb.core, "find", none)
    (found,) = candidates(machine(tmp_path))
    assert (found.port, found.code) == ("usb", "E1113")
    with pytest.raises(ReaderError, match="E1113"):
        found.open()


HOLD = "import sys, time; held = open(sys.argv[1], 'rb+', buffering=0); print('held', flush=True); time.sleep(60)"


def test_a_port_that_another_program_holds_names_it(tmp_path: Path) -> None:
    port = tmp_path / "ttyUSB0"
    port.touch()
    system = replace(machine(tmp_path, str(port)), proc=Path("/proc"))
    program = subprocess.Popen([sys.executable, "-c", HOLD, str(port)], stdout=subprocess.PIPE)
    with program:
        assert program.stdout is not None
        program.stdout.readline()
        assert f"({program.pid})" in access.named(access.holders(port))
        (found,) = candidates(system)
        program.kill()
    assert found.code == "E1114"
    assert f"({program.pid})" in found.facts["holder"]
    until(lambda: not access.holders(port))


def test_which_right_is_lacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = tmp_path / "node"
    node.touch()
    assert access.lacking(node) is None
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("os.getgroups", list)
    group = next(one for one in grp.getgrall() if one.gr_gid != 0)
    monkeypatch.setattr("os.stat", os.stat)
    real = node.stat()
    monkeypatch.setattr(
        Path, "stat", lambda _: os.stat_result((0o020660, *real[1:5], group.gr_gid, *real[6:10]))
    )
    lacking = access.lacking(node)
    assert lacking is not None
    assert lacking.endswith(f"is not in the group {group.gr_name}")
    monkeypatch.setattr(Path, "stat", lambda _: os.stat_result((0o020600, *real[1:10])))
    assert "60-kiosk-agent.rules" in (access.lacking(node) or "")
    with pytest.raises(ReaderPermission, match=r"60-kiosk-agent\.rules"):
        SerialTransport(str(node))


@pytest.mark.needs_root
def test_a_port_that_root_alone_may_open_is_told_to_others(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root")
    with simulated() as reader:
        os.chmod(reader.port, 0o600)
        script = (
            "import os, sys; from pathlib import Path; from drivers import access\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534); print(access.lacking(Path(sys.argv[1])))"
        )
        said = subprocess.run(
            [sys.executable, "-c", script, reader.port],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent.parent,
        )
        assert "shuts nobody out" in said.stdout


@pytest.mark.parametrize(
    ("port", "used"),
    [
        ("auto", "usb:0400:C35A"),
        ("usb:2b8b:2721", "usb:2B8B:2721"),
        ("usb:2B8B:2721:A1", "usb:2B8B:2721"),
        ("/dev/ttyUSB7", "/dev/ttyUSB7"),
    ],
)
def test_the_list_marks_what_the_configuration_names(port: str, used: str, tmp_path: Path) -> None:
    system = machine(tmp_path, usb=bus("hid", "two"))
    named = config("http://127.0.0.1:1")
    named = named.model_copy(update={"reader": named.reader.model_copy(update={"port": port})})
    listed = readers.listing(named, ask=True, system=system)
    assert [one["port"] for one in listed if one["chosen"]] == [used]
    for one in listed:
        there = one["port"] != "/dev/ttyUSB7"
        assert (one["sam_id"] is not None) == (one["chosen"] and there)
        assert one["code"] == ("E1101" if not there else None if one["auto"] or one["chosen"] else "W1112")


def test_what_the_configuration_names_is_listed_in_any_case(tmp_path: Path) -> None:
    with simulated() as reader:
        file, link = tmp_path / "reader.txt", tmp_path / "by-id"
        file.write_text("# kiosk-agent reader transcript 1\n", "utf-8")
        link.symlink_to(reader.port)
        system = machine(tmp_path, "/dev/none", usb=bus("two", two=(0x1234, 0x5678)))
        node = hid_node(system, "hidraw9", "046D:C31C")
        named = {
            str(link): ("serial", None),
            reader.port: ("serial", None),
            str(tmp_path / "gone"): ("serial", "E1101"),
            str(node): ("hidraw", None),
            f"replay:{file}": ("replay", None),
            f"replay:{tmp_path / 'none.txt'}": ("replay", "E1101"),
            "usb:1234:5678": ("usb-bulk", None),
            "usb:1234:9999": ("usb-bulk", "E1101"),
        }
        for port, (driver, code) in named.items():
            found = chosen(port, candidates(system, port))
            assert found is not None, port
            assert (found.port, found.driver, found.code) == (port, driver, code)
        listed = machine(tmp_path, reader.port)
        found = chosen(str(link), candidates(listed, str(link)))
        assert found is not None
        assert (found.port, found.code) == (reader.port, None), "listed once, under its own name"
        assert len(candidates(listed, str(link))) == 1
        assert chosen("auto", candidates(listed)) is None
