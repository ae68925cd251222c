"""Faults to order: how a simulated reader misbehaves, reproducibly."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Faults:
    """Probabilities per reply, except where said otherwise. All zero: a perfect reader."""

    noise: float = 0.0  # stray bytes before the reply
    noise_inside: float = 0.0  # one stray byte within it
    checksum: float = 0.0  # a wrong checksum
    silence: float = 0.0  # no reply at all
    drop_byte: float = 0.0  # one byte missing
    late: float = 0.0  # the reply comes two and a half seconds late
    unplug_after: float = 0.0  # number of replies after which the line goes away for a second
    seed: float = 1.0

    def rng(self) -> random.Random:
        """Return the source of chance for one reader."""
        return random.Random(int(self.seed))  # noqa: S311 -- faults, not keys


def parse_faults(texts: Iterable[str]) -> Faults:
    """Read NAME=VALUE texts. ValueError for a name or value that is none."""
    known = {field.name for field in fields(Faults)}
    chosen: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in known:
            raise ValueError(f"no fault {name!r}; there are {', '.join(sorted(known))}")
        chosen[name] = float(value)
    return Faults(**chosen)


def spoilt(reply: bytes, faults: Faults, rng: random.Random) -> tuple[bytes, bool]:
    """Return what goes over the line instead of `reply`, and whether it can still be understood."""
    if rng.random() < faults.silence:
        return b"", False
    whole = True
    if rng.random() < faults.checksum:
        reply, whole = reply[:-1] + bytes((reply[-1] ^ 0x5A,)), False
    if rng.random() < faults.drop_byte:
        place = rng.randrange(len(reply))
        reply, whole = reply[:place] + reply[place + 1 :], False
    if rng.random() < faults.noise_inside:
        place = rng.randrange(7, len(reply))
        reply, whole = reply[:place] + bytes((rng.randrange(256),)) + reply[place:], False
    if rng.random() < faults.noise:
        reply = rng.randbytes(rng.randrange(1, 30)) + reply
    return reply, whole
