"""Calls a vendor's photo library once: the block on standard input, a picture on standard output.

    python -I photo_child.py LIBRARY CALL CODE PIXELS ROWS

Runs as a program of its own, in a folder of its own that is thrown away: such libraries crash, print, keep
global state and write files. Needs nothing but the standard library, so that a 32-bit interpreter will do
for a 32-bit library. The call styles are those of public headers and samples; CODE is the "vendor code"
some of them want (708, 752, 0).

    unpack            int unpack(char *wlt, char *out, int code)         also mangled, _Z6unpackPcS_i
    wlt2bmp-buffer    int wlt2bmpBuffer(uchar *wlt, uchar *out, int size)          1 is success
    decoding-photos   int DecodingPhotos(char *wlt, int len, char *bmp, int size)  returns the size
    dewlt             int iDR220S_Dewlt(uchar *wlt, uchar *bmp)                    1 is success
    mt-wlt2rgb        int MT_Wlt2RGB(uchar *wlt, uchar *rgb, int code, int save, char *path)   0 is success
    get-bmp           int GetBmp(char *wlt_file, int code)               writes .bmp beside the file; 1
    get-bmp-file      int GetBmpFile(char *wlt_file, char *bmp_file)     0 is success
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

WIDTH, HEIGHT = 102, 126
RAW_BYTES = WIDTH * HEIGHT * 3
#: More than any of them was seen to write; the guard behind it shows one that writes more.
OUT_BYTES = 2 * 65536
REFUSED, NO_LIBRARY, NO_FUNCTION, NO_PICTURE = 4, 5, 6, 7
MAX_INPUT = 65536
_PICTURES = (b"BM", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")

#: Takes the library, the block and the code; returns what was written, None when the library refused.
Call = Callable[[ctypes.CDLL, bytes, int], "bytes | None"]


def _buffers(block: bytes) -> tuple[ctypes.Array[ctypes.c_char], ctypes.Array[ctypes.c_char]]:
    return ctypes.create_string_buffer(block, len(block) + 1), ctypes.create_string_buffer(OUT_BYTES)


def _unpack(library: ctypes.CDLL, block: bytes, code: int) -> bytes | None:
    given, out = _buffers(block)
    try:
        function = library.unpack
    except AttributeError:
        function = library._Z6unpackPcS_i
    # What it returns differs from one build to the next; whether a picture came tells.
    function(given, out, ctypes.c_int(code))
    return out.raw


def _wlt2bmp_buffer(library: ctypes.CDLL, block: bytes, _code: int) -> bytes | None:
    given, out = _buffers(block)
    return out.raw if library.wlt2bmpBuffer(given, out, ctypes.c_int(OUT_BYTES)) == 1 else None


def _decoding_photos(library: ctypes.CDLL, block: bytes, _code: int) -> bytes | None:
    given, out = _buffers(block)
    size = library.DecodingPhotos(given, ctypes.c_int(len(block)), out, ctypes.c_int(OUT_BYTES))
    return out.raw[:size] if 0 < size <= OUT_BYTES else None


def _dewlt(library: ctypes.CDLL, block: bytes, _code: int) -> bytes | None:
    given, out = _buffers(block)
    return out.raw if library.iDR220S_Dewlt(given, out) == 1 else None


def _mt_wlt2rgb(library: ctypes.CDLL, block: bytes, code: int) -> bytes | None:
    given, out = _buffers(block)
    result = library.MT_Wlt2RGB(given, out, ctypes.c_int(code), ctypes.c_int(0), ctypes.c_char_p(b""))
    return out.raw if result == 0 else None


def _get_bmp(library: ctypes.CDLL, block: bytes, code: int) -> bytes | None:
    given, written = Path("photo.wlt"), Path("photo.bmp")
    given.write_bytes(block)
    result = library.GetBmp(ctypes.c_char_p(os.fsencode(given.resolve())), ctypes.c_int(code))
    return written.read_bytes() if result == 1 and written.exists() else None


def _get_bmp_file(library: ctypes.CDLL, block: bytes, _code: int) -> bytes | None:
    given, written = Path("photo.wlt").resolve(), Path("photo.bmp").resolve()
    given.write_bytes(block)
    names = ctypes.c_char_p(os.fsencode(given)), ctypes.c_char_p(os.fsencode(written))
    return written.read_bytes() if library.GetBmpFile(*names) == 0 and written.exists() else None


CALLS: dict[str, Call] = {
    "unpack": _unpack,
    "wlt2bmp-buffer": _wlt2bmp_buffer,
    "decoding-photos": _decoding_photos,
    "dewlt": _dewlt,
    "mt-wlt2rgb": _mt_wlt2rgb,
    "get-bmp": _get_bmp,
    "get-bmp-file": _get_bmp_file,
}


def picture(written: bytes, pixels: str, rows: str) -> bytes:
    """Return a picture file as it is, or a BMP of 102 x 126 raw pixels in the configured order."""
    if written.startswith(b"BM"):
        return written[: struct.unpack_from("<I", written, 2)[0]]
    if written.startswith(_PICTURES):
        return written.rstrip(b"\0")
    raw = written[:RAW_BYTES]
    if pixels == "rgb":
        swapped = bytearray(raw)
        swapped[0::3], swapped[2::3] = raw[2::3], raw[0::3]
        raw = bytes(swapped)
    stride = WIDTH * 3
    lines = [raw[start : start + stride] + b"\0\0" for start in range(0, RAW_BYTES, stride)]
    # A BMP stands on its head.
    body = b"".join(lines if rows == "bottom-up" else reversed(lines))
    head = struct.pack("<2sIHHI", b"BM", 54 + len(body), 0, 0, 54)
    return head + struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 24, 0, len(body), 2835, 2835, 0, 0) + body


def main(arguments: Sequence[str]) -> int:
    """Decode one block. Return the exit status."""
    path, call, code, pixels, rows = arguments
    # Whatever the library prints goes nowhere, so that only the picture comes out.
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        library = ctypes.CDLL(path)
    except OSError:
        return NO_LIBRARY
    block = sys.stdin.buffer.read(MAX_INPUT)
    try:
        written = CALLS[call](library, block, int(code))
    except AttributeError:
        return NO_FUNCTION
    if written is None:
        return REFUSED
    if not any(written[:RAW_BYTES]):
        return NO_PICTURE
    with os.fdopen(out, "wb") as stream:
        stream.write(picture(written, pixels, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
