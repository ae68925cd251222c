"""The chip's photo block into a picture: always a program of its own, with a time limit.

No open decoder of the chip's format exists; the vendor's libraries crash, keep global state and write
files. So whatever decodes runs in another process, gets the block on standard input and answers with a
BMP, PNG or JPEG on standard output and exit status 0.

`command` is the site's own program; `library` a vendor's library, called by drivers/photo_child.py.
It is given the photo alone. Where it wants the reader's whole answer (`input: frame`), the text in that
answer is blanked: a decoder has no business with name and number.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from drivers import picture
from drivers.errors import PhotoError
from drivers.sdt.frames import encode_reply

PHOTO_BYTES = 1024
_TEXT_BYTES = 256
_SUCCESS = b"\x00\x00\x90"
#: 102 x 126 in 24 bits is 38,862 bytes; whatever is far beyond is not the card's picture.
MAX_PICTURE_BYTES = 4 * 2**20
_PICTURES = (b"BM", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
#: Demo and tests only: refuses real blocks. Named, not imported: the product knows no simulator.
_CHILD = Path(__file__).with_name("photo_child.py")
#: Memory, not disk, where there is a choice: some libraries take and leave the photograph as a file.
_SCRATCH = Path("/dev/shm")  # noqa: S108 -- a fresh folder of mode 0700 is made in it
_STALE_S = 300.0
_SCRATCH_NAME = "kiosk-agent-photo-"
_SIMULATED = (sys.executable, "-I", "-m", "drivers.simulator.photo_decoder")


class PhotoDecoder(Protocol):
    """Makes pictures of photo blocks."""

    def decode(self, photo_block: bytes) -> bytes:
        """Return a BMP, PNG or JPEG. PhotoError, naming the reason, when there is none to be had."""
        ...


@dataclass(frozen=True)
class Library:
    """A vendor's library and how it is called; `helper` is the interpreter, for one of another width."""

    path: str
    call: str
    code: int = 0
    pixels: str = "bgr"
    rows: str = "bottom-up"
    helper: Sequence[str] = ()

    def command(self) -> list[str]:
        """Return the program that calls it."""
        helper = list(self.helper) or [sys.executable, "-I"]
        return [*helper, str(_CHILD), self.path, self.call, str(self.code), self.pixels, self.rows]


class CommandDecoder:
    """Runs a program for each block, in an empty folder that is gone afterwards."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        whole_frame: bool,
        timeout_s: float,
        one_colour: Callable[[bytes], bool],
    ) -> None:
        self._command = list(command)
        self._one_colour = one_colour
        self._whole_frame = whole_frame
        self._timeout_s = timeout_s
        sweep()

    def decode(self, photo_block: bytes) -> bytes:
        """Return the program's picture. PhotoError for a crash, a time-out, or what is no such picture."""
        if not photo_block:
            raise PhotoError(reason="the card has no photo block")
        given = _blanked_frame(photo_block) if self._whole_frame else photo_block
        decoded = self._run(given)
        if not decoded.startswith(_PICTURES):
            raise PhotoError(reason=f"the decoder's {len(decoded)} bytes are no picture")
        if len(decoded) > MAX_PICTURE_BYTES:
            raise PhotoError(reason=f"the decoder's picture has {len(decoded)} bytes")
        fault = picture.fault(decoded, self._one_colour)
        if fault is not None:
            raise PhotoError(reason=fault)
        return decoded

    def _run(self, given: bytes) -> bytes:
        with _scratch() as folder:
            return self._answered(given, folder)

    def _answered(self, given: bytes, folder: str) -> bytes:
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # a vendor's chatter may quote what it was given
                cwd=folder,
                env={"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": folder, "TMPDIR": folder},
                start_new_session=True,
            )
        except OSError as error:
            raise PhotoError(reason=f"{self._command[0]}: {error.strerror}") from error
        with process:
            try:
                decoded, _ = process.communicate(given, timeout=self._timeout_s)
            except subprocess.TimeoutExpired:
                raise PhotoError(reason=f"no answer within {self._timeout_s:g} s") from None
            finally:
                # The whole group: a decoder may have started helpers that hold our pipe.
                _kill_group(process)
        if process.returncode != 0:
            raise PhotoError(reason=_ended(self._command, process.returncode))
        return decoded


def _ended(command: Sequence[str], status: int) -> str:
    if str(_CHILD) in command:
        path, call = command[-5:-3]
        known = {
            4: f"{path} refused the block",
            5: f"{path} cannot be loaded",
            6: f"{path} has no function for {call}",
            7: f"{path} gave an empty picture",
        }
        if status in known:
            return known[status]
    return f"the decoder ended with status {status}"


@contextmanager
def _scratch() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix=_SCRATCH_NAME, dir=_scratch_root())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _scratch_root() -> Path | None:
    return _SCRATCH if os.access(_SCRATCH, os.W_OK) else None


def sweep() -> None:
    """Throw away the folders of decoders whose daemon was killed amid a decoding."""
    for folder in Path(_scratch_root() or tempfile.gettempdir()).glob(f"{_SCRATCH_NAME}*"):
        # Another process of ours may be decoding just now; none takes minutes.
        if time.time() - folder.stat().st_mtime > _STALE_S:
            shutil.rmtree(folder, ignore_errors=True)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _blanked_frame(photo_block: bytes) -> bytes:
    lengths = _TEXT_BYTES.to_bytes(2, "big") + len(photo_block).to_bytes(2, "big")
    blank = " ".encode("utf-16-le") * (_TEXT_BYTES // 2)
    return encode_reply(_SUCCESS, lengths + blank + photo_block)


def build(
    kind: str,
    command: Sequence[str],
    given: str,
    timeout_s: float,
    one_colour: Callable[[bytes], bool],
    library: Library | None = None,
) -> PhotoDecoder:
    """Return the configured decoder. PhotoError E1302 for a kind without what it needs.

    `one_colour` decodes a PNG or JPEG, wherever that is safe, and says whether it shows nothing.
    """
    if kind == "command":
        program, whole_frame = list(command), given == "frame"
    elif kind == "simulated":
        program, whole_frame = list(_SIMULATED), False
    elif kind == "library" and library is not None:
        program, whole_frame = library.command(), given == "frame"
    else:
        raise PhotoError("E1302", kind=kind)
    return CommandDecoder(program, whole_frame=whole_frame, timeout_s=timeout_s, one_colour=one_colour)
