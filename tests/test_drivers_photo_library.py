"""Vendors' photo libraries: every call style against a small C library of ours, and everything that fails."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures_support import PICTURE_CHILD

from agent.config.schema import PhotoDecoder as Settings
from agent.decoding import decoder
from drivers import photo, picture
from drivers.errors import PhotoError
from drivers.photo_child import CALLS, RAW_BYTES

BLOCK = bytes.fromhex("574C66007E00") + bytes(range(250)) * 4 + bytes(18)

#: Draws a picture whose pixel (column, row) is (blue=column, green=row, red=first byte of the block), raw or as a BMP.
SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define W 102
#define H 126
static int whole;
static const unsigned char *block(const char *wlt) { whole = (unsigned char)wlt[0] == 0xAA; return (const unsigned char *)wlt + (whole ? 270 : 0); }
static void raw(const char *wlt, unsigned char *out) {
    const unsigned char *b = block(wlt);
    for (int y = 0; y < H; y++) for (int x = 0; x < W; x++) {
        unsigned char *p = out + (y * W + x) * 3; p[0] = x; p[1] = y; p[2] = b[0];
    }
}
static int bmp(const char *wlt, unsigned char *out) {
    static unsigned char pixels[W * H * 3];
    int stride = W * 3 + 2, size = 54 + stride * H, zero = 0, w = W, h = H;
    short planes = 1, bits = 24; int head = 40, start = 54;
    raw(wlt, pixels); memset(out, 0, size);
    memcpy(out, "BM", 2); memcpy(out + 2, &size, 4); memcpy(out + 10, &start, 4); memcpy(out + 14, &head, 4);
    memcpy(out + 18, &w, 4); memcpy(out + 22, &h, 4); memcpy(out + 26, &planes, 2); memcpy(out + 28, &bits, 2);
    (void)zero;
    for (int y = 0; y < H; y++) memcpy(out + 54 + stride * (H - 1 - y), pixels + y * W * 3, W * 3);
    return size;
}
int wlt2bmpBuffer(unsigned char *wlt, unsigned char *out, int size) { puts("vendor chatter"); bmp((char *)wlt, out); return size > 38862; }
int DecodingPhotos(char *wlt, int length, char *out, int size) { return length >= 1024 && size > 38862 ? bmp(wlt, (unsigned char *)out) : 0; }
int iDR220S_Dewlt(unsigned char *wlt, unsigned char *out) { bmp((char *)wlt, out); return 1; }
int MT_Wlt2RGB(unsigned char *wlt, unsigned char *out, int code, int save, char *path) { raw((char *)wlt, out); return code == 708 && !save ? 0 : -1; }
static int file(const char *from, const char *to) {
    static char given[4096]; static unsigned char out[65536];
    FILE *f = fopen(from, "rb"); if (!f) return 0; fread(given, 1, sizeof given, f); fclose(f);
    int size = bmp(given, out); f = fopen(to, "wb"); fwrite(out, 1, size, f); fclose(f); return 1;
}
int GetBmp(const char *path, int port) { char to[4096]; strcpy(to, path); strcpy(strrchr(to, '.'), ".bmp"); FILE *f = fopen("litter", "w"); fclose(f); return port == 2 ? file(path, to) : -6; }
int GetBmpFile(const char *from, const char *to) { return file(from, to) ? 0 : 1; }
#if UNPACK
int unpack(char *wlt, char *out, int code) {
    switch (code) {
    case 1: abort();
    case 2: sleep(60); return 0;
    case 3: return 0;
    case 4: memset(out, 7, W * H * 3); return 0;
    case 5: exit(3);
    default: raw(wlt, (unsigned char *)out); return 0;
    }
}
#endif
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the vendor's library."""
    folder = tmp_path_factory.mktemp("vendor")
    (folder / "vendor.c").write_text(SOURCE)
    target = folder / "libvendor.so"
    _cc(folder, target, "-DUNPACK=1")
    return target


def _cc(folder: Path, target: Path, *flags: str) -> None:
    try:
        subprocess.run(
            ["cc", "-w", "-shared", "-fPIC", *flags, "-o", str(target), str(folder / "vendor.c")], check=True
        )
    except FileNotFoundError:
        pytest.skip("no C compiler")


def made(
    library: Path, call: str, *, given: str = "block", timeout_s: float = 20.0, **chosen: object
) -> photo.PhotoDecoder:
    settings = {
        "kind": "library",
        "input": given,
        "timeout_s": timeout_s,
        "library": {"path": str(library), "call": call, **chosen},
    }
    return decoder(Settings.model_validate(settings), PICTURE_CHILD.one_colour)


def shown(decoded: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = cv2.imdecode(np.frombuffer(decoded, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image, np.uint8)


CODES = {"mt-wlt2rgb": 708, "get-bmp": 2}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("given", ["block", "frame"])
def test_every_call_style_gives_the_picture(
    library: Path, call: str, given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo, "_SCRATCH", tmp_path)
    # What raw pixels mean is the site's to say; this library writes them from the top.
    image = shown(
        made(library, call, given=given, rows="top-down", vendor_code=CODES.get(call, 0)).decode(BLOCK)
    )
    assert image.shape == (126, 102, 3)
    assert image[0, 0].tolist() == [0, 0, 0x57]
    assert image[125, 101].tolist() == [101, 125, 0x57]
    assert list(tmp_path.iterdir()) == [], "the photograph is left as a file"


def test_pixel_and_row_order_are_configured(library: Path) -> None:
    image = shown(made(library, "unpack", pixels="rgb", rows="bottom-up").decode(BLOCK))
    assert image[125, 101].tolist() == [0x57, 0, 101]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1, "status -6"),
        (2, "no answer within"),
        (3, "gave an empty picture"),
        (4, "all of one colour"),
        (5, "status 3"),
    ],
)
def test_what_a_library_does_wrong_is_told(library: Path, code: int, reason: str) -> None:
    with pytest.raises(PhotoError, match="E1301") as wrong:
        made(library, "unpack", vendor_code=code, timeout_s=2.0 if code == 2 else 20.0).decode(BLOCK)
    assert reason in wrong.value.facts["reason"]


def test_a_library_that_refuses_lacks_the_function_or_is_none(library: Path, tmp_path: Path) -> None:
    other = tmp_path / "libother.so"
    _cc(library.parent, other)
    for decoding, reason in (
        (made(library, "get-bmp", vendor_code=1), "refused the block"),
        (made(other, "unpack"), "no function for unpack"),
        (made(Path(__file__), "unpack"), "cannot be loaded"),
        (made(tmp_path / "none.so", "unpack"), "cannot be loaded"),
    ):
        with pytest.raises(PhotoError) as wrong:
            decoding.decode(BLOCK)
        assert reason in wrong.value.facts["reason"]


def test_the_mangled_name_is_found_too(library: Path, tmp_path: Path) -> None:
    mangled = tmp_path / "libmangled.so"
    _cc(library.parent, mangled, "-DUNPACK=1", "-Dunpack=_Z6unpackPcS_i")
    assert shown(made(mangled, "unpack").decode(BLOCK)).shape == (126, 102, 3)


def test_what_a_killed_daemon_left_is_swept_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo, "_SCRATCH", tmp_path)
    old, fresh = tmp_path / "kiosk-agent-photo-old", tmp_path / "kiosk-agent-photo-fresh"
    for folder in (old, fresh, tmp_path / "somebody-elses"):
        folder.mkdir()
    (old / "photo.wlt").write_bytes(BLOCK)
    os.utime(old, (1, 1))
    photo.build("command", ["/bin/true"], "block", 1.0, PICTURE_CHILD.one_colour)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kiosk-agent-photo-fresh", "somebody-elses"]


def test_another_interpreter_can_be_named(library: Path, tmp_path: Path) -> None:
    """A 32-bit library wants a 32-bit interpreter; any other program stands for it here."""
    helper = tmp_path / "python32"
    helper.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\nexec {sys.executable} "$@"\n')
    helper.chmod(0o755)
    made(library, "dewlt", helper=[str(helper), "-I"]).decode(BLOCK)
    assert (tmp_path / "called").read_text().split()[1].endswith("photo_child.py")


def test_a_kind_without_its_library_is_refused() -> None:
    with pytest.raises(PhotoError, match="E1302"):
        photo.build("library", [], "block", 1.0, PICTURE_CHILD.one_colour)


def jpeg(width: int, height: int, colour: Sequence[int], *, noisy: bool) -> bytes:
    image = np.full((height, width, 3), colour, np.uint8)
    if noisy:
        image[::2] = 255 - image[::2]
    return cv2.imencode(".jpg", image)[1].tobytes()


def test_size_and_variety_of_every_kind_of_picture() -> None:
    assert picture.fault(jpeg(102, 126, (10, 20, 30), noisy=True), PICTURE_CHILD.one_colour) is None
    assert (
        picture.fault(jpeg(102, 126, (10, 20, 30), noisy=False), PICTURE_CHILD.one_colour)
        == "its picture is all of one colour"
    )
    assert (
        picture.fault(jpeg(64, 64, (10, 20, 30), noisy=True), PICTURE_CHILD.one_colour)
        == "its picture is 64x64, not 102x126"
    )
    png = cv2.imencode(".png", np.zeros((126, 102, 3), np.uint8))[1].tobytes()
    assert picture.fault(png, PICTURE_CHILD.one_colour) == "its picture is all of one colour"
    assert picture.fault(b"BM" + bytes(10), PICTURE_CHILD.one_colour) == "its picture cannot be read"
    assert picture.fault(b"\xff\xd8\xff", PICTURE_CHILD.one_colour) == "its picture cannot be read"
    assert struct.unpack_from(">II", png, 16) == (102, 126)
    assert RAW_BYTES == 38556
