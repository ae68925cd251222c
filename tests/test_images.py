"""JPEG within a bound for any picture, and nothing but whole pictures back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import images, jpeg
from agent.catalogue import AgentError
from agent.simulate import portraits
from drivers.errors import PhotoError


def noise(width: int, height: int, sigma: float = 60.0) -> np.ndarray:
    rng = np.random.default_rng(width * height)
    return np.clip(128 + rng.normal(0, sigma, (height, width, 3)), 0, 255).astype(np.uint8)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the encodings."""
    real, calls = images._encoded, []

    def counting(picture: np.ndarray, quality: int) -> bytes:
        calls.append(quality)
        return real(picture, quality)

    monkeypatch.setattr(images, "_encoded", counting)
    return calls


def test_a_camera_picture_is_encoded_once_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    made = images.encode(portraits.live("collins"), 250_000, 2_250_000)
    assert calls == [images.TOP_QUALITY]
    assert jpeg.is_whole(made)
    assert images.decode(made).shape == (720, 1280, 3)
    assert b"Exif" not in made
    assert b"\xff\xc2" not in made[:2000], "progressive: some old decoders refuse it"


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080), (3840, 2160), (4656, 3496)])
@pytest.mark.parametrize("target", [250_000, 60_000])
def test_any_camera_size_meets_bound_and_target_within_four_encodings(
    width: int, height: int, target: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted(monkeypatch)
    base = cv2.resize(portraits.live("collins"), (width, height), interpolation=cv2.INTER_CUBIC)
    grain = cv2.resize(noise(320, 240, 8.0), (width, height)) // 8
    picture = np.asarray(cv2.add(base, grain), np.uint8)
    jpeg = images.encode(picture, target, 2_250_000)
    assert len(calls) <= images.MAX_ENCODES
    assert 0.4 * target <= len(jpeg) <= 1.15 * target
    found = images.decode(jpeg)
    assert found.shape[1] / found.shape[0] == pytest.approx(width / height, rel=0.02)


@settings(max_examples=25, deadline=None)
@given(st.integers(70, 700), st.integers(70, 700), st.integers(9_000, 200_000))
def test_noise_of_any_size_never_exceeds_the_bound(width: int, height: int, bound: int) -> None:
    assert len(images.encode(noise(width, height), bound, bound)) <= bound


def test_a_bound_that_cannot_be_met_is_told() -> None:
    with pytest.raises(AgentError, match="E2501"):
        images.encode(noise(800, 800), 200, 200)


def test_smaller_once() -> None:
    made = images.encode(portraits.live("collins"), 250_000, 2_250_000)
    less = images.smaller(made, 0.5)
    assert len(less) <= 0.5 * len(made)
    assert jpeg.is_whole(less)


def test_a_picture_comes_back_upright_by_its_exif_tag() -> None:
    jpeg = cv2.imencode(".jpg", np.zeros((300, 400, 3), np.uint8))[1].tobytes()
    tiff = b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
    exif = b"Exif\x00\x00" + tiff
    tagged = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    assert images.decode(tagged).shape[:2] == (400, 300)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_a_picture_cut_short_is_refused(share: float) -> None:
    jpeg = images.encode(portraits.live("collins"), 250_000, 2_250_000)
    with pytest.raises(PhotoError, match="E1303"):
        images.decode(jpeg[: int(len(jpeg) * share)])


@pytest.mark.parametrize(
    "head",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (60_000).to_bytes(4, "big") * 2,
        b"BM" + bytes(16) + (60_000).to_bytes(4, "little") * 2,
        b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x00",
    ],
)
def test_a_picture_that_announces_too_much_is_refused_before_anything_is_allocated(head: bytes) -> None:
    with pytest.raises(PhotoError, match="too large"):
        images.decode(head + bytes(100))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_picture_or_refused(data: bytes) -> None:
    with pytest.raises(PhotoError):
        images.decode(data)


def exif(orientation: int) -> bytes:
    """Return an APP1 segment that names an orientation, and a place nobody is to learn of."""
    entry = b"\x12\x01\x03\x00\x01\x00\x00\x00" + orientation.to_bytes(4, "little")
    content = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00" + entry + bytes(4) + b"GPS 22.81N 108.36E"
    return b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content


def plain(options: tuple[int, ...] = ()) -> bytes:
    picture = cv2.resize(portraits.live("collins"), (640, 360), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", picture, [*options])[1].tobytes()


def test_what_a_kiosk_hands_in_keeps_its_pixels_and_loses_its_metadata() -> None:
    given = plain()
    comment = b"\xff\xfe\x00\x07nurse"
    assert images.accepted(given, 2_000_000) == given
    tagged = given[:2] + exif(1) + comment + given[2:]
    assert images.accepted(tagged, 2_000_000) == given


@pytest.mark.parametrize("kind", ["progressive", "turned", "large", "png"])
def test_what_must_be_is_encoded_anew(kind: str) -> None:
    given, bound = plain(), 2_000_000
    if kind == "progressive":
        given = plain((cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    elif kind == "turned":
        given = given[:2] + exif(6) + given[2:]
    elif kind == "large":
        bound = len(given) // 2
    else:
        given = cv2.imencode(".png", images.decode(given))[1].tobytes()
    got = images.accepted(given, bound)
    assert got != given
    assert len(got) <= bound
    assert b"GPS" not in got
    assert jpeg.without_metadata(got) == got, "baseline, upright, bare"
    found = images.decode(got)
    assert (found.shape[1] / found.shape[0] < 1) == (kind == "turned")


@given(st.binary(max_size=300), st.integers(0, 400))
def test_a_jpeg_spoilt_anywhere_is_taken_apart_without_harm(noise: bytes, at: int) -> None:
    given = plain()
    spoilt = given[:at] + noise + given[at + len(noise) :]
    jpeg.size(spoilt)
    jpeg.without_metadata(spoilt)
    jpeg.orientation(noise)
    jpeg.orientation(b"Exif\0\0II*\0" + noise)
