"""Made-up cards: obviously synthetic people with valid check digits, and the chip's bytes for them.

Offsets are those of the document's tables: GA/T 490 for the resident card (R), the published field lists for
the permit of Hong Kong, Macau and Taiwan residents (J) and the foreigner's cards of 2017 (I) and 2023 (Y).
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

#: The genuine first six bytes of a photo block: "WL", 102, 126.
WLT_HEAD = bytes.fromhex("574C66007E00")
#: Ours, behind the genuine head: what follows is a picture only our own decoder understands.
SIMULATED_MARK = b"SIM1"
PHOTO_BYTES = 1024
PHOTO_WIDTH, PHOTO_HEIGHT = 102, 126
KINDS = "RJIY"

_SURNAMES = "韦黄覃莫蓝罗农陆"
_GIVEN = ("测试", "演示", "样例", "模拟", "虚构")
_COUNTIES = {"450102": "测试城区", "450203": "演示城区", "450305": "样例城区", "450405": "虚构城区"}
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_NUMBERED = ("name", "sex_code", "nation_code", "birth", "address", "number")
_REQUIRED = (*_NUMBERED, "issuer", "valid_from", "valid_until")


@dataclass(frozen=True)
class SimulatedCard:
    """What a made-up card says. Dates are YYYYMMDD, `valid_until` may be 长期; unused fields stay empty."""

    name: str = field(repr=False)
    sex_code: str = field(repr=False)
    nation_code: str = field(repr=False)
    birth: str = field(repr=False)
    address: str = field(repr=False)
    number: str = field(repr=False)
    issuer: str = field(repr=False)
    valid_from: str = field(repr=False)
    valid_until: str = field(repr=False)
    kind: str = "R"
    latin_name: str = field(default="", repr=False)
    nationality: str = field(default="", repr=False)
    pass_number: str = field(default="", repr=False)
    issues: str = field(default="", repr=False)  # J: times issued, Y: times renewed, I: card version
    newest_address: str = field(default="", repr=False)
    fingers: int = 0

    def personal_fields(self) -> list[str]:
        """Return the fields that must appear nowhere but on the chip and at the platform."""
        found = [self.name, self.number, self.address, self.birth, self.issuer]
        found += [self.latin_name, self.pass_number, self.newest_address]
        return [text for text in found if text]

    def text_block(self) -> bytes:
        """Return the 256 bytes of the chip's text, padded with blanks."""
        block = b"".join(_padded(text, size) for text, size in _PLACES[self.kind](self))
        if len(block) != 256:
            raise ValueError(f"a text block of {len(block)} bytes")
        return block

    def newest_block(self) -> bytes:
        """Return the 70 bytes of the address that was appended to the chip."""
        return _padded(self.newest_address, 70)


def _resident(card: SimulatedCard) -> list[tuple[str, int]]:
    return [
        *((card.name, 30), (card.sex_code, 2), (card.nation_code, 4), (card.birth, 16), (card.address, 70)),
        *((card.number, 36), (card.issuer, 30), (card.valid_from, 16), (card.valid_until, 16), ("", 36)),
    ]


def _permit(card: SimulatedCard) -> list[tuple[str, int]]:
    return [
        *((card.name, 30), (card.sex_code, 2), ("", 4), (card.birth, 16), (card.address, 70)),
        *((card.number, 36), (card.issuer, 30), (card.valid_from, 16), (card.valid_until, 16)),
        *((card.pass_number, 18), (card.issues, 4), ("", 6), ("J", 2), ("", 6)),
    ]


def _foreigner_2017(card: SimulatedCard) -> list[tuple[str, int]]:
    return [
        *((card.latin_name, 120), (card.sex_code, 2), (card.number, 30), (card.nationality, 6)),
        *((card.name, 30), (card.valid_from, 16), (card.valid_until, 16), (card.birth, 16)),
        *((card.issues, 4), (card.issuer, 8), ("I", 2), ("", 6)),
    ]


def _foreigner_2023(card: SimulatedCard) -> list[tuple[str, int]]:
    return [
        *(
            (card.name, 30),
            (card.sex_code, 2),
            (card.issues, 4),
            (card.birth, 16),
            (card.latin_name[:35], 70),
        ),
        *((card.number, 36), ("", 30), (card.valid_from, 16), (card.valid_until, 16)),
        *((card.latin_name[35:], 22), (card.nationality, 6), ("Y", 2), ("", 6)),
    ]


_PLACES = {"R": _resident, "J": _permit, "I": _foreigner_2017, "Y": _foreigner_2023}


def _padded(text: str, size: int) -> bytes:
    raw = text.encode("utf-16-le")
    if len(raw) > size:
        raise ValueError(f"{len(raw)} bytes do not fit into {size}")
    return raw + " ".encode("utf-16-le") * ((size - len(raw)) // 2)


def generate(seed: int, count: int, kinds: str = "R") -> list[SimulatedCard]:
    """Return `count` made-up women with cards of these kinds in turn; the same seed gives the same ones."""
    if not kinds or set(kinds) - set(KINDS):
        raise ValueError(f"card kinds are {', '.join(KINDS)}, not {kinds!r}")
    rng = random.Random(seed)  # noqa: S311 -- made-up people, not keys
    return [_of_kind(_woman(rng, number), kinds[number % len(kinds)], number) for number in range(count)]


def _woman(rng: random.Random, number: int) -> SimulatedCard:
    county = rng.choice(sorted(_COUNTIES))
    birth = date(1980, 1, 1) + timedelta(days=rng.randrange(26 * 365))
    issued = date(2016, 1, 1) + timedelta(days=rng.randrange(8 * 365))
    long_term = rng.random() < 0.1
    until = "长期" if long_term else f"{issued.year + 20}{issued:%m}{min(issued.day, 28):02d}"
    sequence = f"{rng.randrange(100) * 10 + 2 * rng.randrange(5):03d}"
    digits = county + f"{birth:%Y%m%d}" + sequence
    return SimulatedCard(
        name=rng.choice(_SURNAMES) + rng.choice(_GIVEN) + "甲乙丙丁戊己庚辛"[number % 8],
        sex_code="2",
        nation_code=f"{rng.randrange(1, 57):02d}",
        birth=f"{birth:%Y%m%d}",
        address=f"广西虚构市{_COUNTIES[county]}模拟路{rng.randrange(1, 999)}号",
        number=digits + _check(digits),
        issuer=f"虚构市公安局{_COUNTIES[county]}分局",
        valid_from=f"{issued:%Y%m%d}",
        valid_until=until,
    )


def _of_kind(woman: SimulatedCard, kind: str, number: int) -> SimulatedCard:
    """Return the woman with a card of another kind: the same birthday, another number and fewer fields."""
    said = {name: getattr(woman, name) for name in _REQUIRED} | {"kind": kind}
    tail = woman.birth + woman.number[14:17]
    if kind == "J":
        said |= {"nation_code": "", "number": _numbered("810000" + tail), "issues": "01"}
        said |= {"pass_number": f"H{number:08d}"}
    elif kind == "I":
        said |= {"nation_code": "", "address": "", "number": f"VNM{woman.number[6:17]}{number % 10}"}
        said |= {"issuer": "4500", "nationality": "VNM", "issues": "01"}
        said |= {"latin_name": "SYNTHETIC, PERSON NUMBER " + "ABCDEFGHIJ"[number % 10]}
    elif kind == "Y":
        said |= {"nation_code": "", "address": "", "issuer": "", "number": _numbered("945704" + tail)}
        said |= {"nationality": "VNM", "issues": "00"}
        said |= {"latin_name": "SYNTHETIC, PERSON WITH A LONG NAME NUMBER " + "ABCDEFGHIJ"[number % 10]}
    return SimulatedCard(**said)


def _numbered(digits: str) -> str:
    return digits + _check(digits)


def _check(digits: str) -> str:
    return "10X98765432"[sum(int(d) * w for d, w in zip(digits, _WEIGHTS, strict=True)) % 11]


def load(path: Path) -> list[SimulatedCard]:
    """Return the cards of a YAML or JSON file: a list of mappings with the field names above."""
    content: Any = path.read_text("utf-8")
    entries = json.loads(content) if path.suffix == ".json" else yaml.safe_load(content)
    known = {field.name for field in fields(SimulatedCard)}
    cards = []
    for position, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not set(_REQUIRED) <= set(entry) <= known:
            raise ValueError(
                f"{path}: card {position} needs {', '.join(_REQUIRED)} "
                f"and may have {', '.join(sorted(known - set(_REQUIRED)))}"
            )
        said: dict[str, Any] = {
            name: int(value) if name == "fingers" else str(value) for name, value in entry.items()
        }
        cards.append(SimulatedCard(**said))
        cards[-1].text_block()
    return cards


def photo_block(portrait: Path) -> bytes:
    """Return a 1024-byte block: the genuine head, our mark, and a small WebP of the portrait.

    ValueError when the portrait cannot be read or will not fit at any quality.
    """
    import cv2

    image = cv2.imread(str(portrait), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{portrait} is no picture")
    small = cv2.resize(image, (PHOTO_WIDTH, PHOTO_HEIGHT), interpolation=cv2.INTER_AREA)
    room = PHOTO_BYTES - len(WLT_HEAD) - len(SIMULATED_MARK) - 2
    # A busy background costs bytes that the face needs: then soften before giving up quality entirely.
    for sigma, quality in ((sigma, quality) for sigma in (0.0, 0.7, 1.2) for quality in range(95, 10, -5)):
        soft = cv2.GaussianBlur(small, (0, 0), sigma) if sigma else small
        good, encoded = cv2.imencode(".webp", soft, [cv2.IMWRITE_WEBP_QUALITY, quality])
        if good and len(encoded) <= room:
            body = encoded.tobytes()
            head = WLT_HEAD + SIMULATED_MARK + len(body).to_bytes(2, "big")
            return (head + body).ljust(PHOTO_BYTES, b"\0")
    raise ValueError(f"{portrait} does not fit into {room} bytes")
