"""What can go wrong with a device, each fault under the code that the catalogue explains.

Timeout, unplugged and permission denied are three different errors, because three different people
mend them. "No card" is an answer, not an error, and so is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class CodedError(Exception):
    """An error that names its catalogue code and the facts its texts need.

    `facts` fill the catalogue's sentences ({port}, {expected}, {received} ...). They must never hold
    a card's name, number or address: facts are logged.
    """

    #: Every subclass, or every raise, names a code of agent/catalogue.yaml.
    code: str = ""
    #: Whether doing the same thing again can help without anybody's intervention.
    retry: ClassVar[bool] = False

    def __init__(self, code: str | None = None, /, **facts: object) -> None:
        self.code = code or type(self).code
        self.facts: Mapping[str, str] = {name: str(value) for name, value in facts.items()}
        super().__init__(self.code, dict(self.facts))

    def __str__(self) -> str:
        facts = " ".join(f"{name}={value}" for name, value in self.facts.items())
        return f"{self.code} {facts}".rstrip()


class ReaderError(CodedError):
    """Any fault of the card reader, its line or the card on it."""


class ReaderMissing(ReaderError):
    """The configured port does not exist (yet): nothing is plugged in."""

    code = "E1101"
    retry = True


class ReaderPermission(ReaderError):
    """The port exists but may not be opened: a group or udev rule is missing."""

    code = "E1102"


class ReaderBusy(ReaderError):
    """The port exists, and another program holds it."""

    code = "E1114"
    retry = True


class ReaderUnplugged(ReaderError):
    """The line went away while it was in use."""

    code = "E1103"
    retry = True


class ReaderTimeout(ReaderError):
    """The line is there, the reader did not answer in time."""

    code = "E1104"
    retry = True


class ReaderProtocolError(ReaderError):
    """The reader answered, but not what the protocol allows: bad checksum, length, or an unexpected frame."""

    code = "E1105"
    retry = True


class ReaderRefused(ReaderError):
    """The reader answered with a status that is not success; `status` keeps it, known or not."""

    code = "E1106"
    retry = True

    def __init__(self, code: str | None = None, /, *, status: int, **facts: object) -> None:
        self.status = status
        super().__init__(code, status=f"0x{status:02X}", **facts)


class PhotoError(CodedError):
    """The chip's photo block could not be made into a picture."""

    code = "E1301"


class CameraError(CodedError):
    """The camera is missing, refuses to open, or stopped delivering frames."""

    code = "E2101"
    retry = True
