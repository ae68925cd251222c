"""Whose fault is it? What one refusal cannot tell, the next records do. A pure state machine.

A wrong clock, secret or convention refuses everybody; a disabled device refuses all its records; a bad
record is refused while others pass. On the wire the three look alike. So a refusal counts against a record
only when another record of the same device was accepted since the record was last refused - its
*witness* - and only under a clock under which records were accepted. Nothing is ever parked without one.

Until the first verification was accepted under the conventions in force nothing is known at all: then
every refusal stops the lane.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum, auto

from agent.records import About

#: Different records refused in a row without anybody accepted in between: then it is not the records.
IN_A_ROW = 3
#: Refusals with a witness after which a record is set aside: one where the answer showed our clock right.
STRIKES, STRIKES_WITHOUT_TIME = 1, 2
#: Failures of the platform over one record alone, and contradictions about it, before it is set aside.
FAILURES, CONTRADICTIONS = 5, 3
#: A body this much larger than any that was accepted may be failing for its size.
LARGER = 1.25
#: Our clock may be off by this much before a refusal is laid to it, and by this more than at any acceptance.
SKEW_S, SKEW_MORE_S = 60.0, 30.0
#: Kept in mind at once; the oldest is forgotten first, which only delays a verdict.
MAX_SUSPECTS = 256
MAX_GOOD = 8


class Verdict(Enum):
    """What is to become of a record that was not accepted, and of the lane."""

    LATER = auto()  # it steps aside for its own back-off, the lane goes on
    LANE = auto()  # it goes back, the lane stops: nobody would be accepted
    DEVICE = auto()  # it goes back, and so do the others of its device
    SMALLER = auto()  # once more, with smaller pictures
    PARK = auto()  # set aside until a person looks


@dataclass(frozen=True)
class Ruling:
    """A verdict and the catalogue code under which people hear of it."""

    verdict: Verdict
    code: str


class Failure(Enum):
    """Kinds of unknown outcome."""

    INSIDE = auto()  # 5xx, B..., C...: the platform failed over it
    UNNAMED = auto()  # a code other than 200 and not a word why: a fault of its own, or a refusal of us all
    CONTRADICTION = auto()  # code 200 with an exception, HTTP 500 with code 200
    BROKE = auto()  # the connection broke while the body was going out
    LOST = auto()  # no answer, or none that can be believed


@dataclass(frozen=True)
class Case:
    """One answer about one record."""

    record: str
    device: str
    own_device: bool = True
    length: int = 0  # of the body
    shrunk: bool = False  # sent with smaller pictures
    unknown_before: bool = False  # an earlier attempt's answer was lost: the platform may have the record
    skew_s: float | None = None  # of our clock, by this very answer


@dataclass(frozen=True)
class Suspect:
    """A record that was not accepted."""

    device: str
    strikes: int = 0  # refusals with a witness before them
    failures: int = 0  # the platform's own, with a witness before them
    contradictions: int = 0
    broke: int = 0
    witness: bool = False  # another record of its device was accepted since its last bad answer
    elsewhere: int = 0  # refusals since which records of other devices alone were accepted
    other_device: bool = False  # a record of another device was accepted since its last bad answer


@dataclass(frozen=True)
class Judgement:
    """What is remembered between answers; frozen, stored as JSON."""

    proven: str = ""  # the conventions under which a verification was accepted last
    good: tuple[str, ...] = ()  # fingerprints under which any ever was, latest last
    suspects: Mapping[str, Suspect] = field(default_factory=dict)
    in_a_row: tuple[str, ...] = ()  # different records refused since the last acceptance
    largest: int = 0  # body that was accepted
    skew_s: float = 0.0  # largest at an acceptance

    # --- answers --------------------------------------------------------------------------------------

    def accepted(self, case: Case, mark: str) -> Judgement:
        """Return what is known after an acceptance under the conventions `mark`."""
        suspects = {
            name: replace(one, witness=True) if one.device == case.device else replace(one, other_device=True)
            for name, one in self.suspects.items()
            if name != case.record
        }
        good = self.good
        if good[-1:] != (mark,):
            good = (*(one for one in good if one != mark), mark)[-MAX_GOOD:]
        skew = abs(case.skew_s or 0.0)
        return replace(
            self,
            proven=mark,
            good=good,
            suspects=suspects,
            in_a_row=(),
            largest=max(self.largest, case.length),
            # In steps, so that a drifting clock is not a change worth storing at every record.
            skew_s=skew if skew > self.skew_s + SKEW_MORE_S else self.skew_s,
        )

    def refused(self, case: Case, about: About, mark: str) -> tuple[Judgement, Ruling]:
        """Return what is known after a refusal, and the ruling on it."""
        suspect = self._suspect(case)
        elsewhere = suspect.elsewhere + (suspect.other_device and not suspect.witness)
        strikes = suspect.strikes + suspect.witness
        told = replace(suspect, strikes=strikes, elsewhere=elsewhere)
        after = replace(self._with(case, told), in_a_row=_with_row(self.in_a_row, case.record))
        ruling = self._ruled(case, about, mark, suspect, after)
        if ruling.verdict is not Verdict.PARK:
            return after, ruling
        # Parked for its size it still counts as one refused: a limit may let nobody through.
        parked = after.without(case.record)
        return replace(parked, in_a_row=after.in_a_row) if about is About.SIZE else parked, ruling

    def failed(self, case: Case, failure: Failure) -> tuple[Judgement, Ruling]:
        """Return what is known after an unknown outcome, and the ruling on it."""
        suspect = self._suspect(case)
        alone = int(suspect.witness)
        told = replace(
            suspect,
            failures=suspect.failures + alone * (failure in {Failure.INSIDE, Failure.UNNAMED}),
            contradictions=suspect.contradictions + (failure is Failure.CONTRADICTION),
            broke=suspect.broke + alone * (failure is Failure.BROKE),
        )
        after = self._with(case, told)
        if failure is Failure.UNNAMED:
            after = replace(after, in_a_row=_with_row(self.in_a_row, case.record))
        ruling = self._ruled_failure(case, failure, suspect, after)
        return (after.without(case.record) if ruling.verdict is Verdict.PARK else after), ruling

    # --- around them ----------------------------------------------------------------------------------

    def commissioning(self, mark: str) -> bool:
        """Return whether no verification was accepted yet under these conventions."""
        return self.proven != mark

    def forgiven(self) -> Judgement:
        """Return what is left of it when the configuration changed: what was refused is judged afresh."""
        return replace(self, suspects={}, in_a_row=())

    def without(self, record: str) -> Judgement:
        """Return it without a record that is no longer sent."""
        return replace(
            self,
            suspects={name: one for name, one in self.suspects.items() if name != record},
            in_a_row=tuple(one for one in self.in_a_row if one != record),
        )

    def to_json(self) -> str:
        """Return the stored form."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | None) -> Judgement:
        """Rebuild what was stored; None, or what another version stored, knows nothing."""
        try:
            values = json.loads(text or "{}")
            suspects = {name: Suspect(**one) for name, one in values.pop("suspects", {}).items()}
            good, row = (tuple(values.pop(name, ())) for name in ("good", "in_a_row"))
            return cls(suspects=suspects, good=good, in_a_row=row, **values)
        except (ValueError, TypeError, AttributeError):
            return cls()

    # --- the rules ------------------------------------------------------------------------------------

    def _ruled(self, case: Case, about: About, mark: str, suspect: Suspect, after: Judgement) -> Ruling:
        if about is About.DUPLICATE and case.unknown_before:
            return Ruling(Verdict.PARK, "W5107")
        if about is About.SIZE and not case.shrunk:
            return Ruling(Verdict.SMALLER, "E5104")
        named = self._named(case, about)
        if named is not None:
            return self._not_the_records(case, named, suspect)
        if self.commissioning(mark):
            return Ruling(Verdict.LANE, "E5105")
        if about is About.SIZE:
            # One too large even so is parked; one after the other is a limit that lets nobody through.
            everybody = len(after.in_a_row) >= IN_A_ROW
            return Ruling(Verdict.LANE if everybody else Verdict.PARK, "E5104")
        return self._by_who_else(case, suspect, after)

    def _named(self, case: Case, about: About) -> str | None:
        """Return the code of a fault that is not the record's by the answer's own words or clock."""
        if about is About.LANE or self._clock_suspect(case):
            return "E5110"
        return "E5106" if about is About.DEVICE else None

    def _clock_suspect(self, case: Case) -> bool:
        """Return whether our clock is off, and by more than when records were accepted."""
        return abs(case.skew_s or 0.0) > max(SKEW_S, self.skew_s + SKEW_MORE_S)

    @staticmethod
    def _not_the_records(case: Case, code: str, suspect: Suspect) -> Ruling:
        if suspect.witness:
            # Others pass all the same: it keeps out of their way, and is never parked for it.
            return Ruling(Verdict.LATER, code)
        if code == "E5106" and not case.own_device:
            return Ruling(Verdict.DEVICE, code)
        return Ruling(Verdict.LANE, code)

    def _by_who_else(self, case: Case, suspect: Suspect, after: Judgement) -> Ruling:
        told = after.suspects[case.record]
        if suspect.witness and told.strikes >= (STRIKES_WITHOUT_TIME if case.skew_s is None else STRIKES):
            return self._its_own(case, "E5101")
        if suspect.other_device and not suspect.witness:
            siblings = sum(one.device == case.device for one in after.suspects.values())
            if siblings > 1 or told.elsewhere >= IN_A_ROW:
                return Ruling(Verdict.DEVICE, "E5106")
        if len(after.in_a_row) >= IN_A_ROW:
            return Ruling(Verdict.LANE, "E5102")
        return Ruling(Verdict.LATER, "E5103")

    def _ruled_failure(self, case: Case, failure: Failure, suspect: Suspect, after: Judgement) -> Ruling:
        told = after.suspects[case.record]
        if failure is Failure.CONTRADICTION and suspect.witness and told.contradictions >= CONTRADICTIONS:
            return Ruling(Verdict.PARK, "E5109")
        if failure is Failure.UNNAMED and not suspect.witness:
            if self._clock_suspect(case):
                return Ruling(Verdict.LANE, "E5110")
            if len(after.in_a_row) >= IN_A_ROW:
                return Ruling(Verdict.LANE, "E5102")
        if failure in {Failure.INSIDE, Failure.UNNAMED} and told.failures >= FAILURES:
            return self._its_own(case, "E5108")
        if failure is Failure.BROKE:
            if not suspect.witness:
                return Ruling(Verdict.LANE, "E4104")
            if told.broke >= CONTRADICTIONS and self._oversized(case):
                return Ruling(Verdict.SMALLER, "E5104")
        return Ruling(Verdict.LATER, "")

    def _its_own(self, case: Case, code: str) -> Ruling:
        """Return the ruling on a record that alone fails: smaller first, if it is the largest by far."""
        return Ruling(Verdict.SMALLER, "E5104") if self._oversized(case) else Ruling(Verdict.PARK, code)

    def _oversized(self, case: Case) -> bool:
        return not case.shrunk and case.length > LARGER * self.largest > 0

    def _suspect(self, case: Case) -> Suspect:
        return self.suspects.get(case.record, Suspect(case.device))

    def _with(self, case: Case, told: Suspect) -> Judgement:
        """Return it with a suspect that has no witness since now."""
        others = {name: one for name, one in self.suspects.items() if name != case.record}
        while len(others) >= MAX_SUSPECTS:
            del others[next(iter(others))]
        fresh = replace(told, witness=False, other_device=False)
        return replace(self, suspects={**others, case.record: fresh})


def _with_row(row: tuple[str, ...], record: str) -> tuple[str, ...]:
    return row if record in row else (*row, record)[-MAX_SUSPECTS:]
