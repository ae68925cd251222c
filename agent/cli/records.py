"""`outbox ...`: what is kept, what waits and why. No output here names a person."""

from __future__ import annotations

from typing import Any

import click

from agent.cli.options import Settings, VerbGroup, json_option, pass_settings
from agent.cli.screen import print_json, table
from agent.control.ask import ask

STATES = ("ready", "sending", "held", "parked", "delivered", "quarantined", "discarded")


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    group.add_command(outbox)


@click.group(cls=VerbGroup)
def outbox() -> None:
    """待传队列 / the outbox."""


@outbox.command()
@json_option
@pass_settings
def stats(settings: Settings, as_json: bool) -> None:
    """各状态数量 / how many records are in which state; the difference must be 0."""
    counts = ask(settings.config(), "outbox.stats")
    if as_json:
        print_json(counts)
        return
    table(("item", "value"), counts.items())


@outbox.command("list")
@click.option("--state", type=click.Choice(STATES), default=None, help="只看某一状态 / only this state")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@json_option
@pass_settings
def list_(settings: Settings, state: str | None, limit: int, as_json: bool) -> None:
    """列出记录 / list records, newest first."""
    rows: list[dict[str, Any]] = ask(settings.config(), "outbox.list", {"state": state, "limit": limit})
    if as_json:
        print_json(rows)
        return
    table(
        ("id", "state", "attempts", "created", "next", "code"),
        [
            (
                row["id"],
                row["state"],
                row["attempts"],
                row["created_at"],
                row["next_attempt_at"],
                row["last_code"],
            )
            for row in rows
        ],
    )


@outbox.command()
@click.argument("record")
@json_option
@pass_settings
def show(settings: Settings, record: str, as_json: bool) -> None:
    """查看一条记录的经历 / one record and every attempt to send it."""
    found = ask(settings.config(), "outbox.show", {"id": record})
    if as_json:
        print_json(found)
        return
    attempts = found.pop("attempts")
    table(("item", "value"), found.items())
    if attempts:
        click.echo()
        table(
            tuple(attempts[0]),
            [tuple(row.values()) for row in attempts],
        )


@outbox.command()
@click.argument("record")
@pass_settings
def retry(settings: Settings, record: str) -> None:
    """重新上传被拒的记录 / send a parked record again."""
    ask(settings.config(), "outbox.retry", {"id": record})
    settings.say("已重新排队", "queued again")
