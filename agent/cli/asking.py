"""What a person is asked, at a terminal or by a line on the standard input; and how "no" ends a verb."""

from __future__ import annotations

import sys

import click

from agent.catalogue import AgentError
from agent.cli.options import Settings


class Unchanged(click.Abort):
    """A person said no: nothing was changed, and the verb ends as if it had been broken off (130)."""


def agreed(settings: Settings, zh: str, en: str) -> None:
    """Ask whether to go on. Unchanged when the answer is no, AgentError E8314 where nobody can answer."""
    if not sys.stdin.isatty():
        raise AgentError("E8314", instead="--yes")
    if not click.confirm(_words(settings, zh, en), err=True):
        raise Unchanged


def line(settings: Settings, zh: str, en: str, *, instead: str) -> str:
    """Ask for a line of text. AgentError E8314, naming what stands in for a person, where nobody answers."""
    if not sys.stdin.isatty():
        return _piped(instead)
    answer: str = click.prompt(_words(settings, zh, en), err=True)
    return answer


def secret(settings: Settings, zh: str, en: str, *, instead: str, twice: bool = False) -> str:
    """Ask for what the screen must not show. AgentError E8314 as `line`.

    `twice`: a new one is typed again, until both are the same.
    """
    if not sys.stdin.isatty():
        return _piped(instead)
    while True:
        answer: str = click.prompt(_words(settings, zh, en), hide_input=True, err=True)
        again = settings.words(("再输入一次", "once more"))
        if not twice or click.prompt(again, hide_input=True, err=True) == answer:
            return answer
        settings.say("两次输入不一致，请重新输入", "these two differ: type it again", err=True)


def _words(settings: Settings, zh: str, en: str) -> str:
    """Return a question in the language of the user, which the configuration may have to tell first."""
    if settings.lang is None:
        settings.state_dir()
    return settings.words((zh, en))


def _piped(instead: str) -> str:
    answer = sys.stdin.readline().strip("\r\n")
    if not answer:
        raise AgentError("E8314", instead=instead)
    return answer
