"""Faults to order: how a simulated reader misbehaves, reproducibly.

Three sorts: what happens to a reply on its way (a probability each), what the module itself does, and how
this firmware differs. `step` and `times` narrow the first two down, so that one fault can be put at one
place: `--fault checksum=1 --fault step=read --fault times=1`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, fields

#: What `step` may name: the commands by what they ask for.
STEPS = ("reset", "status", "id", "find", "select", "read", "fingers", "newest", "baud", "rf")
#: A false start: the preamble and a length that will never come.
FALSE_START = bytes.fromhex("AAAAAA96690FFF")


@dataclass(frozen=True)
class Faults:
    """All zero: a perfect, strict reader. Probabilities are 0..1 for each reply."""

    # What happens to a reply on its way.
    noise: float = 0.0  # stray bytes before it
    noise_inside: float = 0.0  # one stray byte within it
    false_start: float = 0.0  # a preamble before it that announces what never comes
    checksum: float = 0.0  # a wrong checksum
    length: float = 0.0  # a length too large for any frame
    drop_byte: float = 0.0  # one byte missing
    cut: float = 0.0  # only its first half comes
    silence: float = 0.0  # it does not come at all
    late: float = 0.0  # it comes `late_s` too late
    late_s: float = 2.5
    double: float = 0.0  # it comes twice
    drip: float = 0.0  # it comes byte by byte
    # What the module does.
    hang_after: int = 0  # replies after which it is silent until it is reset
    unplug_after: int = 0  # replies after which the line goes away for a second
    pull: float = 0.0  # the card is pulled away as this step begins
    status: int = 0  # answered in place of success, e.g. 0x41
    # How this firmware differs.
    lenient: bool = False  # find answers "found" as long as the card lies there
    tolerant: bool = False  # a skipped step is not noticed
    no_newest: bool = False  # command 30 03 is not known
    no_id: bool = False  # command 12 FF is not known
    # Seconds that the module thinks about a step.
    find_s: float = 0.0
    select_s: float = 0.0
    read_s: float = 0.0
    # Where and how often.
    step: str = ""  # the only step at which faults happen
    times: int = 0  # how often, 0 for always
    seed: int = 1

    def rng(self) -> random.Random:
        """Return the source of chance for one reader."""
        return random.Random(self.seed)  # noqa: S311 -- faults, not keys


def parse_faults(texts: Iterable[str]) -> Faults:
    """Read NAME=VALUE texts. ValueError for a name or value that is none."""
    kinds = {field.name: type(field.default) for field in fields(Faults)}
    chosen: dict[str, float | int | bool | str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in kinds:
            raise ValueError(f"no fault {name!r}; there are {' | '.join(sorted(kinds))}")
        chosen[name] = _value(name, kinds[name], value)
    return Faults(**chosen)  # type: ignore[arg-type]  # each value is of its field's own type


def _value(name: str, kind: type, text: str) -> float | int | bool | str:
    if name == "step":
        if text not in STEPS:
            raise ValueError(f"no step {text!r}; there are {' | '.join(STEPS)}")
        return text
    if kind is bool:
        return text.lower() not in {"", "0", "no", "false"}
    return int(text, 0) if kind is int else float(text)


class Spoiler:
    """Spoils the replies of one reader as ordered."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._rng = faults.rng()
        self._done = 0

    def applies(self, step: str) -> bool:
        """Return whether faults may still happen at this step."""
        faults = self.faults
        return step == (faults.step or step) and not (faults.times and self._done >= faults.times)

    def happens(self, probability: float) -> bool:
        """Return whether one fault happens now, and count it."""
        happened = self._rng.random() < probability
        self._done += happened
        return happened

    def spoilt(self, reply: bytes) -> tuple[list[bytes], bool]:
        """Return what goes over the line instead of `reply`, and whether it can still be understood."""
        faults, before = self.faults, self._done
        if self.happens(faults.silence):
            return [], False
        sent = self._broken(reply)
        whole = sent == reply
        if self.happens(faults.noise):
            sent = self._rng.randbytes(self._rng.randrange(1, 30)) + sent
        if self.happens(faults.false_start):
            sent = FALSE_START + sent
        if self.happens(faults.double):
            sent += sent
        # Several at once are one fault at one place.
        self._done = min(self._done, before + 1)
        dripping = self.happens(faults.drip)
        return ([bytes((byte,)) for byte in sent] if dripping else [sent]), whole

    def _broken(self, reply: bytes) -> bytes:
        """Return a reply that cannot be understood any more, or the same one."""
        faults, rng = self.faults, self._rng
        if self.happens(faults.checksum):
            reply = reply[:-1] + bytes((reply[-1] ^ 0x5A,))
        if self.happens(faults.length):
            reply = reply[:5] + b"\xff\xff" + reply[7:]
        if self.happens(faults.drop_byte):
            # Behind the preamble, which may lose a byte without harm.
            place = rng.randrange(5, len(reply))
            reply = reply[:place] + reply[place + 1 :]
        if self.happens(faults.noise_inside):
            place = rng.randrange(7, len(reply))
            reply = reply[:place] + bytes((rng.randrange(256),)) + reply[place:]
        return reply[: len(reply) // 2] if self.happens(faults.cut) else reply
