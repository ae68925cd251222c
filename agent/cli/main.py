"""The command `kiosk-agent`: options for every verb, and the one place where errors become text."""

from __future__ import annotations

import errno
import logging
import os
import pkgutil
import signal
import sys
from collections.abc import Iterable
from importlib import import_module

import click

import agent.cli
from agent import __version__
from agent.catalogue import AgentError
from agent.cli.asking import Unchanged
from agent.cli.options import Settings, VerbGroup
from agent.cli.screen import Told, complain, complain_of_config
from agent.cli.speech import asked_for, let_nothing_be_unsayable, readable, speak
from drivers.errors import CodedError

UNEXPECTED = 1
#: An answer that goes into a file finds no room there.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
INTERRUPTED = 130

#: The one file that a verb in a hurry needs; for any other, every file of this folder that registers verbs.
QUICK = {
    "status": "status",
    "explain": "explain",
    "outbox": "records",
    "page": "page",
    "run": "run",
    "check": "run",
    "reload": "run",
}
NO_VERBS = {"asking", "main", "options", "screen", "speech", "click_zh"}


class Verbs(VerbGroup):
    """The verbs, imported when they are used: `--version` and `status` must not pay for all the others."""

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return a verb."""
        self._load([QUICK[name]] if name in QUICK else _files())
        return super().get_command(context, name)

    def list_commands(self, context: click.Context) -> list[str]:
        """Return every verb's name."""
        self._load(_files())
        return super().list_commands(context)

    def _load(self, files: Iterable[str]) -> None:
        for file in files:
            import_module(f"agent.cli.{file}").register(self)


def _files() -> list[str]:
    found = [module.name for module in pkgutil.iter_modules(agent.cli.__path__)]
    return [
        name
        for name in found
        if name not in NO_VERBS and hasattr(import_module(f"agent.cli.{name}"), "register")
    ]


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    __version__,
    prog_name="kiosk-agent",
    message="%(prog)s %(version)s",
    help="显示版本 / show the version",
)
def cli() -> None:
    """人脸核验终端代理 / agent beside the face-recognition kiosk."""


def main() -> None:
    """Run the command line and exit with its status."""
    # Whatever this program writes - records, keys, exports - is for its own user alone.
    os.umask(0o077)
    # What OpenCV thinks of its own means is nothing that people or monitoring can act on.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    try:
        # From here on an interruption is an exception: what has begun is brought to an end.
        if callable(signal.getsignal(signal.SIGINT)):
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = _main(sys.argv[1:])
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.exit(status)


def _main(arguments: list[str]) -> int:
    let_nothing_be_unsayable()
    settings = Settings(lang=None if readable() else "en")
    speak(asked_for(arguments, settings.config_path, settings.lang))
    logging.getLogger().addHandler(Told(lambda: settings.language))
    try:
        status = cli.main(arguments, prog_name="kiosk-agent", standalone_mode=False, obj=settings)
        return status if isinstance(status, int) else 0
    except Unchanged:
        settings.say("没有改动", "nothing was changed", err=True)
        return INTERRUPTED
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CodedError as error:
        from agent.config import ConfigError  # pydantic: not for `--version`

        if isinstance(error, ConfigError):
            return complain_of_config(error, settings.language, as_json=settings.as_json)
        return complain(error, settings.language)
    except OSError as error:
        return _unexpected(error, settings) if error.errno not in NO_ROOM else _unwritten(error, settings)
    except Exception as error:  # noqa: BLE001 -- the edge of the process: every other error ends here
        return _unexpected(error, settings)


def _unwritten(error: OSError, settings: Settings) -> int:
    """Say that an answer could not be written: into a file on a full disk, mostly."""
    # What is left of it would be tried again at the end, and told with a traceback.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
    file = error.filename or settings.words(("标准输出", "standard output"))
    return complain(AgentError("E8308", path=file, reason=error.strerror), settings.language)


def _unexpected(error: Exception, settings: Settings) -> int:
    # The type alone: an arbitrary exception's text may quote what was being worked on.
    logging.getLogger("agent.cli").debug("unexpected", exc_info=error)
    settings.say(
        f"意外错误（{type(error).__name__}）；用 --debug 重新运行可查看详情",
        f"unexpected error ({type(error).__name__}); run again with --debug for details",
        err=True,
    )
    if settings.debug:
        raise error
    return UNEXPECTED
