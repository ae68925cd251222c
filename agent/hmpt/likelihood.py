"""How likely each reading of the platform's document is: the ranking by which a site is probed. Pure data.

From the close reading of the document (docs/platform.md): what public code of this kind does, weighed. The
groups follow the order in which a platform looks at a request; knobs of a group are right or wrong together.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

from agent.catalogue import AgentError
from agent.config.schema import Conventions
from agent.hmpt.conventions import SM4_KEY_BYTES, sm4_key


class Group(str, Enum):
    """What a platform judges at one go."""

    SIGN = "sign"
    ID = "id"
    MEDIA = "media"
    BODY = "body"
    FIELDS = "fields"


#: A body that is read alike under both paddings; a convention of the probe alone.
EITHER = "either"

Ranking = Mapping[str, float]

SIGN_ENCODING: Ranking = {"hex": 0.78, "base64": 0.14, "HEX": 0.08}
SIGN_KEY: Ranking = {"utf8": 0.93, "hex": 0.06, "base64": 0.01}
SIGN_TEMPLATE: Ranking = {
    "{id}{time}": 0.96,
    "{id}+{time}": 0.015,  # the document's plus sign taken at its word
    "{time}{id}": 0.012,
    "{id}&{time}": 0.005,
    "{id}|{time}": 0.004,
    "{id}_{time}": 0.004,
}
TIME_FORMAT: Ranking = {"millis": 0.86, "seconds": 0.06, "yyyyMMddHHmmss": 0.06, "yyyy-MM-dd HH:mm:ss": 0.02}
REQUEST_ID: Ranking = {"hex32": 0.9, "uuid36": 0.1}
CONTENT_TYPE: Ranking = {"application/json;charset=UTF-8": 0.95, "application/json": 0.05}
CIPHER_ENCODING: Ranking = {"base64": 0.82, "hex": 0.16, "HEX": 0.02}
PADDING: Ranking = {"pkcs7": 0.97, "zero": 0.03}
BODY_SHAPE: Ranking = {"bare": 0.85, "data": 0.15}
REGISTER_TIME: Mapping[bool, float] = {False: 0.95, True: 0.05}
#: A site that was told to encrypt, or not to, was told so by somebody.
ENCRYPT_AS_CONFIGURED = 0.9

#: Which key the secret gives, by what the secret looks like.
SM4_KEY: Mapping[str, Ranking] = {
    "16 bytes": {"utf8": 0.97, "md5": 0.01, "md5hex16": 0.01, "sm3": 0.01},
    "32 hex digits": {"hex": 0.5, "first16": 0.25, "md5": 0.12, "md5hex16": 0.12, "sm3": 0.01},
    "other": {"first16": 0.45, "md5": 0.2, "md5hex16": 0.2, "sm3": 0.15},
}


@dataclass(frozen=True)
class Guess:
    """One set of conventions, as far as /machine/info can tell. `padding` may be EITHER."""

    sign_encoding: str
    sign_key: str
    sign_template: str
    time_format: str
    request_id: str
    content_type: str
    encrypt: bool
    sm4_key: str
    padding: str
    cipher_encoding: str
    body_shape: str
    send_register_time: bool

    def conventions(self, base: Conventions) -> Conventions:
        """Return `base` with this guess's keys. EITHER is sent as PKCS#7."""
        values = asdict(self)
        del values["encrypt"]
        if self.padding == EITHER:
            values["padding"] = "pkcs7"
        return base.model_copy(update=values)

    @classmethod
    def configured(cls, conventions: Conventions, *, encrypt: bool) -> Guess:
        """Return the guess that the configuration makes."""
        values = conventions.model_dump()
        names = [name for name in cls.__dataclass_fields__ if name != "encrypt"]
        return cls(encrypt=encrypt, **{name: values[name] for name in names})


@dataclass(frozen=True)
class Option:
    """Values for the knobs of one group, and how likely they are."""

    values: tuple[tuple[str, Any], ...]
    weight: float

    def value(self, name: str) -> Any:
        """Return the value of one knob."""
        return dict(self.values)[name]

    def fits(self, guess: Guess) -> bool:
        """Return whether the guess has these values."""
        return all(getattr(guess, name) == value for name, value in self.values)


Space = Mapping[Group, Sequence[Option]]


def space(configured: Guess, secret: bytes) -> dict[Group, tuple[Option, ...]]:
    """Return every option of each group, likeliest first; what is configured leads its group."""
    c = configured
    sign = _options(
        sign_encoding=_with(SIGN_ENCODING, c.sign_encoding),
        sign_key=_with({name: SIGN_KEY[name] for name in _sign_keys(secret)}, c.sign_key),
        sign_template=_with(SIGN_TEMPLATE, c.sign_template),
        time_format=_with(TIME_FORMAT, c.time_format),
    )
    found = {
        Group.SIGN: sign,
        Group.ID: _options(request_id=_with(REQUEST_ID, c.request_id)),
        Group.MEDIA: _options(content_type=_with(CONTENT_TYPE, c.content_type)),
        Group.BODY: _bodies(c, secret),
        Group.FIELDS: _options(send_register_time=REGISTER_TIME),
    }
    return {group: _led(options, c) for group, options in found.items()}


def _options(**rankings: Mapping[Any, float]) -> tuple[Option, ...]:
    names = tuple(rankings)
    found = []
    for row in itertools.product(*(ranking.items() for ranking in rankings.values())):
        weight = 1.0
        for _, share in row:
            weight *= share
        found.append(Option(tuple(zip(names, (value for value, _ in row), strict=True)), weight))
    return _sorted(found)


def _sorted(options: Iterable[Option]) -> tuple[Option, ...]:
    return tuple(sorted(options, key=lambda option: -option.weight))


def _with(ranking: Ranking, configured: str) -> Ranking:
    """Return a ranking that knows the configured value, however unlikely."""
    return ranking if configured in ranking else {**ranking, configured: 0.01}


def _led(options: Sequence[Option], configured: Guess) -> tuple[Option, ...]:
    """Put what is configured first: somebody may have had a reason."""
    top = max(option.weight for option in options)
    led = [replace(option, weight=top * 1.01) if option.fits(configured) else option for option in options]
    return _sorted(led)


def _sign_keys(secret: bytes) -> list[str]:
    """Return the ways in which the secret can be read as an HMAC key."""
    found = ["utf8"]
    if re.fullmatch(rb"([0-9A-Fa-f]{2})+", secret):
        found.append("hex")
    with_padding = len(secret) % 4 == 0
    try:
        if with_padding and len(base64.b64decode(secret, validate=True)) >= 8:
            found.append("base64")
    except (ValueError, binascii.Error):
        pass
    return found


def cipher_keys(configured: str, secret: bytes) -> dict[str, float]:
    """Return the sm4_key names that give different keys, likeliest first.

    The configured name stands for every other that gives the same key.
    """
    ranking = SM4_KEY[_looks_like(secret)]
    found: dict[bytes, tuple[str, float]] = {}
    for name in (configured, *ranking):
        key = _key(name, secret)
        if key is None:
            continue
        known, share = found.get(key, (name, 0.0))
        found[key] = (known, max(share, ranking.get(name, 0.005)))
    return dict(found.values())


def _looks_like(secret: bytes) -> str:
    if len(secret) == SM4_KEY_BYTES:
        return "16 bytes"
    return "32 hex digits" if re.fullmatch(rb"[0-9A-Fa-f]{32}", secret) else "other"


def _key(name: str, secret: bytes) -> bytes | None:
    try:
        return sm4_key(Conventions(sm4_key=name), secret)  # type: ignore[arg-type]  # checked by pydantic
    except AgentError:
        return None


def _bodies(c: Guess, secret: bytes) -> tuple[Option, ...]:
    """Return the ways to write a body: encrypted by key and text form, or plain by shape.

    A text form and key other than the configured ones are tried with a body that both paddings read
    alike; which it is shows afterwards.
    """
    plain = _options(encrypt={False: _encrypted_share(c, wanted=False)}, body_shape=BODY_SHAPE)
    found = [_settled(option, c, ("sm4_key", "padding", "cipher_encoding")) for option in plain]
    keys = cipher_keys(c.sm4_key, secret)
    sealed = _options(
        encrypt={True: _encrypted_share(c, wanted=True)}, sm4_key=keys, cipher_encoding=CIPHER_ENCODING
    )
    for option in sealed:
        values = dict(option.values)
        configured = (values["sm4_key"], values["cipher_encoding"]) == (c.sm4_key, c.cipher_encoding)
        paddings = PADDING if configured else {EITHER: 1.0}
        for padding, share in paddings.items():
            both = (*option.values, ("padding", padding))
            found.append(_settled(Option(both, option.weight * share), c, ("body_shape",)))
    return _sorted(found)


def _encrypted_share(c: Guess, *, wanted: bool) -> float:
    return ENCRYPT_AS_CONFIGURED if c.encrypt is wanted else 1 - ENCRYPT_AS_CONFIGURED


def _settled(option: Option, c: Guess, unused: tuple[str, ...]) -> Option:
    """Give the knobs that a body of this kind does not use their configured values: one try, not several."""
    return Option((*option.values, *((name, getattr(c, name)) for name in unused)), option.weight)


def paddings(option: Option, cipher_encoding: str) -> tuple[Option, ...]:
    """Return the options that one with EITHER stands for, likelier first.

    Where it is zeros after all, the configured text form may do as well: PKCS#7 was what failed with it.
    """
    values = dict(option.values)
    rows = dict.fromkeys((("pkcs7", values["cipher_encoding"]), ("zero", cipher_encoding)))
    rows |= {("zero", values["cipher_encoding"]): None}
    return tuple(
        Option(tuple((values | {"padding": padding, "cipher_encoding": encoding}).items()), 1 / rank)
        for rank, (padding, encoding) in enumerate(rows, start=1)
    )


def likeliest(groups: Sequence[Sequence[Option]], wanted: int) -> Iterator[Guess]:
    """Yield the `wanted` likeliest combinations, and more, likeliest first. Each group is sorted."""
    found = []
    for positions in _positions([len(options) for options in groups], wanted):
        row = [options[position] for options, position in zip(groups, positions, strict=True)]
        found.append((math.prod(option.weight for option in row), row))
    for _, row in sorted(found, key=lambda one: -one[0]):
        yield Guess(**dict(itertools.chain.from_iterable(option.values for option in row)))


def _positions(lengths: Sequence[int], wanted: int) -> Iterator[tuple[int, ...]]:
    # The n-th likeliest cannot lie where the product of (1 + position) exceeds n: so many are above it.
    def walk(index: int, room: int, head: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if index == len(lengths):
            yield head
            return
        for position in range(min(lengths[index], room)):
            yield from walk(index + 1, room // (position + 1), (*head, position))

    yield from walk(0, wanted, ())
