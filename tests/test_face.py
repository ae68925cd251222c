"""The face engine with its real weights; score, gates and alignment on their own."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from vision_support import need_weights, picture

from agent import images
from agent.catalogue import AgentError, entries
from agent.config.schema import FACE_THRESHOLD_FLOOR
from agent.config.schema import Face as FaceSettings
from agent.face import acceptance, align, chip, quality, reasons, score, weights
from agent.face.compare import face_compare
from agent.face.detector import Face
from agent.face.engine import FaceEngine, compare, load
from agent.face.score import SFACE
from agent.records import FaceResult
from agent.simulate import portraits


@pytest.fixture(scope="module")
def engine() -> FaceEngine:
    need_weights()
    loaded = load(FaceSettings())
    assert loaded is not None
    return loaded


Image = NDArray[np.uint8]


def seen_as_chip(name: str) -> Image:
    small = cv2.resize(picture(portraits.path(name)), (102, 126), interpolation=cv2.INTER_AREA)
    return images.decode(cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, 40])[1].tobytes())


@pytest.mark.parametrize("card", portraits.NAMES)
@pytest.mark.parametrize("person", portraits.NAMES)
def test_the_same_person_passes_and_another_does_not(engine: FaceEngine, card: str, person: str) -> None:
    frame = portraits.live(person)
    judged = engine.look(frame)
    assert judged.reason == ""
    assert judged.face is not None
    known = engine.card(seen_as_chip(card))
    assert known is not None
    verdict = compare(engine, known, [engine.embed(frame, judged.face)], 0.45)
    assert verdict.cosine is not None
    if card == person:
        assert verdict.result is FaceResult.PASSED
        assert verdict.cosine > 0.6
    else:
        assert verdict.result is FaceResult.FAILED
        assert verdict.cosine < 0.3
    assert (verdict.threshold, verdict.pass_score) == (0.45, 0.76)
    assert verdict.model == weights.find(None).model
    assert verdict.mapping == "sface-far-1"


#: Measured with these weights and portraits. Exchanged channels, another size or a broken runtime shift them
#: by more than the tolerance: (collins, hopper) would be 0.164.
COSINES = {
    ("collins", "collins"): 0.949,
    ("collins", "hopper"): 0.191,
    ("hopper", "collins"): 0.162,
    ("hopper", "hopper"): 0.969,
}


@pytest.mark.parametrize(("card", "person"), COSINES)
def test_known_pairs_give_their_known_cosines(engine: FaceEngine, card: str, person: str) -> None:
    known, frame = engine.card(picture(portraits.path(card))), portraits.live(person)
    face = engine.look(frame).face
    assert known is not None
    assert face is not None
    assert float(known @ engine.embed(frame, face)) == pytest.approx(COSINES[card, person], abs=0.012)
    kept = engine.embed_crop(engine.crop(frame, face))
    assert np.array_equal(kept, engine.embed(frame, face)), "a crop that is kept tells what its frame told"


def gate_picture(kind: str) -> Image:
    live: Image = portraits.live("collins")
    height, width = live.shape[:2]
    small = cv2.resize(live, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    far = np.full_like(live, 120)
    far[: small.shape[0], : small.shape[1]] = small
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 25, 1.0)
    pictures: dict[str, object] = {
        "no_face": np.full_like(live, 120),
        "several_people": np.hstack([live[:, 300:980], portraits.live("hopper")[:, 300:980]]),
        "too_far": far,
        "dark": live * 0.2,
        "over_exposed": np.clip(live.astype(np.int32) * 3, 0, 255),
        "turned": cv2.warpAffine(live, turn, (width, height)),
        "blurred": cv2.GaussianBlur(live, (0, 0), 14),
        "off_frame": live[:, 590:],
    }
    return np.asarray(pictures[kind]).astype(np.uint8)


@pytest.mark.parametrize(
    "kind",
    ["no_face", "several_people", "too_far", "off_frame", "dark", "over_exposed", "turned", "blurred"],
)
def test_each_gate_has_a_picture_that_it_alone_stops(engine: FaceEngine, kind: str) -> None:
    judged = engine.look(gate_picture(kind))
    assert judged.failed == (kind,)
    assert judged.reason == kind
    assert reasons.sentence(kind) in entries()


def test_every_reason_has_its_own_sentence() -> None:
    codes = list(reasons.SENTENCES.values())
    assert len(codes) == len(set(codes))
    assert set(codes) <= set(entries())


def test_a_blocky_card_picture_is_smoothed_and_a_good_one_left_alone(engine: FaceEngine) -> None:
    eyes = engine.look(picture(portraits.path("hopper"))).face
    assert eyes is not None
    good = chip.simulated(picture(portraits.path("hopper")), 40_000, eyes.landmarks)
    bad = chip.simulated(picture(portraits.path("hopper")), 1500, eyes.landmarks)
    assert good.shape == bad.shape == (126, 102, 3)
    assert chip.blockiness(good) < 1.3 < chip.BLOCKY < chip.blockiness(bad)
    assert chip.prepared(good) is good
    assert chip.blockiness(chip.prepared(bad)) < chip.blockiness(bad)
    # Both are still found, and still the same person.
    known, shabby = engine.card(good), engine.card(bad)
    assert known is not None
    assert shabby is not None
    assert float(known @ shabby) > 0.45


def face_at(x: float, size: float, confidence: float = 0.9) -> Face:
    landmarks = align.TEMPLATE * size / 112 + [x, 0]
    return Face((x, 0.0, size, size), landmarks, confidence)


def test_small_or_doubtful_faces_in_the_background_do_not_count() -> None:
    main = face_at(0, 200)
    assert quality.main_face([main, face_at(300, 60)]).reason == ""
    assert quality.main_face([main, face_at(300, 150, 0.65)]).reason == ""
    assert quality.main_face([main, face_at(300, 150)]).reason == "several_people"
    assert quality.main_face([]).reason == "no_face"


def test_sharpness_falls_with_blur_in_one_direction_and_not_with_darkness() -> None:
    rng = np.random.default_rng(1)
    texture = np.asarray(
        cv2.GaussianBlur(rng.integers(0, 255, (84, 80)).astype(np.float64), (0, 0), 1.0), np.float64
    )
    sharp = quality.sharpness(texture)
    for across in ((9, 1), (1, 9)):
        assert quality.sharpness(np.asarray(cv2.blur(texture, across), np.float64)) < 0.6 * sharp
    assert quality.sharpness(texture * 0.25) == pytest.approx(sharp, rel=1e-6)
    assert quality.sharpness(np.full((84, 80), 7.0)) == 0.0


angles = st.floats(-math.pi, math.pi)


@given(angles, st.floats(0.2, 8.0), st.floats(-500, 500), st.floats(-500, 500))
def test_alignment_undoes_any_rotation_scale_and_shift(
    angle: float, scale: float, x: float, y: float
) -> None:
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    landmarks = align.TEMPLATE @ turn.T + [x, y]
    matrix = align.similarity(landmarks)
    assert np.allclose(landmarks @ matrix[:, :2].T + matrix[:, 2], align.TEMPLATE, atol=1e-6)


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_the_score_is_monotone_within_bounds_and_never_above_the_truth(left: float, right: float) -> None:
    low, high = sorted((left, right))
    assert 0 <= SFACE.score(low) <= SFACE.score(high) <= 1
    assert SFACE.score(low, 2) <= SFACE.score(low, 6) + 1e-6


@given(st.floats(0.0, 0.8))
def test_the_mapping_can_be_inverted(cosine: float) -> None:
    assert SFACE.cosine_of(SFACE.score(cosine, 9)) == pytest.approx(cosine, abs=1e-6)


@pytest.mark.parametrize(
    ("cosine", "expected"), [(0.45, 0.76), (0.50, 0.84), (0.40, 0.66), (0.29, 0.40), (0.36, 0.60), (-0.3, 0.0), (0.9, 1.0)]
)  # fmt: skip
def test_the_scores_at_the_anchors(cosine: float, expected: float) -> None:
    assert SFACE.score(cosine) == expected


@given(st.floats(-0.02, 0.02), st.floats(0.40, 0.78))
def test_what_is_shown_decides_and_never_below_the_threshold(beside: float, threshold: float) -> None:
    cosine = threshold + beside
    shown, needed = SFACE.score(cosine), SFACE.pass_score(threshold)
    if shown >= needed:
        assert SFACE.exact(cosine) >= SFACE.exact(threshold) - 1e-8
    assert needed == round(needed, 2), "what passes can be shown"


def test_the_default_threshold_accounts_for_the_number_of_tries() -> None:
    assert [SFACE.default_threshold(tries) for tries in (1, 3, 5, 10)] == [0.45, 0.45, 0.46, 0.47]
    assert SFACE.default_threshold(1) >= FACE_THRESHOLD_FLOOR
    assert score.threshold_of(FaceSettings(attempts=10)) == 0.47
    assert score.threshold_of(FaceSettings(attempts=10, threshold=0.5)) == 0.5


def test_missing_or_altered_weights_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="E2201"):
        weights.find(str(tmp_path))
    need_weights()
    good = weights.find(None)
    for path in (good.detector, good.recogniser):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert weights.find(str(tmp_path)).model == good.model
    damaged = bytearray(good.recogniser.read_bytes())
    damaged[1000] ^= 1
    (tmp_path / good.recogniser.name).write_bytes(damaged)
    with pytest.raises(AgentError, match="E2202"):
        weights.find(str(tmp_path))


def test_comparing_two_files() -> None:
    need_weights()
    collins, hopper = (portraits.path(name).read_bytes() for name in portraits.NAMES)
    assert face_compare(collins, collins, FaceSettings()).result is FaceResult.PASSED
    assert face_compare(collins, hopper, FaceSettings()).result is FaceResult.FAILED
    nothing = cv2.imencode(".jpg", np.full((300, 300, 3), 99, np.uint8))[1].tobytes()
    empty = face_compare(collins, nothing, FaceSettings())
    assert (empty.result, empty.reason, empty.score) == (FaceResult.NOT_VERIFIED, "no_face", None)
    assert face_compare(b"x", collins, FaceSettings()).reason == "no_picture"


# --- a hospital's own recogniser: the same file again, as if it were a stranger's -------------------------


def own_model(**changes: Any) -> FaceSettings:
    """Return the settings of a model whose input rules are those of SFace, and whose thresholds are not."""
    model = weights.find(None).recogniser
    rules = {
        "model": str(model),
        "sha256": weights.RECOGNISERS[model.name],
        "mean": 0.0,
        "std": 1.0,
        "input_name": "data",
        "embedding": 128,
        "far_1e3": 0.50,
        "far_1e4": 0.60,
        "far_1e5": 0.70,
    }
    return FaceSettings.model_validate({"engine": "onnx", "onnx": {**rules, **changes}})


def test_a_hospitals_own_model_goes_by_its_own_rules_and_thresholds(engine: FaceEngine) -> None:
    need_weights()
    settings = own_model()
    own = load(settings)
    assert own is not None
    assert score.threshold_of(settings) == 0.65
    known, frame = engine.card(picture(portraits.path("collins"))), portraits.live("collins")
    face = own.look(frame).face
    assert face is not None
    assert known is not None
    assert float(known @ own.embed(frame, face)) == pytest.approx(0.949, abs=0.012)
    verdict = compare(own, known, [own.embed(frame, face)], 0.65)
    assert verdict.mapping.startswith("site-far-")
    assert verdict.model == weights.find(None).model
    # The same similarity, told on another scale: it is rarer here than with the built-in engine's figures.
    assert own.mapping.score(0.5) == 0.60
    assert SFACE.score(0.5) == 0.84
    swapped = load(own_model(channels="bgr"))
    assert swapped is not None
    assert float(known @ swapped.embed(frame, face)) < 0.93


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": "/nowhere/own.onnx"}, "E2201"),
        ({"sha256": "0" * 64}, "E2202"),
        ({"embedding": 512}, "E2203"),
        ({"side": 64}, "E2203"),
    ],
)
def test_a_model_that_does_not_fit_its_rules_is_one_clear_error(changes: dict[str, Any], code: str) -> None:
    need_weights()
    with pytest.raises(AgentError, match=code):
        load(own_model(**changes))


def test_a_file_that_is_no_model_is_told(tmp_path: Path) -> None:
    need_weights()
    (tmp_path / "own.onnx").write_bytes(b"no model")
    digest = hashlib.sha256(b"no model").hexdigest()
    with pytest.raises(AgentError, match="E2203"):
        load(own_model(model=str(tmp_path / "own.onnx"), sha256=digest))


def test_the_word_of_a_site_stands_for_its_model_and_threshold_alone(tmp_path: Path) -> None:
    need_weights()
    model, threshold = acceptance.in_force(FaceSettings())
    word = acceptance.Acceptance(model, threshold, "nurse", "2026-11-24T08:00:00+00:00").to_json()
    assert acceptance.stands(word, model, threshold)
    assert not acceptance.stands(word, model, 0.5)
    assert not acceptance.stands(word, "another", threshold)
    assert not acceptance.stands(None, model, threshold)
    for none in (FaceSettings(engine="none"), FaceSettings(weights_dir=str(tmp_path))):
        with pytest.raises(AgentError, match="E2426"):
            acceptance.in_force(none)
