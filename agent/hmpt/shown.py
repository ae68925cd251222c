"""What of a record's body may be read out on the telephone: names, types, lengths, shapes. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from agent.config.schema import Conventions
from agent.hmpt import render
from agent.hmpt.body import Jpeg
from agent.records import PictureKind, Verification

#: Fields of table 4.2 that say nothing of the person: shown as they are.
AS_THEY_ARE = frozenset(
    (
        *("cardType", "faceScore", "faceResult", "verifyDate", "verifyTime", "certTimeoutStatus"),
        *("deviceNo", "machineCode", "fingerScore", "fingerResult"),
    )
)
PICTURES = {
    "headImg": PictureKind.CARD,
    "cameraImg": PictureKind.CAMERA,
    "fingerCollectImg": PictureKind.FINGER,
}
#: Stands for each picture while the other fields are rendered.
_STUB = b"\xff\xd8\xff\xd9"


@dataclass(frozen=True)
class Field:
    """One field as it goes out. `shown` is its value, or its shape: 9 a digit, A a letter, 字 all else."""

    name: str
    type: str  # string | number | null | picture
    chars: int
    utf8: int
    shown: str


def fields(
    verification: Verification, pictures: Mapping[PictureKind, bytes], conventions: Conventions
) -> list[Field]:
    """Return every field in the order in which it goes out. A missing picture has no characters."""
    stubs = dict.fromkeys({*pictures, PictureKind.CARD, PictureKind.CAMERA}, _STUB)
    text = b"".join(render.render(verification, stubs, conventions).chunks()).decode("utf-8")
    # Numbers as their own text: 0.90 must not become 0.9.
    made = json.loads(text, parse_float=_Number, parse_int=_Number)
    return [_field(name, value, pictures) for name, value in made.items()]


class _Number(str):
    """A JSON number's own characters."""


def _field(name: str, value: str | None, pictures: Mapping[PictureKind, bytes]) -> Field:
    if value is None:
        return Field(name, "null", 0, 0, "null")
    if name in PICTURES:
        picture = pictures.get(PICTURES[name], b"")
        length = Jpeg(picture).length
        return Field(name, "picture", length, length, f"JPEG {len(picture)} B")
    kind = "number" if isinstance(value, _Number) else "string"
    shown = value if name in AS_THEY_ARE else shape(value)
    return Field(name, kind, len(value), len(value.encode("utf-8", "replace")), shown)


def shape(text: str) -> str:
    """Return what kind of character stands where; blanks and punctuation as they are."""
    text = re.sub(r"[0-9]", "9", text)
    text = re.sub(r"[B-Za-z]", "A", text)
    return re.sub(r"[^\x00-\x7f]", "字", text)
