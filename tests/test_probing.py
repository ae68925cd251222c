"""The search for a platform's conventions, without HTTP: its promises hold whatever a platform answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hmpt_support import SECRET
from hypothesis import given, settings
from hypothesis import strategies as st
from probe_support import HEX_SECRET, PurePlatform, drive, same

from agent.clock import SystemClock
from agent.config.schema import Conventions
from agent.hmpt import likelihood
from agent.hmpt.answers import Exchange, Sent
from agent.hmpt.likelihood import Group, Guess, Option, likeliest, space
from agent.hmpt.probing import MAX_REQUESTS, Cause, Conclusion, Search, Try, Why
from agent.hmpt.readings import Reader, Reading, Signed, Stage
from agent.hmpt.signing import Identity
from agent.records import Unknown

CONFIGURED = Guess.configured(Conventions(), encrypt=True)
SPACES = {secret: space(CONFIGURED, secret.encode()) for secret in (SECRET, HEX_SECRET)}
DOUBTS = ("E5002", "E5003", "E5004", "E5007", "E5009", "E5010")
ENDS = {Stage.NETWORK, Stage.PAGE, Stage.ADDRESS, Stage.BUSY, Stage.LOCK, Stage.ORG, Stage.FOREIGN}


def start(secret: str = SECRET, **options: Any) -> Search:
    return Search.start(SPACES[secret], CONFIGURED, **options)


readings = st.builds(
    Reading,
    stage=st.sampled_from(list(Stage)),
    shown=st.just("shown"),
    mark=st.sampled_from(["a", "b", "c"]),
    code=st.sampled_from(["", "E4303"]),
    skew_s=st.sampled_from([None, 0.1, 3600.0, -86400.0]),
    signed=st.sampled_from(
        [None, Signed(("hex",), (), None), Signed(("hex",), (("utf8", "{id}{time}", "own"),), "millis")]
    ),
    opened_by=st.sampled_from([None, (), ("auto",)]),
    named=st.sampled_from([(), ("deptId",), ("registerTime",)]),
    doubt=st.sampled_from([None, None, *(Unknown(code, "-") for code in DOUBTS)]),
    forbidden=st.booleans(),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(readings, min_size=MAX_REQUESTS + 5, max_size=MAX_REQUESTS + 5), st.booleans())
def test_whatever_is_answered_a_probe_ends_in_time_and_at_once_where_it_must(
    answers: list[Reading], correct: bool
) -> None:
    given_answers = iter(answers)
    end, steps = drive(start(HEX_SECRET, correct_skew=correct), lambda _attempt: next(given_answers))
    assert len(steps) <= MAX_REQUESTS
    for position, (_, reading) in enumerate(steps):
        assert reading.stage not in ENDS or position == len(steps) - 1, "asked on after a reason to stop"
    if end.cause is None:
        attempt, last = steps[-1]
        assert (last.stage, attempt.guess) == (Stage.DONE, end.guess), "found what was not accepted"
        assert last.doubt is None, "found what the daemon would doubt"
        assert attempt.guess.padding != likelihood.EITHER
    for attempt, _ in steps:
        assert attempt.why is not Why.AGAIN or sum(one.why is Why.AGAIN for one, _ in steps) <= len(steps) / 2


@settings(max_examples=60, deadline=None)
@given(st.lists(readings, min_size=MAX_REQUESTS, max_size=MAX_REQUESTS))
def test_no_set_is_tried_twice_for_the_same_reason(answers: list[Reading]) -> None:
    given_answers = iter(answers)
    _, steps = drive(start(), lambda _attempt: next(given_answers))
    ordinary = [attempt.guess for attempt, _ in steps if attempt.why in {Why.CONFIGURED, Why.LIKELIEST}]
    assert len(ordinary) == len(set(ordinary))
    controls = [attempt.why for attempt, reading in steps if reading.stage is not Stage.SILENCE]
    for control in (Why.BAD_SIGNATURE, Why.BAD_BODY):
        answered = [why for why in controls if why is control]
        assert len(answered) <= MAX_REQUESTS / 4


def options_of(secret: str, group: Group) -> list[Option]:
    found: list[Option] = []
    for option in SPACES[secret][group]:
        found += (
            likelihood.paddings(option, dict(option.values)["cipher_encoding"])
            if dict(option.values).get("padding") == likelihood.EITHER
            else [option]
        )
    return found


@st.composite
def truths(draw: Callable[..., Any], changes: int) -> tuple[str, Guess]:
    """Return a secret and a platform that departs from the likeliest in at most so many groups."""
    secret = draw(st.sampled_from(list(SPACES)))
    guess = CONFIGURED
    for group in draw(st.lists(st.sampled_from(list(Group)), max_size=changes, unique=True)):
        guess = replace(guess, **dict(draw(st.sampled_from(options_of(secret, group))).values))
    return secret, guess


def top(secret: str, guess: Guess) -> int:
    """Return how far down the ranking of its signature a guess stands."""
    signs = SPACES[secret][Group.SIGN]
    return next(rank for rank, option in enumerate(signs) if option.fits(guess))


@settings(max_examples=100, deadline=None)
@given(truths(changes=5))
def test_a_platform_that_names_what_it_dislikes_is_found_whatever_it_speaks(case: tuple[str, Guess]) -> None:
    secret, truth = case
    end, steps = drive(start(secret, limit=10_000), PurePlatform(truth).answer)
    assert end.cause is None
    assert end.guess is not None
    assert same(end.guess, truth)
    # One group is settled after the other: requests add up, they do not multiply.
    assert len(steps) <= sum(len(options) for options in SPACES[secret].values()) + 2
    if top(secret, truth) < 8:
        assert len(steps) <= MAX_REQUESTS


@pytest.mark.parametrize("secret", SPACES)
@pytest.mark.parametrize("group", Group)
def test_a_platform_that_answers_all_refusals_alike_is_found_if_one_group_is_unusual(
    secret: str, group: Group
) -> None:
    # Farther down, forty requests do not reach: docs/platform.md says so.
    for option in options_of(secret, group)[: 6 if group is Group.SIGN else 12]:
        truth = replace(CONFIGURED, **dict(option.values))
        end, _ = drive(start(secret), PurePlatform(truth, tells=False).answer)
        assert end.cause is None, option
        assert end.guess is not None
        assert same(end.guess, truth)


def test_the_usual_platform_is_found_at_once() -> None:
    end, steps = drive(start(), PurePlatform(CONFIGURED).answer)
    assert (end.cause, len(steps), steps[0][0].why) == (None, 1, Why.CONFIGURED)


@pytest.mark.parametrize("secret", SPACES)
def test_the_ranking_is_sorted_and_led_by_what_is_configured(secret: str) -> None:
    for options in SPACES[secret].values():
        assert options[0].fits(CONFIGURED)
        assert [option.weight for option in options] == sorted((o.weight for o in options), reverse=True)
        assert len({option.values for option in options}) == len(options)
    odd = replace(
        CONFIGURED, sign_encoding="HEX", sm4_key="md5", content_type="text/plain", sign_template="{time}"
    )
    for options in space(odd, secret.encode()).values():
        assert options[0].fits(odd)


weights = st.lists(st.floats(0.001, 1, allow_nan=False), min_size=1, max_size=6).map(
    lambda found: sorted(found, reverse=True)
)


@settings(max_examples=60, deadline=None)
@given(weights, weights, weights, st.integers(1, 30))
def test_the_likeliest_combinations_come_first(
    a: list[float], b: list[float], c: list[float], wanted: int
) -> None:
    names = ("sign_encoding", "sign_key", "sign_template")
    rest = {name: getattr(CONFIGURED, name) for name in Guess.__dataclass_fields__ if name not in names}
    groups = [
        [
            Option(((name, str(index)), *(rest.items() if name == names[0] else ())), weight)
            for index, weight in enumerate(row)
        ]
        for name, row in zip(names, (a, b, c), strict=True)
    ]
    share = [
        a[int(guess.sign_encoding)] * b[int(guess.sign_key)] * c[int(guess.sign_template)]
        for guess in likeliest(groups, wanted)
    ]
    best = sorted((x * y * z for x in a for y in b for z in c), reverse=True)[:wanted]
    assert share[: len(best)] == pytest.approx(best)


def test_a_secret_gives_only_the_keys_that_it_can_give() -> None:
    assert set(likelihood.cipher_keys("auto", SECRET.encode())) == {"auto", "md5", "md5hex16", "sm3"}
    assert list(likelihood.cipher_keys("first16", HEX_SECRET.encode()))[:1] == ["first16"]
    assert set(likelihood.cipher_keys("auto", b"short")) == {"md5", "md5hex16", "sm3"}
    keys = {dict(option.values)["sign_key"] for option in SPACES[SECRET][Group.SIGN]}
    assert keys == {"utf8", "base64"}


# --- single answers -----------------------------------------------------------------------------------


def after(*answers: Reading, **options: Any) -> tuple[list[Try], Search]:
    search, asked = start(**options), []
    for reading in answers:
        following = search.step()
        assert isinstance(following, Try), following
        asked.append(following)
        search = search.after(following, reading)
    return asked, search


def test_a_wrong_clock_is_ruled_out_before_a_convention_is_blamed() -> None:
    late = Reading(Stage.TIME, "时间戳无效", skew_s=3600.0)
    asked, search = after(late, Reading(Stage.DONE, "200", skew_s=3600.0), late)
    assert [(one.why, one.clock_s) for one in asked] == [
        (Why.CONFIGURED, 0.0), (Why.CLOCK, 3600.0), (Why.OWN_CLOCK, 0.0),
    ]  # fmt: skip
    assert search.step() == Conclusion(Cause.CLOCK, CONFIGURED, late)
    _, search = after(late, Reading(Stage.DONE, "200", skew_s=3600.0), Reading(Stage.DONE, "200"))
    assert isinstance(end := search.step(), Conclusion)
    assert end.cause is None, "the platform does not mind our clock"
    _, search = after(late, Reading(Stage.DONE, "200", skew_s=3600.0), correct_skew=True)
    assert isinstance(end := search.step(), Conclusion)
    assert end.cause is None, "the daemon will sign with the platform's time, too"
    days = replace(late, skew_s=200_000.0)
    _, search = after(days, Reading(Stage.DONE, "200", skew_s=200_000.0), days, correct_skew=True)
    assert isinstance(end := search.step(), Conclusion)
    assert end.cause is Cause.CLOCK, "which the daemon does by less than a day alone"


def test_a_refused_ticket_is_told_from_a_signature_refused_in_the_same_words() -> None:
    refused = Reading(Stage.TICKET, "HTTP 401", mark="401", code="E4303")
    asked, search = after(refused, refused, refused)
    assert [one.why for one in asked] == [Why.CONFIGURED, Why.BAD_TICKET, Why.BEARER]
    assert isinstance(end := search.step(), Conclusion)
    assert end.cause is Cause.TICKET
    bus = Reading(Stage.TICKET, "HTTP 401 bus", mark="401 bus", code="E4303")
    asked, search = after(refused, bus)
    assert isinstance(following := search.step(), Try), "a bad ticket is answered otherwise: ours passed"
    assert following.why is Why.BAD_SIGNATURE


def test_a_403_after_our_ticket_had_passed_smells_of_a_lock() -> None:
    enough = Reading(Stage.TICKET, "HTTP 403", code="E4303", forbidden=True)
    _, search = after(Reading(Stage.SIGNATURE, "签名错误"), enough)
    assert isinstance(end := search.step(), Conclusion)
    assert end.cause is Cause.LOCK


def test_an_answer_signed_by_no_key_of_ours_condemns_the_secret_soon() -> None:
    strange = Signed(("hex",), (), "millis")
    wrong = Reading(Stage.SIGNATURE, "签名错误", signed=strange)
    asked, search = after(wrong, wrong, wrong)
    assert len({one.guess.sign_encoding for one in asked}) > 1
    assert isinstance(end := search.step(), Conclusion)
    assert end.cause is Cause.SECRET


def test_an_answer_s_own_signature_and_cipher_are_believed_before_the_ranking() -> None:
    signed = Signed(("base64",), (("utf8", "{time}{id}", "own"),), "seconds")
    _, search = after(Reading(Stage.SIGNATURE, "签名错误", signed=signed, opened_by=("md5",)))
    following = search.step()
    assert isinstance(following, Try)
    found = following.guess
    assert (found.sign_encoding, found.sign_template, found.time_format, found.sm4_key) == (
        "base64",
        "{time}{id}",
        "seconds",
        "md5",
    )


@pytest.mark.parametrize(
    ("message", "stage"),
    [
        ("机构已锁定", Stage.LOCK), ("签名错误次数过多", Stage.LOCK), ("请求过于频繁", Stage.LOCK), ("account locked", Stage.LOCK),
        ("rate limit exceeded", Stage.LOCK), ("机构签名错误", Stage.SIGNATURE), ("验签失败", Stage.SIGNATURE), ("invalid sign", Stage.SIGNATURE),
        ("签名或时间戳错误", Stage.SIGNATURE), ("时间戳无效", Stage.TIME), ("请求已过期", Stage.TIME), ("ESB票据无效", Stage.TICKET),
        ("token expired", Stage.TICKET), ("机构不存在", Stage.ORG), ("请联系机构管理员", Stage.REFUSED), ("请求ID无效", Stage.ID),
        ("不支持的Content-Type", Stage.MEDIA), ("解密失败", Stage.CIPHER), ("数据未加密", Stage.CIPHER), ("JSON格式错误", Stage.BODY),
        ("参数错误：deptId", Stage.FIELDS), ("参数错误", Stage.REFUSED), ("系统异常", Stage.REFUSED), ("设备 block A", Stage.REFUSED),
    ],
)  # fmt: skip
def test_what_a_refusal_s_words_are_about(message: str, stage: Stage) -> None:
    body = json.dumps({"code": 500, "msg": message, "exceptionCode": None}).encode()
    who = Identity("ORG", SECRET.encode(), "t")
    reader = Reader.of(who, SPACES[SECRET], Conventions(), SystemClock().now)
    assert reader.read(Exchange(200, {}, body), Sent("a" * 32, "1"), CONFIGURED).stage is stage


def test_a_refused_field_ends_the_search_when_it_is_none_of_our_doing() -> None:
    refused = Reading(Stage.FIELDS, "参数错误：deptId", named=("deptId",))
    end, steps = drive(start(), lambda _attempt: refused)
    assert end.cause is Cause.VALUES
    assert end.guess == CONFIGURED
    assert len(steps) <= 4, "the body may have been looked for elsewhere; no more than that is tried"
