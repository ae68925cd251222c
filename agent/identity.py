"""Which machine this is, so that a copied state directory is noticed before it sends anything twice.

A kiosk PC is often installed from the image of another. Both would then hold, and deliver, the same
records. What identifies a machine is kept as keyed digests: the machine id, and the addresses of its
network hardware, because an image carries the first along.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: Under which setting the machine is kept that the records belong to.
KNOWN = "machine"
_PURPOSE = b"kiosk-agent state directory"


@dataclass(frozen=True)
class Machine:
    """Digests of the machine id ("" where there is none) and of each network device's address."""

    machine_id: str
    devices: frozenset[str]

    def to_json(self) -> str:
        """Return the form kept beside the records."""
        return json.dumps({"machine_id": self.machine_id, "devices": sorted(self.devices)})

    @classmethod
    def from_json(cls, text: str) -> Machine:
        """Return what `to_json` wrote."""
        found = json.loads(text)
        return cls(found["machine_id"], frozenset(found["devices"]))

    def is_another_than(self, known: Machine) -> bool:
        """Return whether this cannot be the machine that was known before.

        A new network card alone, or one unplugged, is still the same machine.
        """
        if self.machine_id and known.machine_id and self.machine_id != known.machine_id:
            return True
        return bool(self.devices and known.devices) and not self.devices & known.devices


def this_machine(root: Path = Path("/")) -> Machine:
    """Return the identity of the machine that we run on."""
    try:
        machine_id = (root / "etc/machine-id").read_text("ascii").strip()
    except (OSError, ValueError):
        machine_id = ""
    return identified(machine_id, _hardware_addresses(root / "sys/class/net"))


def identified(machine_id: str, addresses: Iterable[str]) -> Machine:
    """Return the digests of what identifies a machine."""
    return Machine(_digest(machine_id), frozenset(_digest(address) for address in addresses) - {""})


def _hardware_addresses(folder: Path) -> list[str]:
    """Return the addresses of real network devices: a bridge's or a container's is made up anew each time."""
    found = []
    for entry in folder.glob("*"):
        try:
            # 0 = burnt into the device; others are random, stolen or set by hand.
            if (entry / "device").exists() and (entry / "addr_assign_type").read_text().strip() == "0":
                found.append((entry / "address").read_text("ascii").strip())
        except (OSError, ValueError):
            continue
    return found


def _digest(value: str) -> str:
    return _hmac_sm3(value.encode()).hex()[:16] if value else ""


def _hmac_sm3(value: bytes) -> bytes:
    try:
        return hmac.digest(_PURPOSE, value, "sm3")
    except ValueError:
        from agent import sm  # for whoever has no SM3 in OpenSSL: slower to load

        return sm.hmac_sm3(_PURPOSE, value)
