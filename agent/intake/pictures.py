"""Pictures as kiosks hand them in: base64 with or without a data URI, and what is kept of them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable

from agent.catalogue import AgentError
from drivers.errors import PhotoError

#: What three million base64 characters hold.
MAX_BYTES = 3_000_000 // 4 * 3
_DATA_URI = re.compile(r"data:[a-zA-Z0-9!#$&^_.+/;=-]*;base64,", re.ASCII)
#: `vision.pictures.Pictures.accepted`: picture and bound in bytes to the JPEG that is kept.
Accept = Callable[[bytes, int], bytes]
_BLANKS = str.maketrans("", "", " \t\r\n")


class Unusable(ValueError):
    """No picture, or none that can be kept; `reason` is for the caller and quotes nothing."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Forbidden(Unusable):
    """The picture may not be fetched from there, or is not there."""


def from_base64(text: str) -> bytes:
    """Return what a text holds: standard or URL-safe alphabet, line breaks, data URI, padding or none."""
    start = _DATA_URI.match(text)
    body = text[start.end() if start else 0 :].translate(_BLANKS).replace("-", "+").replace("_", "/")
    body = body.rstrip("=")
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Unusable("not base64") from None


def accepted(accept: Accept, raw: bytes, bound: int) -> bytes:
    """Return the picture as it is kept. AgentError for what says nothing of the picture: E2307, E2308."""
    try:
        return accept(raw, bound)
    except PhotoError as error:
        raise Unusable(error.facts["reason"]) from None
    except AgentError as error:
        if error.code != "E2501":
            raise
        raise Unusable(f"cannot be made smaller than {bound} bytes") from None
