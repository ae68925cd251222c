"""How much room records need: the quota's alarms, the reserve, and what lies ready for a disk that fills up.

Pure, and below the outbox: whoever looks while nobody owns one goes by the same figures.
"""

from __future__ import annotations

#: Four times the most that the write-ahead log may hold (owner.AUTOCHECKPOINT_PAGES): it grows, is moved into
#: the database, which grows as well, and some is left for the audit trail.
BALLAST_BYTES = 64 * 2**20
#: What must be left free for a new record to be taken: the write-ahead log's room to move.
RESERVE_BYTES = 16 * 2**20

#: The quota, unless the configuration says another.
QUOTA_BYTES = 20 * 2**30

#: Share of the quota -> code. The last one is an error: soon nothing more is taken.
ALARMS = ((0.95, "E3118"), (0.85, "W3117"), (0.70, "W3116"))


def alarm(used: int, limit: int) -> str | None:
    """Return the code of the quota's alarm that is due, None when there is room."""
    return next((code for share, code in ALARMS if used >= share * limit), None)
