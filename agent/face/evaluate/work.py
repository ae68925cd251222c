"""Every picture embedded once, resumable; then every pair counted.

Embeddings are biometric data. They lie in one file of the output folder, for its owner alone, while the work
is going on - so that a run over thousands of pictures can be taken up again - and are deleted at its end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from agent import images
from agent.face import chip, quality
from agent.face.engine import FaceEngine
from agent.face.evaluate.dataset import Dataset, Picture
from agent.face.evaluate.statistics import Evaluation, add, empty
from agent.face.recogniser import Embedding
from drivers.errors import PhotoError

#: Pictures between two savings.
SAVE_EVERY = 200
#: Rows of the matrix of all pairs computed at once: 1,000 x 13,000 cosines are 52 MB.
BLOCK = 1000
WORK_FILE = "embeddings.npz"


@dataclass
class Embedded:
    """What became of the pictures: name -> embeddings, live and as on a chip; name -> why not."""

    live: dict[str, Embedding] = field(default_factory=dict)
    chip: dict[str, Embedding] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def embed(
    engine: FaceEngine,
    dataset: Dataset,
    chip_bytes: int | None,
    out: Path,
    done: Callable[[int], None] = lambda number: None,
) -> Embedded:
    """Embed every picture, beginning where an earlier run with the same engine and chip size ended."""
    file, label = out / WORK_FILE, f"{engine.model}|{chip_bytes or 0}"
    found = _resumed(file, label)
    done(len(found.live) + len(found.refused))
    for number, picture in enumerate(_left(dataset, found), start=1):
        _one(engine, picture, chip_bytes, found)
        done(1)
        if number % SAVE_EVERY == 0:
            _save(file, label, found)
    _save(file, label, found)
    return found


def _left(dataset: Dataset, found: Embedded) -> Iterator[Picture]:
    known = found.live.keys() | found.refused.keys()
    return (picture for picture in dataset.pictures if picture.name not in known)


def _one(engine: FaceEngine, picture: Picture, chip_bytes: int | None, found: Embedded) -> None:
    try:
        image = images.decode(picture.path.read_bytes())
    except (OSError, PhotoError):
        found.refused[picture.name] = "no_picture"
        return
    judged = engine.look(image)
    if judged.face is None or judged.reason in quality.HARD:
        found.refused[picture.name] = judged.reason
        return
    degraded = None
    if chip_bytes is not None:
        degraded = engine.card(chip.simulated(image, chip_bytes, judged.face.landmarks))
        if degraded is None:
            found.refused[picture.name] = "card_no_face"
            return
    found.live[picture.name] = engine.embed(image, judged.face)
    if degraded is not None:
        found.chip[picture.name] = degraded


def _save(file: Path, label: str, found: Embedded) -> None:
    """Write whole or not at all, readable by the owner alone."""
    draft = file.with_suffix(".new")
    names = list(found.live)
    both = {
        "label": np.array(label),
        "names": np.array(names),
        "live": np.array([found.live[name] for name in names], np.float32),
        "chip": np.array([found.chip[name] for name in names if name in found.chip], np.float32),
        "refused": np.array(list(found.refused)),
        "why": np.array(list(found.refused.values())),
    }
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        np.savez(opened, allow_pickle=False, **both)
    draft.replace(file)


def _resumed(file: Path, label: str) -> Embedded:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as saved:
            if str(saved["label"]) != label:
                return Embedded()
            names = [str(name) for name in saved["names"]]
            chips = saved["chip"]
            return Embedded(
                dict(zip(names, saved["live"], strict=True)),
                dict(zip(names, chips, strict=True)) if len(chips) else {},
                dict(zip(map(str, saved["refused"]), map(str, saved["why"]), strict=True)),
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return Embedded()


def compared(dataset: Dataset, found: Embedded) -> Evaluation:
    """Count the cosines of all pairs, a live picture against another, on a chip where that is simulated."""
    genuine, impostor = empty(), empty()
    other = found.chip or found.live
    if dataset.pairs is not None:
        for pair in dataset.pairs:
            if pair.one in found.live and pair.other in other:
                cosine = np.array([found.live[pair.one] @ other[pair.other]], np.float32)
                add(genuine if pair.same else impostor, cosine)
        return Evaluation(genuine, impostor)
    pictures = [picture for picture in dataset.pictures if picture.name in found.live]
    people = np.array([picture.person for picture in pictures])
    left = np.array([found.live[picture.name] for picture in pictures], np.float32)
    right = np.array([other[picture.name] for picture in pictures], np.float32)
    for start in range(0, len(pictures), BLOCK):
        cosines = left[start : start + BLOCK] @ right.T
        same = people[start : start + BLOCK, None] == people[None]
        counts = _counted(start, len(cosines), len(pictures), twice=bool(found.chip))
        add(genuine, cosines[same & counts])
        add(impostor, cosines[~same & counts])
    return Evaluation(genuine, impostor)


def _counted(start: int, rows: int, columns: int, *, twice: bool) -> NDArray[np.bool_]:
    """Return which cells count: never a picture with itself; live with live each pair once only."""
    row, column = np.arange(start, start + rows)[:, None], np.arange(columns)[None]
    return row != column if twice else row < column
