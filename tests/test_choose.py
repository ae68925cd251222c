"""Which frames are compared: apart in time, one face, the best ones, whatever comes before the camera."""

from __future__ import annotations

import itertools
import weakref

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.face.quality import Quality
from agent.face.recogniser import Embedding
from agent.vision.choose import AGREE, APART_S, FRAMES, KEPT, Candidate, Shot, choose, keep
from drivers.camera import Frame

PIXEL = np.zeros((1, 1, 3), np.uint8)


def candidate(at: float, person: int, sharpness: float = 1.5, reason: str = "") -> Candidate:
    """Return a frame of one of four people, each at right angles to the others."""
    measured = Quality(100.0, 0.0, 0.0, 0.55, 0.0, 120.0, 0.0, sharpness)
    embedding = np.zeros(4, np.float32)
    embedding[person] = 1.0
    shot = Shot(Frame(PIXEL.copy(), at), lambda image: b"%f" % at)
    return Candidate(shot, PIXEL, measured, reason, embedding)


def known(one: Candidate) -> Embedding:
    assert one.embedding is not None
    return one.embedding


def test_the_best_three_apart_are_chosen() -> None:
    frames = [candidate(0.2 * number, 0, 1.0 + 0.1 * number) for number in range(8)]
    chosen = choose(frames, known)
    assert [round(one.at, 1) for one in chosen.frames] == [1.4, 1.0, 0.6]
    assert not chosen.disagreed


def test_somebody_who_steps_in_is_not_averaged() -> None:
    frames = [
        candidate(0.4 * number, 1 if number == 2 else 0, 2.0 if number == 2 else 1.0) for number in range(5)
    ]
    chosen = choose(frames, known)
    assert len(chosen.frames) == FRAMES
    assert {int(np.argmax(known(one))) for one in chosen.frames} == {0}
    assert chosen.disagreed


def test_a_good_frame_goes_before_a_sharper_one_that_a_gate_stopped() -> None:
    chosen = choose([candidate(0.0, 0, 2.0, "dark"), candidate(0.4, 0, 0.8)], known)
    assert [one.reason for one in chosen.frames] == ["", "dark"]


made = st.builds(
    candidate,
    st.floats(0, 20),
    st.integers(0, 3),
    st.floats(0.0, 3.0),
    st.sampled_from(["", "", "blurred", "dark"]),
)


@given(st.lists(made, max_size=12))
def test_what_is_chosen_is_apart_and_of_one_face(frames: list[Candidate]) -> None:
    chosen = choose(frames, known).frames
    assert len(chosen) == min(len(chosen), FRAMES)
    assert bool(chosen) == bool(frames)
    for one, other in itertools.combinations(chosen, 2):
        assert abs(one.at - other.at) >= APART_S
        assert float(known(one) @ known(other)) >= AGREE


@given(st.lists(made, max_size=40))
def test_few_frames_are_kept_the_newest_always_and_pixels_of_the_best_alone(frames: list[Candidate]) -> None:
    kept: list[Candidate] = []
    pixels = [weakref.ref(one.shot._image) for one in frames]
    for number, one in enumerate(frames, 1):
        keep(kept, one)
        assert kept[-1] is one
        assert len(kept) <= KEPT
        whole = sum(picture() is not None for picture in pixels[:number])
        assert whole == 1, "the pixels of every frame but the best one are given back"
    assert all(one.shot.jpeg() == b"%f" % one.at for one in kept)
