"""What has to be said of a card before any picture is taken: the companion's, or no longer valid. Pure."""

from __future__ import annotations

from datetime import date

from drivers.card import CardRecord

#: GB/T 2261.1.
_MALE = "1"
MANS_CARD = "W1011"
EXPIRED = "W1012"


def notices(card: CardRecord, today: date) -> tuple[str, ...]:
    """Return the codes of what is to be announced, the weightiest first."""
    found = []
    if card.sex_code == _MALE:
        found.append(MANS_CARD)
    if _expired(card.valid_until, today):
        found.append(EXPIRED)
    return tuple(found)


def _expired(valid_until: str, today: date) -> bool:
    """Return whether the last day of a YYYYMMDD has passed; 长期 and what is no date has not."""
    return len(valid_until) == 8 and valid_until.isdigit() and valid_until < today.strftime("%Y%m%d")
