"""From what the configuration says of the port to an open line, and what else there is to choose from.

`auto` opens the port that a udev rule of ours has named, and USB readers that are surely readers. Any other
serial adapter may belong to a medical device: nothing is ever written to a port that nobody has pointed at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from drivers import access
from drivers.access import Account
from drivers.errors import ReaderError, ReaderMissing
from drivers.models import MODELS, Model, model
from drivers.transport import Transport
from drivers.transport.hid_framing import RawFraming
from drivers.transport.hidraw import open_hidraw
from drivers.transport.replay import Tapes, open_replay
from drivers.transport.serial import BAUD, SerialTransport, ports
from drivers.transport.usb_bulk import open_bulk
from drivers.transport.usb_hid import open_hid

#: The stable name given by systemd/60-kiosk-agent.rules.
UDEV_LINK = "/dev/kiosk-agent/idcard"
USB_PORT = re.compile(r"^usb:([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})(?::(.+))?$")
REPLAY = "replay:"
#: Code of what could be a reader and is left alone, because nobody has named it.
UNNAMED = "W1112"
_HID_ID = re.compile(r"^HID_ID=[0-9A-F]+:0*([0-9A-F]{4}):0*([0-9A-F]{4})$", re.MULTILINE)
#: What a device calls itself is somebody else's text: short and printable, or it does not reach a screen.
MAX_NAME = 40


@dataclass(frozen=True)
class System:
    """Where devices are looked for; tests bring their own."""

    dev: Path = Path("/dev")
    sys: Path = Path("/sys")
    proc: Path = Path("/proc")
    serial_ports: Callable[[], Iterable[tuple[str, str]]] = ports
    usb_backend: Any = None
    #: Of serial lines.
    baud: int = BAUD
    #: How far transcripts in the place of a reader have been played.
    tapes: Tapes = field(default_factory=dict, repr=False)


HERE = System()


@dataclass(frozen=True)
class Candidate:
    """One device that is or could be a reader. `code` and `facts` say why it is not used, if it is not."""

    port: str  # as `reader.port` would name it
    driver: str  # serial | usb-bulk | usb-hid | hidraw | replay
    name: str
    auto: bool  # whether `auto` opens it
    open: Callable[[], Transport] = field(repr=False, compare=False)
    code: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def candidates(system: System = HERE, port: str = "auto", account: Account | None = None) -> list[Candidate]:
    """Return every device that is or could be a reader, those that `auto` opens first. Opens nothing.

    What `port` names is among them in any case, there or not. Rights are those of `account`, by default ours.
    """
    found = [*_found(system)]
    if port != "auto" and not any(names(port, candidate.port) for candidate, _ in found):
        found.append(_configured(port, system))
    judged = [_judged(candidate, node, system, account) for candidate, node in found]
    return sorted(judged, key=lambda candidate: not candidate.auto)


def chosen(port: str, found: Iterable[Candidate]) -> Candidate | None:
    """Return the candidate that `port` names: what stands in its way is not that nobody pointed at it."""
    for one in found:
        if one.auto if port == "auto" else names(port, one.port):
            return replace(one, code=None, facts={}) if one.code == UNNAMED else one
    return None


def names(port: str, candidate: str) -> bool:
    """Return whether `reader.port` names a candidate; ids in any case, with a serial number or without."""
    if port.startswith("usb:"):
        return f"{port}:".upper().startswith(f"{candidate}:".upper())
    same = port.startswith("/") and os.path.realpath(port) == os.path.realpath(candidate)
    return same or port == candidate


def is_serial(port: str) -> bool:
    """Return whether a configured port is a serial line, whose speed has to be known."""
    return port.startswith("/") and not Path(os.path.realpath(port)).name.startswith("hidraw")


def _configured(port: str, system: System) -> tuple[Candidate, Path]:
    """Return what `reader.port` names and nothing else tells of: a path without a tag, a pty, nothing."""
    named = USB_PORT.match(port)
    driver, node = "serial" if is_serial(port) else "hidraw", Path(port)
    if named is not None:
        make = model(int(named[1], 16), int(named[2], 16))
        driver, node = ("usb-hid" if make and make.framing else "usb-bulk"), system.dev / "bus/usb"
    elif port.startswith(REPLAY):
        driver, node = "replay", Path(port.removeprefix(REPLAY))
    found = Candidate(port, driver, "reader.port", False, partial(open_transport, port, system))
    try:
        openers(port, system)
    except ReaderError as error:
        return replace(found, code=error.code, facts=error.facts), node
    return (found if node.exists() or named is not None else _with(found, "E1101", port=port)), node


def _found(system: System) -> list[tuple[Candidate, Path]]:
    """Return candidates with their device nodes. A reader that has a hidraw node is taken by that alone."""
    found = [*_serial(system), *_hidraw(system)]
    taken = {candidate.port for candidate, _ in found}
    return found + [(candidate, node) for candidate, node in _usb(system) if candidate.port not in taken]


def openers(port: str, system: System = HERE) -> Sequence[Callable[[], Transport]]:
    """Return what to open for a configured port, in the order to try. ReaderMissing when nothing is there."""
    if port == "auto":
        return _required("auto", [one.open for one, _ in _found(system) if one.auto])
    if port.startswith(REPLAY):
        return [partial(open_replay, Path(port.removeprefix(REPLAY)), system.tapes)]
    usb_port = USB_PORT.match(port)
    if usb_port is not None:
        return _required(port, _named_usb(usb_port, system))
    if not os.path.exists(port):
        raise ReaderMissing(port=port)
    if Path(port).name.startswith("hidraw"):
        return [_opener_of_node(Path(port), system)]
    return [partial(SerialTransport, port, system.baud)]


def open_transport(port: str, system: System = HERE) -> Transport:
    """Open the line that `port` names; of several the first that opens. ReaderError, the first one's."""
    errors: list[ReaderError] = []
    for opener in openers(port, system):
        try:
            return opener()
        except ReaderError as error:
            errors.append(error)
    raise errors[0]


def _required(port: str, found: list[Callable[[], Transport]]) -> list[Callable[[], Transport]]:
    if not found:
        raise ReaderMissing(port=port)
    return found


# --- serial -----------------------------------------------------------------------------------------


def _serial(system: System) -> Iterator[tuple[Candidate, Path]]:
    link = system.dev / Path(UDEV_LINK).relative_to("/dev")
    named = os.path.realpath(link) if link.exists() else ""
    if named:
        serial = is_serial(named)
        line = partial(SerialTransport, str(link), system.baud)
        opener = line if serial else _opener_of_node(Path(named), system)
        yield Candidate(str(link), "serial" if serial else "hidraw", f"-> {named}", True, opener), link
    for port, name in system.serial_ports():
        if os.path.realpath(port) != named:
            opener = partial(SerialTransport, port, system.baud)
            facts = {"port": port}
            yield Candidate(port, "serial", _printable(name), False, opener, UNNAMED, facts), Path(port)


# --- HID nodes --------------------------------------------------------------------------------------


def _hidraw(system: System) -> Iterator[tuple[Candidate, Path]]:
    for entry in sorted((system.sys / "class/hidraw").glob("hidraw*")):
        make, node = _model_of(entry), system.dev / entry.name
        if make is None or make.framing is None:
            continue
        opener = _opener_of_node(node, system)
        yield _candidate(make, f"usb:{make.ids}", "hidraw", opener), node


def _model_of(entry: Path) -> Model | None:
    try:
        ids = _HID_ID.search((entry / "device/uevent").read_text("utf-8"))
    except OSError:
        return None
    return None if ids is None else model(int(ids[1], 16), int(ids[2], 16))


def _opener_of_node(node: Path, system: System) -> Callable[[], Transport]:
    make = _model_of(system.sys / "class/hidraw" / node.name)
    framing = RawFraming if make is None or make.framing is None else make.framing
    return lambda: open_hidraw(node, system.sys, framing())


# --- USB --------------------------------------------------------------------------------------------


def _usb(system: System) -> Iterator[tuple[Candidate, Path]]:
    import usb.core

    try:
        for make in MODELS:
            for device in _devices(make.vendor, make.product, system):
                yield _usb_candidate(make, device, system)
    except usb.core.NoBackendError:
        nothing = Candidate("usb", "usb-bulk", "", False, partial(_refuse, "usb", "E1113"), "E1113")
        yield nothing, system.dev / "bus/usb"


def _devices(vendor: int, product: int, system: System) -> list[Any]:
    import usb.core

    found = usb.core.find(find_all=True, idVendor=vendor, idProduct=product, backend=system.usb_backend)
    return sorted(found, key=lambda device: (device.bus or 0, device.address or 0))


def _usb_candidate(make: Model, device: Any, system: System) -> tuple[Candidate, Path]:
    port = f"usb:{make.ids}"
    node = system.dev / f"bus/usb/{device.bus or 0:03d}/{device.address or 0:03d}"
    driver = "usb-bulk" if make.framing is None else "usb-hid"
    return _candidate(make, port, driver, _usb_opener(make, device, port)), node


def _usb_opener(make: Model, device: Any, port: str) -> Callable[[], Transport]:
    if make.refused is not None:
        return partial(_refuse, port, make.refused)
    if make.framing is None:
        return partial(open_bulk, device, port)
    framing = make.framing
    return lambda: open_hid(device, port, framing())


def _named_usb(named: re.Match[str], system: System) -> list[Callable[[], Transport]]:
    """Return openers for what `usb:VID:PID[:serial]` names; ids not in the table are taken for bulk."""
    vendor, product, serial = int(named[1], 16), int(named[2], 16), named[3]
    make = model(vendor, product) or Model(vendor, product, "named by reader.port")
    nodes = [] if make.framing is None or serial else list((system.sys / "class/hidraw").glob("hidraw*"))
    found = [_opener_of_node(system.dev / node.name, system) for node in nodes if _model_of(node) == make]
    devices = _devices(vendor, product, system)
    wanted = [device for device in devices if serial is None or _serial_number(device, named[0]) == serial]
    return found or [_usb_opener(make, device, named[0]) for device in wanted]


def _serial_number(device: Any, port: str) -> str | None:
    """Return a device's serial number. Reading it needs the right to the device, so it is asked for last."""
    import usb.core

    from drivers.transport.usb import told

    try:
        return str(device.serial_number)
    except usb.core.USBError as error:
        raise told(error, port) from error
    except ValueError:  # pyusb's word for a device that tells no strings
        return None


def _refuse(port: str, code: str) -> Transport:
    raise ReaderError(code, port=port)


# --- why not ----------------------------------------------------------------------------------------


def _candidate(make: Model, port: str, driver: str, opener: Callable[[], Transport]) -> Candidate:
    usable = make.sure and make.refused is None
    code = make.refused or (None if make.sure else UNNAMED)
    return Candidate(port, driver, make.name, usable, opener, code, {"port": port} if code else {})


def _judged(candidate: Candidate, node: Path, system: System, account: Account | None) -> Candidate:
    """Return the candidate with what stands in the way of opening it, if anything does."""
    if node.is_dir() or not node.exists() or candidate.code not in {None, UNNAMED}:
        return candidate
    lacking = access.lacking(node, account)
    if lacking is not None:
        return _with(candidate, "E1102", port=candidate.port, reason=lacking)
    # Whoever serves a pty holds it.
    holders = [] if _shared(node) else access.holders(node, system.proc)
    if holders:
        return _with(candidate, "E1114", port=candidate.port, holder=access.named(holders))
    return candidate


def _shared(node: Path) -> bool:
    return os.path.realpath(node).startswith("/dev/pts/")


def _with(candidate: Candidate, code: str, **facts: str) -> Candidate:
    return replace(candidate, code=code, facts=facts)


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:MAX_NAME]
