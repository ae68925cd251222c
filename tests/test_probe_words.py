"""What `probe` says of each answer: also where nothing was encrypted, or a request was wrong on purpose."""

from __future__ import annotations

import pytest

from agent.cli import probe_words as words
from agent.config.schema import Conventions
from agent.hmpt.likelihood import Guess
from agent.hmpt.probing import Try, Why
from agent.hmpt.readings import Reading, Stage
from agent.records import Unknown


def attempt(why: Why, *, encrypt: bool) -> Try:
    return Try(Guess.configured(Conventions(), encrypt=encrypt), why)


@pytest.mark.parametrize(
    ("why", "encrypt", "stage", "said"),
    [
        (Why.LIKELIEST, True, Stage.CIPHER, "密文解不开"),
        (Why.LIKELIEST, False, Stage.CIPHER, "这次发的是明文"),
        (Why.LIKELIEST, True, Stage.BODY, "解密后不是 JSON"),
        (Why.LIKELIEST, False, Stage.BODY, "明文报文"),
        (Why.LIKELIEST, True, Stage.SIGNATURE, "排除这种写法"),
        (Why.BAD_SIGNATURE, True, Stage.SIGNATURE, "如所料"),
        (Why.BAD_BODY, True, Stage.CIPHER, "如所料"),
        (Why.BAD_BODY, False, Stage.BODY, "如所料"),
        (Why.BAD_TICKET, True, Stage.TICKET, "如所料"),
        (Why.BAD_SIGNATURE, True, Stage.DONE, "不检查"),
        (Why.BAD_SIGNATURE, True, Stage.TICKET, "票据被拒"),
    ],
)
def test_a_step_says_what_its_answer_means(why: Why, encrypt: bool, stage: Stage, said: str) -> None:
    zh, en = words.means(attempt(why, encrypt=encrypt), Reading(stage, "-"))
    assert said in zh
    assert en


def test_every_doubt_of_the_daemon_has_words_of_its_own() -> None:
    for code in ("E5002", "E5003", "E5004", "E5007", "E5009", "E5010"):
        doubted = Reading(Stage.DONE, "200", doubt=Unknown(code, "-"))
        zh, en = words.means(attempt(Why.CONFIGURED, encrypt=True), doubted)
        assert "守护进程不会相信" in zh
        assert "the daemon would doubt it" in en


def test_an_encrypted_answer_that_no_key_opens_is_called_one() -> None:
    unopened = Reading(Stage.REFUSED, "HTTP 200 {data}", opened_by=())
    assert "解不开" in words.means(attempt(Why.LIKELIEST, encrypt=True), unopened)[0]
    huge = Reading(Stage.SILENCE, "more than 1048576 bytes", code="E5008")
    assert "过大" in words.means(attempt(Why.LIKELIEST, encrypt=True), huge)[0]
    opened = Reading(Stage.REFUSED, "HTTP 200 {data}", opened_by=("utf8",))
    assert "没有说原因" in words.means(attempt(Why.LIKELIEST, encrypt=True), opened)[0]
