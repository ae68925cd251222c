"""Every field's rule of table 4.2, looked at before anything is put on the wire. Pure.

`problems` are what the platform would refuse: the record is held, with field and rule named by a code of the
catalogue. `oddities` are what it might: sent as they are (a shortened name breaks the binding silently), and
named to the person who looks at the record should it be refused. Neither quotes a value.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from agent import jpeg
from agent.catalogue import AgentError, entry
from agent.config.schema import Conventions, text_length
from agent.hmpt.body import Jpeg
from agent.hmpt.codes import CARD_TYPES, NO_CHIP, RESULTS
from agent.hmpt.render import FINGER_FIELDS, texts
from agent.records import FaceResult, PictureKind, Verification

#: VARCHAR(n) of table 4.2 where nothing in the document contradicts it. realName: R1; address: R9.
MAX_LENGTHS = {"cardNo": 18, "operationUser": 10, "police": 100, "deviceNo": 50, "machineCode": 50}
#: Texts of the document's own tables and forms are never counted in bytes: 女 alone would have three.
_OWN_LENGTHS = {"sexName": 2, "nationalCode": 2, "nationalName": 10, "birthday": 10}
NAME_LENGTH, ADDRESS_LENGTH = 10, 100
_REQUIRED = (
    *("realName", "cardType", "cardNo", "sexCode", "nationalCode", "nationalName"),
    *("operationUser", "birthday", "address", "police", "cardStartDate", "cardEndDate"),
    *("deviceNo", "machineCode"),
)
_PICTURES = {"headImg": PictureKind.CARD, "cameraImg": PictureKind.CAMERA}
#: Weights of the check digit, GB 11643-1999.
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


#: Under which a problem is told.
CODES = ("E3132", "E3133", "E3134", "E3135", "E3136", "E3137")


@dataclass(frozen=True)
class Problem:
    """One field that the platform would refuse, and why: a code of the catalogue, facts without a value."""

    field: str
    code: str
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put the field among the facts: the sentence names it."""
        object.__setattr__(self, "facts", {**self.facts, "field": self.field})

    def told(self, lang: str) -> str:
        """Return it as a sentence."""
        return entry(self.code).title(lang, self.facts)

    @property
    def reason(self) -> str:
        """Return why, in English, beside the field's name."""
        return self.told("en").removeprefix(f"{self.field}: ")

    def error(self) -> AgentError:
        """Return it as the error of whoever entered the value."""
        return AgentError(self.code, **self.facts)


def problems(
    verification: Verification,
    pictures: Mapping[PictureKind, bytes],
    conventions: Conventions,
    max_base64_chars: int,
) -> list[Problem]:
    """Return every field that the platform would refuse; empty when the record can go."""
    found = texts(verification, conventions)
    return [
        *_blank(found),
        *_outside_the_tables(found),
        *_too_long(found, conventions),
        *_characters(found, conventions),
        *_scores(verification),
        *_bad_pictures(pictures, max_base64_chars),
    ]


def _blank(found: Mapping[str, str]) -> Iterator[Problem]:
    for name in _REQUIRED:
        if not found[name]:
            yield Problem(name, "E3132")


def _outside_the_tables(found: Mapping[str, str]) -> Iterator[Problem]:
    if found["cardType"] and found["cardType"] not in CARD_TYPES:
        yield outside("cardType", CARD_TYPES)


def outside(name: str, allowed: Iterable[object]) -> Problem:
    """Return what is wrong with a value that its table does not have."""
    return Problem(name, "E3133", {"allowed": ", ".join(sorted(map(str, allowed)))})


def _too_long(found: Mapping[str, str], conventions: Conventions) -> Iterator[Problem]:
    own = {**_OWN_LENGTHS, "sexCode": conventions.sex_width}
    own |= dict.fromkeys(("cardStartDate", "cardEndDate"), 10 if conventions.card_dates == "date" else 19)
    limits = dict(MAX_LENGTHS)
    if conventions.long_name == "hold":
        limits["realName"] = NAME_LENGTH
    for unit, fields in (("chars", own), (conventions.length_unit, limits)):
        for name, limit in fields.items():
            yield from too_long(name, found[name], limit, unit)


def too_long(name: str, text: str, limit: int, unit: str) -> Iterator[Problem]:
    """Yield what is wrong with a text of more than `limit` characters or, by `unit`, bytes (R2)."""
    length = text_length(text, unit)
    if length > limit:
        yield _length(name, length, unit, limit)


def _length(name: str, length: int, unit: str, limit: int) -> Problem:
    return Problem(name, "E3134", {"length": str(length), "unit": unit, "limit": str(limit)})


def _characters(found: Mapping[str, str], conventions: Conventions) -> Iterator[Problem]:
    for name, text in found.items():
        yield from unsendable(name, text, conventions)


def unsendable(name: str, text: str, conventions: Conventions) -> Iterator[Problem]:
    """Yield the first character that is broken, controls a terminal, or is private and held (R28)."""
    bad = [f"U+{ord(one):04X}" for one in text if one < " " or one == "\x7f" or "\ud800" <= one <= "\udfff"]
    bad += _private(text) if conventions.private_use == "hold" else []
    if bad:
        yield Problem(name, "E3135", {"character": bad[0]})


def _private(text: str) -> list[str]:
    """Return the code points of a text that mean something else in every font (R28)."""
    return [
        f"U+{ord(character):04X}"
        for character in text
        if "\ue000" <= character <= "\uf8ff" or character >= "\U000f0000"
    ]


def _scores(verification: Verification) -> Iterator[Problem]:
    face, finger = verification.face, verification.finger
    # 0 stands for "not compared" alone (R18): beside a result it would be made up.
    if face.result is not FaceResult.NOT_VERIFIED:
        yield from _score("faceScore", face.score)
    if finger is not None:
        if finger.result not in RESULTS:
            yield outside("fingerResult", RESULTS)
        elif finger.result != FaceResult.NOT_VERIFIED.value:
            yield from _score("fingerScore", finger.score)


def _score(name: str, score: float | None) -> Iterator[Problem]:
    if score is None:
        yield Problem(name, "E3132")
    elif not math.isfinite(score) or not 0 <= score <= 1:
        yield Problem(name, "E3136")


def _bad_pictures(pictures: Mapping[PictureKind, bytes], max_base64_chars: int) -> Iterator[Problem]:
    named = dict(_PICTURES)
    if PictureKind.FINGER in pictures:
        named[FINGER_FIELDS[0]] = PictureKind.FINGER
    for name, kind in named.items():
        picture = pictures.get(kind)
        if picture is None:
            yield Problem(name, "E3132")
        elif not jpeg.is_whole(picture):
            yield Problem(name, "E3137")
        elif (length := Jpeg(picture).length) > max_base64_chars:
            yield _length(name, length, "base64", max_base64_chars)


# --- what a refusal may be about --------------------------------------------------------------------


def oddities(verification: Verification, conventions: Conventions) -> list[str]:
    """Return what of a record the tables leave in doubt, without a value: `realName: 12 characters`."""
    found = texts(verification, conventions)
    return [*_long(found), *_rare(found), *_number(found)]


def _long(found: Mapping[str, str]) -> Iterator[str]:
    for name, limit in (("realName", NAME_LENGTH), ("address", ADDRESS_LENGTH), ("police", 100)):
        characters, size = len(found[name]), len(found[name].encode("utf-8", "replace"))
        if characters > limit:
            yield f"{name}: {characters} characters, VARCHAR({limit})"
        elif size > limit:
            yield f"{name}: {size} bytes in UTF-8, VARCHAR({limit})"


def _rare(found: Mapping[str, str]) -> Iterator[str]:
    for name, text in found.items():
        rare = [*_private(text), *(f"U+{ord(one):04X}" for one in text if "\uffff" < one < "\U000f0000")]
        if rare:
            yield f"{name}: {' '.join(dict.fromkeys(rare))}"


def _number(found: Mapping[str, str]) -> Iterator[str]:
    number = found["cardNo"]
    if not number.isascii() or not number.isalnum():
        yield "cardNo: other characters than digits and letters"
    elif found["cardType"] == "0" and not checksum_right(number):
        yield "cardNo: check digit"
    if found["cardType"] == NO_CHIP:
        yield "cardType: no chip"


def checksum_right(number: str) -> bool:
    """Return whether the check digit of an 18-digit identity number is right (GB 11643-1999)."""
    if len(number) != 18 or not number[:17].isascii() or not number[:17].isdigit():
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False))
    return number[17] == "10X98765432"[total % 11]
