"""The 256-byte text block of each card kind, UTF-16LE, into a CardRecord.

                        resident (R), HMT permit (J)   foreigner 2017 (I)   foreigner 2023 (Y)
    name                0  30                          158 30 (Chinese)     0   30 (Chinese)
    Latin name                                         0   120              52 70 and 220 22
    sex                 30  2                          120 2                30  2
    nation              32  4 (R only)
    birth               36 16                          220 16               36  16
    address             52 70
    number              122 36                         122 30               122 36
    issuer              158 30
    nationality                                        152 6                242 6
    pass number         220 18 (J only)
    valid from, until   188 16, 204 16                 188 16, 204 16       188 16, 204 16
    kind                248 2                          248 2                248 2

Source: GA/T 490 as summarised in docs/protocol.md; the Y layout is known from one public source only.
Whatever a field holds, reading it never fails: what breaks a rule is named in `CardRecord.flaws`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from drivers.card import CardKind, CardRecord

TEXT_BYTES = 256
_KIND_AT = 248
LONG_TERM = "长期"

#: field -> (offset, bytes) pairs, joined in order.
Layout = Mapping[str, tuple[tuple[int, int], ...]]

_RESIDENT: Layout = {
    "name": ((0, 30),),
    "sex_code": ((30, 2),),
    "nation_code": ((32, 4),),
    "birth": ((36, 16),),
    "address": ((52, 70),),
    "number": ((122, 36),),
    "issuer": ((158, 30),),
    "valid_from": ((188, 16),),
    "valid_until": ((204, 16),),
}
_FOREIGNER_2017: Layout = {
    "latin_name": ((0, 120),),
    "sex_code": ((120, 2),),
    "number": ((122, 30),),
    "nationality": ((152, 6),),
    "name": ((158, 30),),
    "valid_from": ((188, 16),),
    "valid_until": ((204, 16),),
    "birth": ((220, 16),),
}
_FOREIGNER_2023: Layout = {
    "name": ((0, 30),),
    "sex_code": ((30, 2),),
    "birth": ((36, 16),),
    "latin_name": ((52, 70), (220, 22)),
    "nationality": ((242, 6),),
    "number": ((122, 36),),
    "valid_from": ((188, 16),),
    "valid_until": ((204, 16),),
}
LAYOUTS: Mapping[CardKind, Layout] = {
    CardKind.RESIDENT: _RESIDENT,
    CardKind.HMT_PERMIT: {
        **{key: place for key, place in _RESIDENT.items() if key != "nation_code"},
        "pass_number": ((220, 18),),
    },
    CardKind.FOREIGNER_2017: _FOREIGNER_2017,
    CardKind.FOREIGNER_2023: _FOREIGNER_2023,
}
_MAY_BE_BLANK = frozenset({"latin_name", "name", "pass_number"})
#: GB/T 2261.1 and GB/T 3304; beyond 56 only 97 (other) and 98 (foreigner naturalised) are official.
_SEXES = frozenset("0129")
_NATIONS = frozenset([*(f"{code:02d}" for code in range(1, 57)), "97", "98"])
#: Where characters outside the basic plane turn up, and where those live that few fonts have.
_PRIVATE_USE = (("\ue000", "\uf8ff"),)
_BROKEN = (("\ud800", "\udfff"),)
_RARE = (("\u2e80", "\u2fdf"), ("\u3400", "\u4dbf"), ("\uf900", "\ufaff"))


def parse(block: bytes, photo_block: bytes = b"") -> CardRecord:
    """Return the card of a text block. A block of unknown kind or size keeps its bytes and nothing else."""
    kind = kind_of(block)
    layout = LAYOUTS.get(kind)
    if layout is None:
        return CardRecord(kind, text_block=block, photo_block=photo_block)
    fields = {name: _text(block, places) for name, places in layout.items()}
    if not fields.get("name"):
        # A foreigner without a Chinese name is known by the Latin one.
        fields["name"] = fields.get("latin_name", "")
    return CardRecord(
        kind, **fields, flaws=tuple(_flaws(kind, fields)), text_block=block, photo_block=photo_block
    )


def kind_of(block: bytes) -> CardKind:
    """Return the kind by the character at byte 248; never guess."""
    if len(block) != TEXT_BYTES:
        return CardKind.UNKNOWN
    mark = block[_KIND_AT : _KIND_AT + 2].decode("utf-16-le", errors="replace")
    if mark in {" ", "\0"}:
        return CardKind.RESIDENT
    kinds = {kind.value: kind for kind in LAYOUTS if kind is not CardKind.RESIDENT}
    return kinds.get(mark, CardKind.UNKNOWN)


def _text(block: bytes, places: tuple[tuple[int, int], ...]) -> str:
    return text_of(b"".join(block[offset : offset + size] for offset, size in places))


def text_of(raw: bytes) -> str:
    """Return a field's text without its padding; an odd last byte is no character."""
    # "surrogatepass" keeps what a broken chip holds instead of replacing it; UCS-2 has no surrogates.
    return raw[: len(raw) // 2 * 2].decode("utf-16-le", errors="surrogatepass").strip(" \0\u3000")


def _flaws(kind: CardKind, fields: Mapping[str, str]) -> list[tuple[str, str]]:
    found = [(name, "blank") for name, text in fields.items() if not text and name not in _MAY_BE_BLANK]
    if not fields.get("name"):
        found.append(("name", "blank"))
    for name in ("birth", "valid_from", "valid_until"):
        text = fields[name]
        if text and not (name == "valid_until" and text == LONG_TERM) and not is_date(text):
            found.append((name, "impossible date"))
    for name, known in (("sex_code", _SEXES), ("nation_code", _NATIONS)):
        if fields.get(name) and fields[name] not in known:
            found.append((name, "unknown code"))
    if fields["number"] and kind is not CardKind.FOREIGNER_2017:
        found += _flaws_of_number(fields)
    for name, text in fields.items():
        found += [(name, reason) for reason in _odd_characters(text)]
    return found


def _flaws_of_number(fields: Mapping[str, str]) -> list[tuple[str, str]]:
    """Hold the 18-character number against its check digit and, where that is right, against the fields."""
    number = fields["number"]
    if not check_digit_right(number):
        return [("number", "check digit")]
    found = []
    if is_date(fields["birth"]) and number[6:14] != fields["birth"]:
        found.append(("birth", "differs from number"))
    if fields["sex_code"] in {"1", "2"} and int(number[16]) % 2 != int(fields["sex_code"]) % 2:
        found.append(("sex_code", "differs from number"))
    return found


def _odd_characters(text: str) -> list[str]:
    """Return what is unusual about a field's characters: flagged for a human, never replaced."""
    kinds = (
        ("private-use character", _PRIVATE_USE),
        ("broken character", _BROKEN),
        ("rare character", _RARE),
    )
    return [reason for reason, ranges in kinds if any(_in(character, ranges) for character in text)]


def _in(character: str, ranges: tuple[tuple[str, str], ...]) -> bool:
    # Beyond the basic plane there is nothing on a chip; two halves that make such a character are rare, too.
    return any(first <= character <= last for first, last in ranges) or (
        ranges is _RARE and character > "\uffff"
    )


def is_date(text: str) -> bool:
    """Return whether `text` is a possible YYYYMMDD."""
    if len(text) != 8 or not (text.isascii() and text.isdigit()):
        return False
    try:
        datetime.strptime(text, "%Y%m%d")  # noqa: DTZ007 -- a calendar date has no zone
    except ValueError:
        return False
    return True


_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def check_digit_right(number: str) -> bool:
    """Return whether an 18-character number ends in its MOD 11-2 check character (GB 11643)."""
    body, last = number[:-1], number[-1:].upper()
    if len(number) != 18 or not (body.isascii() and body.isdigit()):
        return False
    total = sum(int(digit) * weight for digit, weight in zip(body, _WEIGHTS, strict=True))
    return "10X98765432"[total % 11] == last
