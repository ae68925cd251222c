"""Decoder programs that behave and that do not; cameras that are files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from drivers_support import script, until
from pictures_support import PICTURE_CHILD
from vision_support import picture

from agent.simulate import portraits
from drivers import photo
from drivers.camera import Camera, View, open_camera
from drivers.camera_source import is_file_source
from drivers.errors import CameraError, PhotoError
from drivers.simulator.cards import photo_block

BLOCK = bytes.fromhex("574C66007E00") + bytes(1018)
BMP = cv2.imencode(".bmp", np.arange(126 * 102 * 3, dtype=np.uint8).reshape(126, 102, 3))[1].tobytes()


def command(program: list[str], *, whole: bool = False, timeout_s: float = 5.0) -> photo.CommandDecoder:
    return photo.CommandDecoder(
        program, whole_frame=whole, timeout_s=timeout_s, one_colour=PICTURE_CHILD.one_colour
    )


def test_the_simulated_decoder_shows_the_portrait_and_refuses_a_real_block() -> None:
    decoder = photo.build("simulated", [], "block", 20.0, PICTURE_CHILD.one_colour)
    shown = cv2.imdecode(
        np.frombuffer(decoder.decode(photo_block(portraits.path("collins"))), np.uint8), cv2.IMREAD_COLOR
    )
    assert shown is not None
    assert shown.shape == (126, 102, 3)
    original = cv2.resize(picture(portraits.path("collins")), (102, 126), interpolation=cv2.INTER_AREA)
    assert float(np.mean(cv2.absdiff(shown, original))) < 12
    with pytest.raises(PhotoError, match="status 3"):
        decoder.decode(BLOCK)


def test_a_program_gets_the_block_and_nothing_else(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    (tmp_path / "bmp").write_bytes(BMP)
    program = script(tmp_path / "d", f"cat > {seen}; env > {seen}.env; cat {tmp_path}/bmp\n")
    assert command(program).decode(BLOCK) == BMP
    assert seen.read_bytes() == BLOCK
    assert "PYTHON" not in Path(f"{seen}.env").read_text()


def test_a_program_that_wants_the_whole_answer_gets_it_with_the_text_blanked(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    (tmp_path / "bmp").write_bytes(BMP)
    program = script(tmp_path / "d", f"cat > {seen}; cat {tmp_path}/bmp\n")
    assert command(program, whole=True).decode(BLOCK) == BMP
    frame = seen.read_bytes()
    assert len(frame) == 1295
    assert frame.startswith(bytes.fromhex("AAAAAA9669 0508 000090 0100 0400"))
    assert frame[14:270].decode("utf-16-le").strip() == ""
    assert frame[270:-1] == BLOCK


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("exit 7\n", "status 7"),
        ("kill -SEGV $$\n", "status -11"),
        ("printf garbage\n", "no picture"),
        ("exit 0\n", "no picture"),
        ("printf BM\n", "its picture cannot be read"),
        ("sleep 30\n", "no answer within"),
        ("sleep 30 & wait\n", "no answer within"),
    ],
)
def test_a_program_that_fails_is_told_by_its_reason(tmp_path: Path, body: str, reason: str) -> None:
    with pytest.raises(PhotoError, match="E1301") as failed:
        command(script(tmp_path / "d", body), timeout_s=0.5).decode(BLOCK)
    assert reason in failed.value.facts["reason"]


def test_a_program_that_hangs_leaves_no_helper_behind(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = script(tmp_path / "d", f"sleep 300 & echo $! > {pid_file}; wait\n")
    with pytest.raises(PhotoError):
        command(program, timeout_s=0.5).decode(BLOCK)
    helper = int(pid_file.read_text())
    until(lambda: not _running(helper))


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_missing_program_an_empty_block_and_an_unknown_kind_are_told(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="No such file"):
        command([str(tmp_path / "none")]).decode(BLOCK)
    with pytest.raises(PhotoError, match="no photo block"):
        command(["/bin/cat"]).decode(b"")
    with pytest.raises(PhotoError, match="E1302"):
        photo.build("library", [], "block", 1.0, PICTURE_CHILD.one_colour)


def picture_file(path: Path, width: int = 64, height: int = 48) -> Path:
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2] = (255, 0, 0)
    assert cv2.imwrite(str(path), image)
    return path


def read_once(source: Path, view: View | None = None) -> np.ndarray:
    camera: Camera = open_camera(str(source), view or View())
    try:
        return camera.read().image
    finally:
        camera.close()


def test_a_picture_file_is_a_camera_with_times_that_grow_at_its_rate(tmp_path: Path) -> None:
    camera = open_camera(str(picture_file(tmp_path / "a.png")), View())
    started = time.monotonic()
    times = [camera.read().at for _ in range(4)]
    camera.close()
    assert times == sorted(times)
    assert started <= times[0]
    assert times[-1] - times[0] > 2.5 / 15


@pytest.mark.parametrize(
    ("view", "blue_at"),
    [
        (View(), (24, 2)),
        (View(mirror=True), (24, 61)),
        (View(rotate=90), (2, 24)),
        (View(rotate=180), (24, 61)),
        (View(rotate=270), (61, 24)),
    ],
)
def test_the_view_is_turned_as_configured(tmp_path: Path, view: View, blue_at: tuple[int, int]) -> None:
    image = read_once(picture_file(tmp_path / "a.png"), view)
    assert tuple(image[blue_at]) == (255, 0, 0)
    assert image.shape[:2] == ((48, 64) if view.rotate in {0, 180} else (64, 48))


def test_a_video_file_starts_again_when_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    camera = open_camera(str(path), View())
    frames = [camera.read() for _ in range(8)]
    camera.close()
    assert all(frame.image.shape == (48, 64, 3) for frame in frames)


def test_what_is_no_camera_is_told_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="not there"):
        open_camera(str(tmp_path / "none.png"), View())
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(CameraError, match="not a picture"):
        open_camera(str(tmp_path / "bad.png"), View())
    (tmp_path / "bad.avi").write_bytes(b"no video")
    with pytest.raises(CameraError, match="does not open"):
        open_camera(str(tmp_path / "bad.avi"), View())
    if not list(Path("/dev").glob("video*")):
        with pytest.raises(CameraError, match="no /dev/video"):
            open_camera("auto", View())


def test_a_stream_that_does_not_answer_is_told_without_its_password() -> None:
    with pytest.raises(CameraError) as refused:
        open_camera("rtsp://user@127.0.0.1:1/stream", View(), password="s3cret")
    assert "s3cret" not in str(refused.value)
    assert "s3cret" not in repr(refused.value.facts)


def test_only_files_count_as_files() -> None:
    assert is_file_source("a.png")
    assert not any(is_file_source(source) for source in ("auto", "none", "/dev/video0", "rtsp://x/y"))
    assert os.path.exists(portraits.path("collins"))
