"""USB readers by vendor and product id: how each is spoken to, and how sure that is.

A reader of another make is one more row, and a framing class where its reports are wrapped in a new way.
Sources: "SAM communication protocol" and several public drivers (0400:C35A); one public program each for the
others, which `auto` therefore leaves alone until `reader.port` names them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drivers.transport.hid_framing import EnvelopeFraming, Framing, RawFraming


@dataclass(frozen=True)
class Model:
    """One make. `framing` is None for bulk pipes; `refused` names the code why it is not served at all."""

    vendor: int
    product: int
    name: str
    framing: Callable[[], Framing] | None = None
    sure: bool = False
    refused: str | None = None

    @property
    def ids(self) -> str:
        """Return the ids as `reader.port` has them."""
        return f"{self.vendor:04X}:{self.product:04X}"


MODELS = (
    Model(0x0400, 0xC35A, "SAM_V reader on bulk pipes", sure=True),
    Model(0x2B8B, 0x2721, "HID reader, raw reports", RawFraming),
    Model(0x10C4, 0x0007, "HID reader MR-300", EnvelopeFraming),
    Model(0x203B, 0x0101, "HID reader MR-300, older", EnvelopeFraming),
    # Has no security module: it sends the card to a server on the internet.
    Model(0xC216, 0x0102, "reader that decodes in a cloud", refused="E1111"),
)


def model(vendor: int, product: int) -> Model | None:
    """Return the row of a device, None for one that is not known as a reader."""
    return next((one for one in MODELS if (one.vendor, one.product) == (vendor, product)), None)
