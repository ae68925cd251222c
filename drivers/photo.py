"""The chip's photo block into a picture: always a program of its own, with a time limit.

No open decoder of the chip's format exists; the vendor's libraries crash, keep global state and write
files. So whatever decodes runs in another process, gets the block on standard input and answers with a
BMP, PNG or JPEG on standard output and exit status 0.

It is given the photo alone. Where it wants the reader's whole answer (`input: frame`), the text in that
answer is blanked: a decoder has no business with name and number.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Protocol

from drivers.errors import PhotoError
from drivers.sdt.frames import encode_reply

PHOTO_BYTES = 1024
_TEXT_BYTES = 256
_SUCCESS = b"\x00\x00\x90"
#: 102 x 126 in 24 bits is 38,862 bytes; whatever is far beyond is not the card's picture.
MAX_PICTURE_BYTES = 4 * 2**20
_PICTURES = (b"BM", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
#: Demo and tests only: refuses real blocks. Named, not imported: the product knows no simulator.
_SIMULATED = (sys.executable, "-I", "-m", "drivers.simulator.photo_decoder")


class PhotoDecoder(Protocol):
    """Makes pictures of photo blocks."""

    def decode(self, photo_block: bytes) -> bytes:
        """Return a BMP, PNG or JPEG. PhotoError, naming the reason, when there is none to be had."""
        ...


class CommandDecoder:
    """Runs a program for each block."""

    def __init__(self, command: Sequence[str], *, whole_frame: bool, timeout_s: float) -> None:
        self._command = list(command)
        self._whole_frame = whole_frame
        self._timeout_s = timeout_s

    def decode(self, photo_block: bytes) -> bytes:
        """Return the program's picture. PhotoError for a crash, a time-out, or what is no picture."""
        if not photo_block:
            raise PhotoError(reason="the card has no photo block")
        given = _blanked_frame(photo_block) if self._whole_frame else photo_block
        picture = self._run(given)
        if not picture.startswith(_PICTURES):
            raise PhotoError(reason=f"the decoder's {len(picture)} bytes are no picture")
        if len(picture) > MAX_PICTURE_BYTES:
            raise PhotoError(reason=f"the decoder's picture has {len(picture)} bytes")
        return picture

    def _run(self, given: bytes) -> bytes:
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # a vendor's chatter may quote what it was given
                cwd="/",
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                start_new_session=True,
            )
        except OSError as error:
            raise PhotoError(reason=f"{self._command[0]}: {error.strerror}") from error
        with process:
            try:
                picture, _ = process.communicate(given, timeout=self._timeout_s)
            except subprocess.TimeoutExpired:
                raise PhotoError(reason=f"no answer within {self._timeout_s:g} s") from None
            finally:
                # The whole group: a decoder may have started helpers that hold our pipe.
                _kill_group(process)
        if process.returncode != 0:
            raise PhotoError(reason=f"the decoder ended with status {process.returncode}")
        return picture


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _blanked_frame(photo_block: bytes) -> bytes:
    lengths = _TEXT_BYTES.to_bytes(2, "big") + len(photo_block).to_bytes(2, "big")
    blank = " ".encode("utf-16-le") * (_TEXT_BYTES // 2)
    return encode_reply(_SUCCESS, lengths + blank + photo_block)


def build(kind: str, command: Sequence[str], given: str, timeout_s: float) -> PhotoDecoder:
    """Return the configured decoder. PhotoError E1302 for a kind that this version does not have."""
    if kind == "command":
        return CommandDecoder(command, whole_frame=given == "frame", timeout_s=timeout_s)
    if kind == "simulated":
        return CommandDecoder(_SIMULATED, whole_frame=False, timeout_s=timeout_s)
    raise PhotoError("E1302", kind=kind)
