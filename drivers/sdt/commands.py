"""Commands and status codes by the standard's names. A status not listed survives as its value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


@dataclass(frozen=True)
class Command:
    """One command.

    `answer_s` is the time its answer may take beyond the wire. `data` gives the sizes that the data of
    its answers can have: the protocol has no sequence numbers, so the shape tells a stale answer.
    """

    name: str
    command: int
    parameter: int
    answer_s: float
    data: range


RESET_SAM = Command("reset SAM", 0x10, 0xFF, 1.0, range(1))
SAM_STATUS = Command("SAM status", 0x11, 0xFF, 1.0, range(1))
SAM_ID = Command("read SAM id", 0x12, 0xFF, 1.0, range(16, 17))
FIND_CARD = Command("find card", 0x20, 0x01, 1.0, range(4, 5))
SELECT_CARD = Command("select card", 0x20, 0x02, 1.0, range(8, 9))
READ_BASE = Command("read base information", 0x30, 0x01, 3.0, range(17, 4096))
READ_BASE_FINGERPRINT = Command("read base information and fingerprints", 0x30, 0x10, 5.0, range(19, 4096))
READ_NEWEST_ADDRESS = Command("read newest address", 0x30, 0x03, 2.0, range(70, 71))
SET_RF_BYTES = Command("set bytes per radio frame", 0x61, 0xFF, 1.0, range(1))


#: By CMD PARA, for whoever reads a transcript.
COMMANDS = {
    (one.command, one.parameter): one
    for one in (
        *(RESET_SAM, SAM_STATUS, SAM_ID, FIND_CARD, SELECT_CARD, READ_BASE, READ_BASE_FINGERPRINT),
        *(READ_NEWEST_ADDRESS, SET_RF_BYTES),
    )
}


def command_name(command: int, parameter: int) -> str:
    """Return the standard's name of a command, or its value."""
    known = COMMANDS.get((command, parameter))
    return known.name if known is not None else f"command {command:02X} {parameter:02X}"


class Status(IntEnum):
    """SW3 of a reply."""

    CHECKSUM_ERROR = 0x10
    LENGTH_ERROR = 0x11
    UNKNOWN_COMMAND = 0x21
    NOT_AUTHORISED = 0x23
    UNRECOGNISED_ERROR = 0x24
    CARD_REJECTS_SAM = 0x31
    SAM_REJECTS_CARD = 0x32
    VERIFICATION_ERROR = 0x33
    NO_CARD_YET = 0x34
    FINGERPRINT_ERROR = 0x37
    INFORMATION_LENGTH_ERROR = 0x3F
    UNKNOWN_CARD_TYPE = 0x40
    READ_FAILED = 0x41
    RANDOM_NUMBER_FAILED = 0x47
    WRITE_FAILED = 0x50
    SELF_TEST_FAILED = 0x60
    LOGIN_FAILED = 0x61
    SAM_NOT_AUTHORISED = 0x66
    FIND_FAILED = 0x80
    SELECT_FAILED = 0x81
    SUCCESS = 0x90
    NO_CONTENT = 0x91
    CARD_FOUND = 0x9F


#: The reader did not understand what we sent: the line, not the card. Sent once more.
RESEND = frozenset({Status.CHECKSUM_ERROR, Status.LENGTH_ERROR})
#: Nothing the desk can do; trying at full speed helps nobody.
PERMANENT = frozenset({Status.SELF_TEST_FAILED, Status.LOGIN_FAILED, Status.SAM_NOT_AUTHORISED})


def status_name(code: int) -> str:
    """Return the standard's name of a status, or its value for one the standard does not name."""
    try:
        return Status(code).name.lower().replace("_", " ")
    except ValueError:
        return f"status 0x{code:02X}"
