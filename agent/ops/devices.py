"""What `doctor` looks at on reader, photo decoder, camera, face models and drop folder.

While the daemon runs it holds the devices and is asked; each is opened here for a moment where none does.
"""

from __future__ import annotations

import re
import struct
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from agent import decoding, keys
from agent.clock import SystemClock
from agent.config.schema import Config
from agent.face import weights
from agent.ops.checking import GOOD, Found
from agent.vision.pictures import Pictures
from drivers import access, camera, photo
from drivers.access import Account
from drivers.camera_source import is_file_source
from drivers.discovery import HERE, UDEV_LINK, candidates, chosen, open_transport
from drivers.errors import CameraError, PhotoError
from drivers.sdt.reader import SdtReader

NO_DEVICE: Found = (None, {"source": "none"})


#: How long a picture may take, the start of its process included.
PICTURE_S = 6.0
#: Four black dots: a BMP of 2 x 2 in 24 bits.
_DOTS = struct.pack("<2sIIIIiiHHIIiiII", b"BM", 70, 0, 54, 40, 2, 2, 1, 24, 0, 16, 0, 0, 0, 0) + bytes(16)
#: How a decoder that works says that a blank block holds no photograph: by anything but a crash.
_REFUSAL = re.compile(r"no picture|its picture|refused the block|empty picture|ended with status \d")


def drop_folder(config: Config, account: Account) -> Found:
    """Say whether the service may empty the folder into which a kiosk drops its results."""
    folder = config.intake.folder
    reason = None if folder is None else access.unusable(Path(folder), account)
    return GOOD if reason is None else ("E8531", {"path": folder, "reason": reason})


def reader_port(config: Config, account: Account, *, daemon: bool) -> Found:
    """Say whether the configured port is there, may be opened by the service, and is free."""
    if not config.has_desk:
        return NO_DEVICE
    port = config.reader.port
    found = chosen(port, candidates(HERE, port, account))
    if found is None:
        return "E1101", {"port": UDEV_LINK}
    # Nobody but the daemon may hold it while it runs.
    held_by_daemon = daemon and found.code == "E1114"
    return (None if held_by_daemon else found.code), {"port": found.port, **found.facts}


def reader(config: Config) -> Found:
    """Say whether reader and security module answer."""
    if not config.has_desk:
        return NO_DEVICE
    port, baud = config.reader.port, config.reader.baud
    line = SdtReader(open_transport(port, replace(HERE, baud=baud)), time.monotonic, port, baud)
    try:
        return None, {"sam_id": line.sam_id()}
    finally:
        line.close()


def decoder(config: Config) -> Found:
    """Say whether the decoder starts and answers. A blank block is no picture: that it says so is well."""
    if not config.has_desk:
        return NO_DEVICE
    chosen = config.reader.photo_decoder
    try:
        with closing(Pictures(SystemClock())) as pictures:
            decoding.decoder(chosen, pictures.one_colour, 3.0).decode(bytes(photo.PHOTO_BYTES))
    except PhotoError as error:
        reason = error.facts.get("reason", "")
        if _REFUSAL.search(reason):
            return None, {"kind": chosen.kind}
        raise
    return None, {"kind": chosen.kind}


def camera_device(config: Config, account: Account, *, daemon: bool) -> Found:
    """Say whether the camera's device is there, may be opened by the service, and is free."""
    source = config.own_camera.source
    if source == "none":
        return NO_DEVICE
    if source.startswith("rtsp://") or is_file_source(source):
        return None, {"source": source.partition("://")[0]}
    path = Path(source)
    if source == "auto":
        found = sorted(Path("/dev").glob("video[0-9]*"))
        if not found:
            return "E2101", {"source": "auto", "reason": "no /dev/video* there"}
        path = found[0]
    if not path.exists():
        return "E2101", {"source": source, "reason": "not there"}
    return _device(path, account, daemon=daemon)


def camera_frame(config: Config) -> Found:
    """Say whether the camera delivers a frame."""
    chosen = config.own_camera
    if chosen.source == "none":
        return NO_DEVICE
    password = keys.read_secret(chosen.password, "camera.password").decode() if chosen.password else None
    # The source is not repeated: an address may hold a name and a password.
    view = camera.View(chosen.width, chosen.height, chosen.rotate, chosen.mirror)
    try:
        opened = camera.open_camera(chosen.source, view, password)
    except CameraError as error:
        return error.code, {
            "source": chosen.source.partition("://")[0],
            "reason": error.facts.get("reason", ""),
        }
    try:
        height, width = opened.read().image.shape[:2]
        return None, {"picture": f"{width}x{height}"}
    finally:
        opened.close()


def pictures() -> Found:
    """Say whether the process that looks at pictures from elsewhere starts and makes a JPEG of one."""
    with closing(Pictures(SystemClock(), limit_s=PICTURE_S)) as looking:
        looking.accepted(_DOTS, 10_000)
    return None, {}


def models(config: Config) -> Found:
    """Say whether the face models are there and unaltered."""
    if not config.has_desk:
        return NO_DEVICE
    model = weights.in_use(config.face)
    return None, {"engine": config.face.engine} if model is None else {"model": model}


def _device(path: Path, account: Account, *, daemon: bool) -> Found:
    """Say what stands between the service and a camera: rights, or somebody else."""
    if reason := access.lacking(path, account):
        return "E2102", {"source": path, "reason": reason}
    # Nobody but the daemon may hold it while it runs; without it, nobody at all.
    held = [] if daemon else access.holders(path)
    if held:
        return "E2150", {"source": path, "holder": access.named(held)}
    return None, {"source": path}
