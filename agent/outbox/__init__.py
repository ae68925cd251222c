"""The outbox: from `put` on, a record is delivered or shown, never lost.

One SQLite file, one connection, one thread that owns it. Facts, pictures and supplements are sealed rows
beside the meta row, which carries no personal data.
"""

from __future__ import annotations

from agent.balance import Balance
from agent.identity import this_machine
from agent.outbox.admin import Closing
from agent.outbox.claims import (
    Claim,
    SettleBack,
    SettleDelivered,
    SettleHeld,
    SettleLater,
    Settlement,
    SettleParked,
    SettleWithheld,
)
from agent.outbox.rows import AttemptRow, HeldRecord, ReceiptRow, RecordRow
from agent.outbox.space import Ballast, Room
from agent.outbox.store import Outbox
from agent.outbox.vault import SealKeys

__all__ = [
    "AttemptRow",
    "Balance",
    "Ballast",
    "Claim",
    "Closing",
    "HeldRecord",
    "Outbox",
    "ReceiptRow",
    "RecordRow",
    "Room",
    "SealKeys",
    "SettleBack",
    "SettleDelivered",
    "SettleHeld",
    "SettleLater",
    "SettleParked",
    "SettleWithheld",
    "Settlement",
    "this_machine",
]
