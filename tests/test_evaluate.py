"""`face evaluate`: rates against what can be counted by hand, a run cut off, a chip simulated."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from vision_support import need_weights

from agent import images
from agent.catalogue import AgentError
from agent.config.schema import Face
from agent.face.engine import FaceEngine, load
from agent.face.evaluate import dataset, pictures, report, work
from agent.face.evaluate.statistics import Evaluation, Rate, add, empty
from agent.simulate import portraits


def counts(cosines: list[float]) -> NDArray[np.int64]:
    found = empty()
    add(found, np.array(cosines, np.float32))
    return found


cosine_lists = st.lists(st.integers(-10_000, 10_000).map(lambda step: step / 10_000), min_size=1, max_size=60)


@given(cosine_lists, cosine_lists, st.integers(-10_000, 10_000).map(lambda step: step / 10_000))
def test_rates_are_what_counting_by_hand_gives(
    genuine: list[float], impostor: list[float], at: float
) -> None:
    row = Evaluation(counts(genuine), counts(impostor)).at(at)
    assert (row.far.events, row.far.trials) == (sum(cosine >= at for cosine in impostor), len(impostor))
    assert (row.frr.events, row.frr.trials) == (sum(cosine < at for cosine in genuine), len(genuine))


@given(st.integers(0, 2000), st.integers(1, 2000))
def test_an_interval_holds_its_share(events: int, trials: int) -> None:
    rate = Rate(min(events, trials), trials)
    low, high = rate.interval
    assert rate.value is not None
    assert 0 <= low <= rate.value <= high <= 1
    wider = Rate(rate.events, trials * 4).interval if rate.events == 0 else None
    assert wider is None or wider[1] < high


def test_intervals_against_a_published_table() -> None:
    # Newcombe 1998, table I, method 3 (Wilson score): 81/263, 15/148, 0/20, 1/29.
    for events, trials, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert list(Rate(events, trials).interval) == pytest.approx([low, high], abs=1e-4)


def test_a_threshold_is_only_advised_where_there_are_pairs_enough() -> None:
    few = Evaluation(counts([0.8]), counts([0.1] * 100))
    assert few.threshold_for(1e-4) is None
    many = empty()
    many[11_000], many[14_000] = 200_000, 3  # cosines 0.1 and 0.4
    assert Evaluation(counts([0.8]), many).threshold_for(1e-4) == 0.1001
    assert Evaluation(counts([0.8]), many).threshold_for(2e-5) == 0.4001
    assert Evaluation(counts([0.8]), many).equal_error().far.events == 0


def variants(folder: Path, number: int) -> None:
    """Write pictures of two people as a camera might see them on different days."""
    rng = np.random.default_rng(5)
    for name in portraits.NAMES:
        (folder / name).mkdir(parents=True)
        live = cv2.resize(portraits.live(name), (640, 360), interpolation=cv2.INTER_AREA)
        for index in range(number):
            turn = cv2.getRotationMatrix2D(
                (320, 180), float(rng.uniform(-8, 8)), float(rng.uniform(0.85, 1.1))
            )
            seen = cv2.warpAffine(live, turn, (640, 360)).astype(np.float64) * rng.uniform(0.7, 1.2)
            cv2.imwrite(
                str(folder / name / f"{name}_{index + 1:04d}.jpg"), np.clip(seen, 0, 255).astype(np.uint8)
            )


@pytest.fixture(scope="module")
def engine() -> FaceEngine:
    need_weights()
    loaded = load(Face())
    assert loaded is not None
    return loaded


def test_two_people_are_told_apart_live_and_as_chips(engine: FaceEngine, tmp_path: Path) -> None:
    variants(tmp_path / "people", 4)
    (tmp_path / "people" / "collins" / "broken.jpg").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "people" / "hopper" / "wall.png"), np.full((200, 300, 3), 90, np.uint8))
    data = dataset.load(tmp_path / "people")
    found = work.embed(engine, data, None, tmp_path)
    assert sorted(found.refused.values()) == ["no_face", "no_picture"]
    evaluation = work.compared(data, found)
    assert (int(evaluation.genuine.sum()), int(evaluation.impostor.sum())) == (12, 16), "each pair once"
    row = evaluation.at(0.45)
    assert (row.far.events, row.frr.events) == (0, 0)
    chips = work.embed(engine, data, 2500, tmp_path)
    degraded = work.compared(data, chips)
    assert (int(degraded.genuine.sum()), int(degraded.impostor.sum())) == (24, 32), (
        "live against chip, both ways"
    )
    mean = [
        float((e.genuine * np.arange(len(e.genuine))).sum() / e.genuine.sum()) for e in (evaluation, degraded)
    ]
    assert mean[1] < mean[0], "a kilobyte costs similarity"
    drawn = pictures.draw(evaluation, 0.45, tmp_path)
    assert all(images.decode(path.read_bytes()).shape[0] > 300 for path in drawn)
    told = report.report(evaluation, found, Face(), engine.model, None)
    assert told["suggested_threshold"] is None
    assert any("0.45" in line and line.endswith("*") for line in report.lines(told, "zh"))


def test_a_run_that_was_cut_off_goes_on_where_it_was(
    engine: FaceEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants(tmp_path / "people", 3)
    data = dataset.load(tmp_path / "people")
    monkeypatch.setattr(work, "SAVE_EVERY", 2)
    looked, real = [], engine.look

    def look(image: NDArray[np.uint8]) -> object:
        looked.append(1)
        if len(looked) == 4:
            raise KeyboardInterrupt
        return real(image)

    monkeypatch.setattr(engine, "look", look)
    with pytest.raises(KeyboardInterrupt):
        work.embed(engine, data, None, tmp_path)
    file = tmp_path / work.WORK_FILE
    assert file.stat().st_mode & 0o077 == 0
    steps: list[int] = []
    found = work.embed(engine, data, None, tmp_path, steps.append)
    assert steps[0] == 2
    assert len(found.live) == 6
    assert len(looked) == 4 + 4
    # Another chip size, or another model, begins anew.
    assert len(work.embed(engine, data, 2000, tmp_path).chip) == 6
    file.write_bytes(file.read_bytes()[:100])
    assert len(work.embed(engine, data, None, tmp_path).live) == 6


def test_pairs_txt_and_what_is_none_of_it(engine: FaceEngine, tmp_path: Path) -> None:
    variants(tmp_path, 2)
    (tmp_path / "pairs.txt").write_text("1\t2\ncollins\t1\t2\ncollins\t1\thopper\t2\nhopper\t1\t2\n", "utf-8")
    data = dataset.load(tmp_path)
    assert data.pairs is not None
    assert [pair.same for pair in data.pairs] == [True, False, True]
    evaluation = work.compared(data, work.embed(engine, data, None, tmp_path))
    assert (int(evaluation.genuine.sum()), int(evaluation.impostor.sum())) == (2, 1)
    (tmp_path / "pairs.txt").write_text("10\ncollins\tx\ty\n", "utf-8")
    with pytest.raises(AgentError, match=r"E2702 .*line=2"):
        dataset.load(tmp_path)
    (tmp_path / "nobody").mkdir()
    with pytest.raises(AgentError, match="E2701"):
        dataset.load(tmp_path / "nobody")


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(AgentError, match="E2703"):
        pictures.draw(Evaluation(empty(), empty()), 0.45, tmp_path)


def test_as_it_is_typed(tmp_path: Path) -> None:
    need_weights()
    variants(tmp_path / "people", 2)
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "agent",
            "face",
            "evaluate",
            str(tmp_path / "people"),
            "--simulate-chip",
            "2000",
            "--out",
            str(tmp_path / "out"),
            "--json",
            "--config",
            str(tmp_path / "none"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(run.stdout)
    assert told["simulated_chip_bytes"] == 2000
    assert told["genuine_pairs"] == 4
    assert math.isclose(told["target_far"], 1e-4 / 3)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["distributions.png", "roc.png"]
