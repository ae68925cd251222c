"""The command `kiosk-agent`: options for every verb, and the one place where errors become text."""

from __future__ import annotations

import logging
import os
import sys

import click

from agent import __version__
from agent.cli import config, demo, doctor, face, inspect, records, run, simulate, transfer
from agent.cli.options import Settings, VerbGroup
from agent.cli.screen import complain, complain_of_config
from agent.config import ConfigError
from drivers.errors import CodedError

UNEXPECTED = 1
INTERRUPTED = 130


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kiosk-agent", message="%(prog)s %(version)s")
def cli() -> None:
    """人脸核验终端代理 / agent beside the face-recognition kiosk."""


for group in (run, config, inspect, face, doctor, records, transfer, simulate, demo):
    group.register(cli)


def main() -> None:
    """Run the command line and exit with its status."""
    # Whatever this program writes - records, keys, exports - is for its own user alone.
    os.umask(0o077)
    sys.exit(_main(sys.argv[1:]))


def _main(arguments: list[str]) -> int:
    settings = Settings()
    try:
        status = cli.main(arguments, prog_name="kiosk-agent", standalone_mode=False, obj=settings)
        return status if isinstance(status, int) else 0
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ConfigError as error:
        return complain_of_config(error, settings.language)
    except CodedError as error:
        return complain(error, settings.language)
    except Exception as error:  # noqa: BLE001 -- the edge of the process: every other error ends here
        return _unexpected(error, settings)


def _unexpected(error: Exception, settings: Settings) -> int:
    # The type alone: an arbitrary exception's text may quote what was being worked on.
    logging.getLogger("agent.cli").debug("unexpected", exc_info=error)
    settings.say(
        f"意外错误（{type(error).__name__}）；用 --debug 重新运行可查看详情",
        f"unexpected error ({type(error).__name__}); run again with --debug for details",
    )
    if settings.debug:
        raise error
    return UNEXPECTED
