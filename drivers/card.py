"""What a chip says, as one frozen record.

Fields are the chip's own text with only the padding taken off; nothing is guessed or corrected here.
Source of the layouts: GA/T 490 as summarised in docs/protocol.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class CardKind(Enum):
    """Kind of card by the type character at byte 248 of the text block."""

    RESIDENT = "R"  # a blank on the chip: resident identity card
    HMT_PERMIT = "J"  # residence permit for Hong Kong, Macau and Taiwan residents
    FOREIGNER_2017 = "I"  # foreigner's permanent residence card, 2017
    FOREIGNER_2023 = "Y"  # foreigner's permanent residence card, 2023
    OTHER = "other"  # any other document, without a readable chip: a kiosk hands such results in
    UNKNOWN = "?"


@dataclass(frozen=True)
class CardRecord:
    """One card as read. `repr` shows the kind alone: a card must not reach a log by accident.

    Dates are the chip's text (YYYYMMDD, or 长期 for `valid_until`), empty where the chip is blank.
    `flaws` names the fields whose content breaks the card's own rules, as (field, reason) pairs such
    as ("birth", "impossible date"); the content itself is kept as read.
    """

    kind: CardKind
    name: str = field(default="", repr=False)
    sex_code: str = field(default="", repr=False)  # GB/T 2261.1: 0 1 2 9
    nation_code: str = field(default="", repr=False)  # GB/T 3304: 01..56, 97, 98
    birth: str = field(default="", repr=False)
    address: str = field(default="", repr=False)
    number: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)
    valid_from: str = field(default="", repr=False)
    valid_until: str = field(default="", repr=False)
    newest_address: str | None = field(default=None, repr=False)  # command 30 03, beside the printed one
    latin_name: str = field(default="", repr=False)
    nationality: str = field(default="", repr=False)  # I and Y: three letters of GB/T 2659
    pass_number: str = field(default="", repr=False)  # J: the travel permit's number
    flaws: tuple[tuple[str, str], ...] = ()
    text_block: bytes = field(default=b"", repr=False)  # 256 bytes as read
    photo_block: bytes = field(default=b"", repr=False)  # 1024 bytes WLT as read
