"""Options that every verb has, before or behind its name, and what they said."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agent.catalogue import AgentError
from agent.cli.speech import Speaking, speak

if TYPE_CHECKING:
    from agent.config import Config

DEFAULT_CONFIG = Path("/etc/kiosk-agent/config.yaml")
DEFAULT_STATE = "/var/lib/kiosk-agent"
#: Longer than any help.
WHOLE = 1000

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Settings:
    """What was said of configuration, language, tracebacks and the form of answers."""

    config_path: Path = DEFAULT_CONFIG
    lang: str | None = None
    debug: bool = False
    as_json: bool = False
    #: The file was found to be no YAML at all: it cannot be used, whoever checks it.
    garbled: bool = False

    def config(self) -> Config:
        """Load the configuration; its findings end the command with 78."""
        from agent.config import load

        config = load(self.config_path, self.env())
        if self.lang is None:
            self.lang = config.lang
        return config

    def has_file(self) -> bool:
        """Return whether there is a configuration for whoever asks: its folder is closed to most accounts."""
        try:
            return self.config_path.exists()
        except PermissionError:
            return False

    def env(self) -> Mapping[str, str]:
        """Return the environment, with what systemd adds to it where the service's own file is meant.

        Whatever the file says of it, a command typed by hand has to mean the service's records.
        """
        if "STATE_DIRECTORY" in os.environ or not self._is_services():
            return os.environ
        return {**os.environ, "STATE_DIRECTORY": DEFAULT_STATE}

    def _is_services(self) -> bool:
        from agent.control.client import UNITS

        return self.config_path == DEFAULT_CONFIG and any(unit.exists() for unit in UNITS)

    def ask(self, verb: str, args: Mapping[str, Any] | None = None, wait_s: float | None = None) -> Any:
        """Return a verb's result: the daemon's, else that of its twin in this process."""
        from agent.control.client import NotRunning, call

        state_dir = self.state_dir()
        wait = {} if wait_s is None else {"wait_s": wait_s}
        if state_dir is not None:
            with contextlib.suppress(NotRunning):
                return call(state_dir, verb, args, **wait)
        from agent.config import ConfigError
        from agent.control.ask import ask

        try:
            config = self.config()
        except ConfigError:
            from agent.cli.whereabouts import of_daemon

            state_dir = of_daemon(self.config_path)
            if state_dir is None:
                raise
            return call(state_dir, verb, args, **wait)
        return ask(config, verb, args, **wait)

    def daemon(self) -> tuple[Path, Any] | None:
        """Return where the daemon keeps its state and what it says of itself; None where none is found.

        AgentError where one is there and does not answer us.
        """
        from agent.control.client import NotRunning, call

        state_dir = self.state_dir()
        if state_dir is not None:
            with contextlib.suppress(NotRunning):
                return state_dir, call(state_dir, "status")
        from agent.cli.whereabouts import of_daemon

        # The file may have been changed beneath a daemon that goes on.
        found = of_daemon(self.config_path)
        return None if found is None else (found, call(found, "status"))

    def whereabouts(self) -> Path | None:
        """Return where the daemon that runs keeps its state, else where the file says that one would."""
        try:
            found = self.daemon()
        except AgentError:
            found = None  # it is there, and does not speak to us
        return self.state_dir() if found is None else found[0]

    def state_dir(self) -> Path | None:
        """Return where the daemon is to be asked, without checking the file; None where that is not plain.

        For `status`, which people type often and monitoring every minute: the daemon checked the file when it
        took it over, and checking it again costs more than everything else together.
        """
        import yaml

        prepared = self.env().get("STATE_DIRECTORY", "").split(":")[0]
        try:
            raw = self.config_path.read_bytes()
        except OSError:
            # The installed service can be asked although its file is gone, or not for us to read.
            return Path(prepared) if prepared else None
        try:
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            found = yaml.load(raw, Loader=loader)  # noqa: S506 -- the safe one
            state_dir, lang = found.get("state_dir", DEFAULT_STATE), found.get("lang", "zh")
        except (ValueError, AttributeError, yaml.YAMLError):
            from agent.cli.whereabouts import said

            self.garbled = True
            state_dir, lang = said(raw, "state_dir"), said(raw, "lang")
            state_dir = state_dir if state_dir and state_dir.startswith("/") else None
        if self.lang is None and lang in {"zh", "en"}:
            self.lang = lang
        return Path(prepared or state_dir) if prepared or isinstance(state_dir, str) else None

    @property
    def language(self) -> str:
        """Return the language to speak: --lang, else the configuration's, else Chinese."""
        return self.lang or "zh"

    def words(self, said: tuple[str, str]) -> str:
        """Return (zh, en) in the language of the user."""
        return said[0 if self.language == "zh" else 1]

    def say(self, zh: str, en: str, *, err: bool = False) -> None:
        """Print one line in the language of the user."""
        click.echo(zh if self.language == "zh" else en, err=err)


pass_settings = click.make_pass_decorator(Settings, ensure=True)


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value is not None and option.name is not None:
        setattr(context.ensure_object(Settings), option.name, value)
        if option.name == "lang":
            speak(value)


def shared_options() -> list[click.Parameter]:
    """Return fresh copies of the options that stand on every verb."""
    shared: dict[str, Any] = {"expose_value": False, "callback": _remember, "default": None}
    return [
        click.Option(
            ["--config", "config_path"],
            type=click.Path(path_type=Path),
            help="配置文件 / configuration file",
            **shared,
        ),
        click.Option(["--lang"], type=click.Choice(["zh", "en"]), help="语言 / language", **shared),
        click.Option(["--debug"], is_flag=True, help="出错时显示追踪 / show tracebacks", **shared),
    ]


class Verb(click.Command):
    """A command that takes the shared options behind its name as well and explains itself in one language."""

    context_class = Speaking

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += shared_options()

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the line of a list of commands: uncut, for only one of its two halves is shown."""
        return super().get_short_help_str(WHOLE)

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return --help, explained in both languages like any other option."""
        return _bilingual(super().get_help_option(ctx))


class VerbGroup(click.Group):
    """A group whose commands are all of kind `Verb`, and which takes the shared options itself."""

    command_class = Verb
    group_class = type
    context_class = Speaking

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += shared_options()

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the line of a list of commands, likewise."""
        return super().get_short_help_str(WHOLE)

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return --help, likewise."""
        return _bilingual(super().get_help_option(ctx))


def _bilingual(helps: click.Option | None) -> click.Option | None:
    # click makes it once, in the language of that moment.
    if helps is not None:
        helps.help = "显示本说明 / show this help"
    return helps


def yes_option(function: F) -> F:
    """Add --yes: whoever types it is not asked."""
    return click.option("--yes", is_flag=True, help="不再询问 / do not ask")(function)


def json_option(function: F) -> F:
    """Add --json: stable English keys, for programs."""
    return click.option(
        "as_json", "--json", is_flag=True, callback=_in_json, help="机器可读输出 / machine-readable output"
    )(function)


def _in_json(context: click.Context, _option: click.Parameter, value: bool) -> bool:
    # Also for what ends a verb before it has an answer of its own.
    context.ensure_object(Settings).as_json = value
    return value
