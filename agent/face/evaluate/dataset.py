"""Pictures with names: a folder a person, or LFW's pairs.txt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.catalogue import AgentError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
PAIRS = "pairs.txt"


@dataclass(frozen=True)
class Picture:
    """One file and whose it is. `name` is its path below the folder."""

    path: Path
    name: str
    person: str


@dataclass(frozen=True)
class Pair:
    """Two pictures that are to be compared."""

    one: str
    other: str
    same: bool


@dataclass(frozen=True)
class Dataset:
    """Pictures, and the pairs to compare; `pairs` None: every one with every other."""

    pictures: Sequence[Picture]
    pairs: Sequence[Pair] | None


def load(folder: Path) -> Dataset:
    """Return what a folder holds. AgentError E2701 where it is neither kind, E2702 for a broken pairs.txt."""
    list_ = folder / PAIRS
    if list_.is_file():
        return _of_pairs(folder, list_)
    pictures = [
        Picture(path, str(path.relative_to(folder)), path.parent.name)
        for path in sorted(folder.glob("*/*"))
        if path.suffix.lower() in PICTURES and path.is_file()
    ]
    if len({picture.person for picture in pictures}) < 2:
        raise AgentError("E2701", path=folder)
    return Dataset(pictures, None)


def _of_pairs(folder: Path, list_: Path) -> Dataset:
    """Read LFW's form: `name 1 2` one person twice, `name 1 other 3` two people; a first line may count."""
    pairs, pictures = [], dict[str, Picture]()

    def picture(person: str, number: str) -> str:
        name = f"{person}/{person}_{int(number):04d}.jpg"
        pictures.setdefault(name, Picture(folder / name, name, person))
        return name

    for line, text in enumerate(list_.read_text("utf-8").splitlines(), start=1):
        words = text.split("\t") if "\t" in text else text.split()
        try:
            match words:
                case [person, one, other]:
                    pairs.append(Pair(picture(person, one), picture(person, other), same=True))
                case [person, one, stranger, other]:
                    pairs.append(Pair(picture(person, one), picture(stranger, other), same=False))
                case [] | [_] | [_, _] if line == 1 or not words:
                    continue
                case _:
                    raise ValueError(text)
        except ValueError:
            raise AgentError("E2702", path=list_, line=line) from None
    return Dataset(list(pictures.values()), pairs)
