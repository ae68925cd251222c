"""The search for a platform's conventions: what is known in, the next request out. Pure.

Forty requests cannot try every combination, so each answer settles one group of knobs at a time: a platform
that names what it dislikes rules out one option of that group for every combination; one that does not is
asked with a signature, then a body, that cannot be right, and whether it answers those alike tells how far
the real one came. What an answer's own signature or cipher proves is believed before any ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from agent.hmpt.conventions import MAX_SKEW_S
from agent.hmpt.likelihood import EITHER, Group, Guess, Option, Space, likeliest, paddings
from agent.hmpt.readings import Reading, Signed, Stage

#: Requests of one probe, at the most.
MAX_REQUESTS = 40
#: A clock that is off by less is not what a platform refuses.
CLOCK_OFF_S = 30.0
#: Refusals after which an answer that is itself signed by no key of ours is believed: the secret is wrong.
SECRET_TRIES = 3
#: What an answer proves outweighs every ranking.
PROOF = 1e6


class Why(str, Enum):
    """Why a request is made as it is."""

    CONFIGURED = "configured"
    LIKELIEST = "likeliest"
    BAD_SIGNATURE = "bad-signature"  # a control: must be refused
    BAD_BODY = "bad-body"
    BAD_TICKET = "bad-ticket"
    CLOCK = "clock"  # the same, signed with the platform's time
    OWN_CLOCK = "own-clock"  # understood with the platform's time: with ours as well?
    BEARER = "bearer"  # the same, the ticket with or without "Bearer "
    AGAIN = "again"  # no answer came
    PADDING = "padding"  # both paddings were read; which one is it


class Cause(str, Enum):
    """Why nothing was found, or what keeps what was found from working."""

    NETWORK = "network"
    SILENCE = "silence"
    GARBLED = "garbled"
    PAGE = "page"
    ADDRESS = "address"
    BUSY = "busy"
    LOCK = "lock"
    TICKET = "ticket"
    TICKET_PREFIX = "ticket_prefix"
    ORG = "org"
    SECRET = "secret"  # noqa: S105 -- the name of a cause
    CLOCK = "clock"
    CIPHER = "cipher"
    MEDIA = "media"
    VALUES = "values"
    ANSWER_SIGNATURE = "answer_signature"
    UNSIGNED = "unsigned"
    STALE = "stale"
    CONTRADICTORY = "contradictory"
    FOREIGN = "foreign"
    NOTHING_FITS = "nothing_fits"


@dataclass(frozen=True)
class Try:
    """One request to make. `clock_s` is added to our time before signing."""

    guess: Guess
    why: Why
    clock_s: float = 0.0
    bearer: bool = False


@dataclass(frozen=True)
class Conclusion:
    """The end of a probe: `cause` is None when conventions were found that work as they are.

    `guess` is what the platform understood, as far as that is known.
    """

    cause: Cause | None
    guess: Guess | None = None
    reading: Reading | None = None


_CONTROLS = (Why.BAD_SIGNATURE, Why.BAD_BODY, Why.BAD_TICKET)
_NAMED = {
    Stage.SIGNATURE: Group.SIGN,
    Stage.ID: Group.ID,
    Stage.MEDIA: Group.MEDIA,
    Stage.CIPHER: Group.BODY,
    Stage.BODY: Group.BODY,
}
#: Whoever speaks of these has seen that the signature is right.
_BEHIND_SIGNATURE = (Stage.CIPHER, Stage.BODY, Stage.FIELDS)
#: What ends a probe at once: the cause bears the stage's name.
_AT_ONCE = {
    stage: Cause[stage.name]
    for stage in (Stage.NETWORK, Stage.PAGE, Stage.ADDRESS, Stage.BUSY, Stage.LOCK, Stage.ORG, Stage.FOREIGN)
}
#: What becomes of conventions that are understood, when the daemon would doubt the answers all the same.
_DOUBTED = {
    "E5003": Cause.ANSWER_SIGNATURE,
    "E5004": Cause.UNSIGNED,
    "E5007": Cause.CONTRADICTORY,
    "E5009": Cause.UNSIGNED,
    "E5010": Cause.STALE,
}
_EXHAUSTED = {Group.BODY: Cause.CIPHER, Group.MEDIA: Cause.MEDIA}


@dataclass(frozen=True)
class Search:
    """What is known so far. `after` returns what is known after one more answer."""

    groups: Mapping[Group, Sequence[Option]]
    configured: Guess
    correct_skew: bool = False  # the daemon will sign with the platform's time as well
    limit: int = MAX_REQUESTS
    pending: Try | None = None  # to be made before anything else
    tried: frozenset[Guess] = frozenset()
    asked: int = 0
    clock_s: float = 0.0
    bearer: bool = False
    settling: bool = False  # understood under both paddings; which one remains
    base: tuple[Try, Reading] | None = None  # the refusal that the controls are compared with
    controls: Mapping[Why, str] = field(default_factory=dict)  # how each was answered
    passed: bool = False  # a signature of ours was accepted
    understood: tuple[Guess, Reading] | None = None  # only its fields were refused
    wrong_signatures: int = 0
    strange: bool = False  # an answer is signed or encrypted by a key that our secret does not give
    proven: frozenset[Group] = frozenset()  # by answers themselves
    end: Conclusion | None = None

    @classmethod
    def start(
        cls, space: Space, configured: Guess, *, correct_skew: bool = False, limit: int = MAX_REQUESTS
    ) -> Search:
        """Begin with what is configured, which leads its space unless the secret gives no key that way."""
        return cls(dict(space), configured, correct_skew, limit)

    def step(self) -> Try | Conclusion:
        """Return the next request to make, or how the probe ends."""
        if self.end is not None:
            return self.end
        if self.asked >= self.limit:
            return self._given_up()
        if self.pending is not None:
            return self.pending
        ranked = self.ranked(len(self.tried) + 1)
        guess = next((guess for guess in ranked if guess not in self.tried), None)
        if guess is None:
            return self._given_up()
        why = Why.CONFIGURED if guess == self.configured else Why.LIKELIEST
        return Try(guess, Why.PADDING if self.settling else why, self.clock_s, self.bearer)

    def ranked(self, wanted: int) -> Iterator[Guess]:
        """Yield so many guesses at least, likeliest first, those included that were refused."""
        return likeliest(list(self.groups.values()), wanted)

    def after(self, done: Try, reading: Reading) -> Search:
        """Return what is known after `done` was answered."""
        known = replace(self, asked=self.asked + 1, pending=None)
        if reading.stage in _AT_ONCE:
            return known._ended(_AT_ONCE[reading.stage], reading)
        if reading.stage in {Stage.SILENCE, Stage.GARBLED}:
            return known._after_silence(done, reading)
        if done.why in _CONTROLS:
            return known._after_control(done, reading)
        known = known._proven(reading)
        if reading.stage is Stage.DONE:
            return known._after_success(done, reading)
        if done.why is Why.OWN_CLOCK:
            return known._ended(Cause.CLOCK, reading, done.guess)
        if known._clock_first(reading):
            ahead_s = reading.skew_s or 0.0
            return replace(known, clock_s=ahead_s, pending=replace(done, why=Why.CLOCK, clock_s=ahead_s))
        if reading.stage is Stage.TICKET:
            return known._after_ticket(done, reading)
        return replace(known, bearer=done.bearer)._after_refusal(done, reading)

    # --- what an answer means -------------------------------------------------------------------------

    def _ended(self, cause: Cause | None, reading: Reading, guess: Guess | None = None) -> Search:
        return replace(self, end=Conclusion(cause, guess, reading))

    def _given_up(self) -> Conclusion:
        """Return what most likely stands in the way when nothing is left to try."""
        reading = None if self.base is None else self.base[1]
        if self.understood is not None:
            return Conclusion(Cause.VALUES, *self.understood)
        empty = next((group for group, options in self.groups.items() if not options), None)
        if empty in _EXHAUSTED:
            return Conclusion(_EXHAUSTED[empty], reading=reading)
        told_apart = self.passed or Group.SIGN in self.proven
        return Conclusion(Cause.NOTHING_FITS if told_apart else Cause.SECRET, reading=reading)

    def _after_silence(self, done: Try, reading: Reading) -> Search:
        if done.why is Why.AGAIN:
            return self._ended(Cause.SILENCE if reading.stage is Stage.SILENCE else Cause.GARBLED, reading)
        return self if done.why in _CONTROLS else replace(self, pending=replace(done, why=Why.AGAIN))

    def _clock_first(self, reading: Reading) -> bool:
        """Return whether our clock must be ruled out before a convention is blamed."""
        off = reading.skew_s is not None and abs(reading.skew_s) >= CLOCK_OFF_S
        return off and not self.clock_s and reading.stage not in {Stage.TICKET, Stage.FIELDS}

    def _after_success(self, done: Try, reading: Reading) -> Search:
        guess = done.guess
        if guess.encrypt and guess.padding == EITHER:
            groups = {group: _only(options, guess) for group, options in self.groups.items()}
            groups[Group.BODY] = paddings(groups[Group.BODY][0], self.configured.cipher_encoding)
            return replace(self, groups=groups, settling=True)
        corrected = self.correct_skew and abs(done.clock_s) < MAX_SKEW_S
        if done.clock_s and not corrected:
            return replace(self, pending=replace(done, why=Why.OWN_CLOCK, clock_s=0.0))
        if reading.doubt is not None:
            return self._ended(_DOUBTED.get(reading.doubt.code, Cause.GARBLED), reading, guess)
        return self._ended(Cause.TICKET_PREFIX if done.bearer else None, reading, guess)

    def _after_ticket(self, done: Try, reading: Reading) -> Search:
        """A refused ticket: is it the ticket, or a signature refused in the same words?"""
        if done.why is Why.BEARER:
            return self._ended(Cause.TICKET, reading)
        if Why.BAD_TICKET in self.controls:
            # The bus answers a bad ticket otherwise, so that this is the platform's refusal.
            return self._after_refusal(done, replace(reading, stage=Stage.REFUSED))
        if self.tried and reading.forbidden:
            # It let our ticket through before: somebody has had enough of us.
            return self._ended(Cause.LOCK, reading)
        by_words = not reading.code
        following = replace(done, why=Why.BEARER, bearer=not done.bearer)
        control = replace(done, why=Why.BAD_TICKET)
        return replace(self, base=(done, reading), pending=following if by_words else control)

    def _after_control(self, done: Try, reading: Reading) -> Search:
        if self.base is None:
            return self
        first, refusal = self.base
        alike = reading.mark == refusal.mark
        if done.why is Why.BAD_TICKET and alike:
            return replace(self, pending=replace(first, why=Why.BEARER, bearer=not first.bearer))
        known = replace(self, controls={**self.controls, done.why: reading.mark})
        if done.why is Why.BAD_TICKET:
            return known._after_refusal(first, replace(refusal, stage=Stage.REFUSED))
        if alike:
            return known
        if done.why is Why.BAD_SIGNATURE:
            return replace(known._signed_well(first.guess), pending=replace(first, why=Why.BAD_BODY))
        # A body that cannot be read is answered otherwise: ours was read, and it is its fields.
        return known._read(first.guess, refusal)

    def _after_refusal(self, done: Try, reading: Reading) -> Search:
        known = replace(self, tried=self.tried | {done.guess}, base=(done, reading))
        if known.settling:
            return known
        stage, guess = reading.stage, done.guess
        if stage in _BEHIND_SIGNATURE:
            known = known._signed_well(guess)
        if stage is Stage.SIGNATURE:
            known = replace(known, wrong_signatures=known.wrong_signatures + 1)
            if known.strange and known.wrong_signatures >= SECRET_TRIES:
                return known._ended(Cause.SECRET, reading)
        if stage is Stage.TIME:
            return known._without(Group.SIGN, (("time_format", guess.time_format),))
        if stage is Stage.FIELDS:
            return known._read(guess, reading)
        if stage in _NAMED:
            return known._without(_NAMED[stage], known._option(_NAMED[stage], guess))
        return known._unexplained(done, reading)

    def _unexplained(self, done: Try, reading: Reading) -> Search:
        """A refusal without a reason: compare it with refusals whose reason we know."""
        bad_signature = self.controls.get(Why.BAD_SIGNATURE)
        if bad_signature is None:
            return replace(self, pending=replace(done, why=Why.BAD_SIGNATURE))
        if reading.mark == bad_signature and self.strange and len(self.tried) >= SECRET_TRIES:
            return self._ended(Cause.SECRET, reading)
        if reading.mark == bad_signature or self.passed:
            return self
        return replace(self._signed_well(done.guess), pending=replace(done, why=Why.BAD_BODY))

    # --- ruling out and preferring --------------------------------------------------------------------

    def _option(self, group: Group, guess: Guess) -> tuple[tuple[str, object], ...]:
        """Return the values of a group that a guess has."""
        return tuple((name, getattr(guess, name)) for name, _ in self._names[group])

    @property
    def _names(self) -> Mapping[Group, Sequence[tuple[str, object]]]:
        return {group: options[0].values for group, options in self.groups.items() if options}

    def _without(self, group: Group, values: Sequence[tuple[str, object]]) -> Search:
        """Rule out every option of a group that has these values, whatever it is combined with."""
        left = tuple(option for option in self.groups[group] if not set(values) <= set(option.values))
        return replace(self, groups={**self.groups, group: left})

    def _signed_well(self, guess: Guess) -> Search:
        """Prefer the signature that was accepted; the others stay, far behind."""
        if self.passed:
            return self
        known = self._weighed(Group.SIGN, lambda option: PROOF**3 if option.fits(guess) else 1.0)
        return replace(known, passed=True)

    def _read(self, guess: Guess, reading: Reading) -> Search:
        """The platform speaks of the fields: the body was read - or was not looked for where we put it."""
        best = self.understood
        if best is None or len(reading.named) < len(best[1].named):
            best = (guess, reading)
        likewise = (guess.encrypt, guess.body_shape)
        bodies = tuple(
            option
            for option in self.groups[Group.BODY]
            if option.fits(guess) or (option.value("encrypt"), option.value("body_shape")) != likewise
        )
        groups = {**self.groups, Group.BODY: bodies, Group.SIGN: _only(self.groups[Group.SIGN], guess)}
        for group in (Group.ID, Group.MEDIA):
            groups[group] = _only(self.groups[group], guess)
        if reading.named and "registerTime" not in reading.named:
            groups[Group.FIELDS] = _only(self.groups[Group.FIELDS], guess)
        return replace(self, groups=groups, understood=best)

    def _proven(self, reading: Reading) -> Search:
        """Believe what an answer's own signature and cipher show; once."""
        known, signed, keys = self, reading.signed, reading.opened_by
        if keys == () or (signed is not None and not signed.keys):
            known = replace(known, strange=True)
        if signed is not None and signed.keys and Group.SIGN not in known.proven:
            known = known._weighed(Group.SIGN, lambda option: _signed_weight(option, signed))
        if keys and Group.BODY not in known.proven:
            known = known._weighed(Group.BODY, lambda option: _opened_weight(option, keys))
        return known

    def _weighed(self, group: Group, factor: Callable[[Option], float]) -> Search:
        options = _sorted(
            replace(option, weight=option.weight * factor(option)) for option in self.groups[group]
        )
        return replace(self, groups={**self.groups, group: options}, proven=self.proven | {group})


def _only(options: Sequence[Option], guess: Guess) -> tuple[Option, ...]:
    return tuple(option for option in options if option.fits(guess))[:1]


def _sorted(options: Iterable[Option]) -> tuple[Option, ...]:
    return tuple(sorted(options, key=lambda option: -option.weight))


def _signed_weight(option: Option, signed: Signed) -> float:
    """Return what an answer's signature proves of an option's key, message, text form and time."""
    factor = 1.0
    if any((option.value("sign_key"), option.value("sign_template")) == pair[:2] for pair in signed.keys):
        factor *= PROOF
    if len(signed.encodings) == 1 and option.value("sign_encoding") in signed.encodings:
        factor *= PROOF
    # A platform need not write its own time as it wants ours.
    return factor * 20.0 if option.value("time_format") == signed.time_format else factor


def _opened_weight(option: Option, keys: Sequence[str]) -> float:
    return PROOF if option.value("sm4_key") in keys and option.value("encrypt") else 1.0
