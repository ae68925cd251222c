"""The facts that travel through the agent: frozen, typed, silent about persons in `repr`.

A `Verification` is made once, by `agent.verify`, and never changes; what is learned later is a
`Supplement` beside it. Pictures travel beside the facts, never inside them, because they are sealed
apart at rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from agent.clock import Uptime
from drivers.card import CardKind

#: Version of the facts' JSON form; part of what is authenticated at rest.
FACTS_SCHEMA = 1


class FaceResult(Enum):
    """faceResult of table 4.2: the value is the platform's digit."""

    FAILED = 0
    PASSED = 1
    NOT_VERIFIED = 2


@dataclass(frozen=True)
class FrameQuality:
    """What was measured of one camera frame that was compared; units as in `agent.face.quality`."""

    after_ms: int  # since the card was presented
    eye_px: float
    roll_deg: float
    yaw: float
    pitch: float
    brightness: float
    burnt: float
    sharpness: float
    reason: str = ""  # the gate that it did not pass: used at best effort


@dataclass(frozen=True)
class Try:
    """One comparison within a verification: the mean of these frames against the card."""

    cosine: float
    score: float
    frames: tuple[FrameQuality, ...]


@dataclass(frozen=True)
class FaceVerdict:
    """Result of a verification's comparisons, with all that is needed to defend it later.

    `score` is the platform's 0..1, derived from `cosine` by the mapping named `mapping` and rounded down;
    both are None when no comparison was possible, and `reason` then names why. It passed when `score` is at
    least `pass_score`. Cosine and score are those of the last try; `tries` keeps every one.
    """

    result: FaceResult
    reason: str = (
        ""  # "", "no_face", "several_people", "photo_undecoded", "engine_missing", "below_threshold" ...
    )
    cosine: float | None = None
    score: float | None = None
    threshold: float | None = None  # cosine
    model: str = ""  # first 12 hex digits of the recogniser file's SHA-256
    mapping: str = ""  # version of the cosine -> score mapping
    frames: int = 0  # how many camera frames were averaged
    attempts: int = 1
    pass_score: float | None = None  # the threshold on the scale of `score`
    best_effort: bool = False  # time ran out before enough good frames came
    tries: tuple[Try, ...] = ()
    liveness: float | None = None  # 0..1, advisory: what a site's own program said; decides nothing

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> FaceVerdict:
        """Rebuild a verdict from its JSON form: the inverse of `to_values`."""
        tries = tuple(
            Try(**{**one, "frames": tuple(FrameQuality(**frame) for frame in one["frames"])})
            for one in values.get("tries", ())
        )
        return cls(**{**values, "result": FaceResult(values["result"]), "tries": tries})

    def to_values(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "result": self.result.value}


class PictureKind(Enum):
    """What a sealed picture row holds. The value is stored: never change one."""

    CAMERA = "camera"  # JPEG
    CARD = "card"  # JPEG of the decoded chip photo
    PHOTO_BLOCK = "photo_block"  # 1024 bytes WLT as read from the chip
    FINGER = "finger"  # JPEG


class Hold(Enum):
    """Local reasons why a record cannot be sent yet. The value is stored and shown."""

    OPERATOR = "operator"
    CARD_PICTURE = "card_picture"
    NATION = "nation"
    ADDRESS = "address"
    ISSUER = "issuer"
    CLOCK = "clock"
    FIELD = "field"  # a field breaks a rule of the platform's table; the reason names it
    DEVICE = "device"  # its device is out of service


@dataclass(frozen=True)
class Finger:
    """The three optional finger fields of table 4.2 (the picture travels with the other pictures)."""

    score: float
    result: int  # 0 failed, 1 passed, 2 not verified


@dataclass(frozen=True)
class Verification:
    """One verification, complete or not. Field meanings as in `drivers.card.CardRecord`."""

    id: str  # 32 lower-case hex digits; also the request id of every attempt
    verified_at: datetime  # UTC, the time of the chosen camera picture
    face: FaceVerdict
    card_kind: CardKind
    device_no: str
    machine_code: str
    source: str = "sdt"  # "sdt", or "intake" and the caller's own id behind a colon
    clock_trusted: bool = True
    name: str = field(default="", repr=False)
    number: str = field(default="", repr=False)
    sex_code: str = field(default="", repr=False)
    nation_code: str = field(default="", repr=False)
    birth: str = field(default="", repr=False)
    address: str = field(default="", repr=False)
    newest_address: str | None = field(default=None, repr=False)
    issuer: str = field(default="", repr=False)
    valid_from: str = field(default="", repr=False)
    valid_until: str = field(default="", repr=False)
    latin_name: str = field(default="", repr=False)
    operator: str = field(default="", repr=False)
    finger: Finger | None = None
    uptime: Uptime | None = None  # of `verified_at`, where the clock was not trusted

    def to_facts(self) -> dict[str, Any]:
        """Return the JSON form; `from_facts` is its exact inverse."""
        facts = asdict(self)
        facts["verified_at"] = self.verified_at.astimezone(timezone.utc).isoformat()
        facts["card_kind"] = self.card_kind.value
        facts["face"] = self.face.to_values()
        if self.uptime is None:
            # As former versions wrote it, and can still read it.
            del facts["uptime"]
        facts["schema"] = FACTS_SCHEMA
        return facts

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Verification:
        """Rebuild a verification. ValueError for a schema this version does not know."""
        values = dict(facts)
        schema = values.pop("schema", None)
        if schema != FACTS_SCHEMA:
            raise ValueError(f"facts have schema {schema!r}, this version reads {FACTS_SCHEMA}")
        values["verified_at"] = datetime.fromisoformat(values["verified_at"])
        values["card_kind"] = CardKind(values["card_kind"])
        values["face"] = FaceVerdict.from_values(values["face"])
        if values["finger"] is not None:
            values["finger"] = Finger(**values["finger"])
        if values.get("uptime") is not None:
            values["uptime"] = Uptime(**values["uptime"])
        return cls(**values)


#: What a person may supply or correct: its name in the platform's table 4.2, under which people meet it
#: everywhere, and the field of the facts. Anything else is what chip, camera and engine said.
ENTERED: Mapping[str, str] = {
    "operationUser": "operator",
    "sexCode": "sex_code",
    "nationalCode": "nation_code",
    "address": "address",
    "police": "issuer",
    "cardStartDate": "valid_from",
    "cardEndDate": "valid_until",
}
#: Fields of the facts that a supplement may fill.
SUPPLEMENTABLE = frozenset({"operator", "nation_code", "address", "issuer"})
#: The time of a record that was made under a clock that nobody could trust: put right once, and only then.
VERIFIED_AT = "verified_at"
#: The verdict of a comparison made later, of a card picture that could not be decoded at the desk.
FACE = "face"


@dataclass(frozen=True)
class Supplement:
    """One later addition to a held record: appended, never overwriting the original facts."""

    name: str  # one of SUPPLEMENTABLE, VERIFIED_AT, FACE, or "picture:card"
    value: str = field(repr=False)
    who: str
    at: datetime  # UTC


def supplemented(verification: Verification, supplements: Sequence[Supplement]) -> Verification:
    """Return the verification as it is to be sent: the original with its supplements, latest wins."""
    changes: dict[str, Any] = {s.name: s.value for s in supplements if s.name in SUPPLEMENTABLE}
    times = [s.value for s in supplements if s.name == VERIFIED_AT]
    if times and not verification.clock_trusted:
        changes |= {"verified_at": datetime.fromisoformat(times[0]), "clock_trusted": True}
    verdicts = [s.value for s in supplements if s.name == FACE]
    if verdicts and verification.face.result is FaceResult.NOT_VERIFIED:
        # A verdict that was reached at the desk is never replaced.
        changes["face"] = FaceVerdict.from_values(json.loads(verdicts[0]))
    return replace(verification, **changes) if changes else verification


# --- what the platform's answer means ---------------------------------------------------------------


@dataclass(frozen=True)
class Receipt:
    """Proof that the platform took a record: kept after the pictures are gone."""

    request_id: str
    return_time: int | None  # the platform's clock, milliseconds since 1970
    code: int
    exception_code: str | None
    message: str
    signed: bool  # the answer carried a signature and it was right


@dataclass(frozen=True)
class Delivered:
    """The platform has the record and said so, believably."""

    receipt: Receipt


class About(Enum):
    """What a refusal says it is about; most say nothing useful and name a parameter at best."""

    RECORD = "record"  # or nothing that could be told
    LANE = "lane"  # signature, time, organisation, cipher: everybody would be refused
    DEVICE = "device"  # unknown there, or disabled
    DUPLICATE = "duplicate"  # this request id, or this record, was there before
    SIZE = "size"  # too large for something on the way


@dataclass(frozen=True)
class Refused:
    """The platform read the record and does not want it. Whose fault that is, the uploader judges."""

    code: str  # catalogue code
    platform_code: str
    exception_code: str | None
    message: str
    about: About = About.RECORD


@dataclass(frozen=True)
class Unknown:
    """The platform may or may not have the record: send the same one again, same request id."""

    code: str
    detail: str


@dataclass(frozen=True)
class PlatformDown:
    """The platform, the way to it, or our right to speak to it is missing; no record is at fault."""

    code: str
    detail: str
    retry_after_s: float | None = None


Outcome = Delivered | Refused | Unknown | PlatformDown
