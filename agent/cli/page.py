"""`page`: opens the registrar's page in a browser. The desktop entry calls it.

The one-time code never stands on a command line, where every account of the PC could read it: the browser is
given a file of mode 0600 that leads on to the page.
"""

from __future__ import annotations

import html
import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from agent.catalogue import AgentError
from agent.cli.options import Settings, Verb, json_option, pass_settings
from agent.cli.screen import print_json

#: Looked for in this order where --browser names none; with the switches for a full screen.
BROWSERS: Mapping[str, Sequence[str]] = {
    "chromium": ("--kiosk", "--noerrdialogs", "--autoplay-policy=no-user-gesture-required"),
    "chromium-browser": ("--kiosk", "--noerrdialogs", "--autoplay-policy=no-user-gesture-required"),
    "google-chrome": ("--kiosk", "--noerrdialogs", "--autoplay-policy=no-user-gesture-required"),
    "firefox-esr": ("--kiosk",),
    "firefox": ("--kiosk",),
    "xdg-open": (),
}


def register(group: click.Group) -> None:
    """Add the verb of this file."""
    group.add_command(page)


@click.command(cls=Verb)
@click.option("--kiosk", is_flag=True, help="全屏 / full screen")
@click.option(
    "--browser", metavar="COMMAND", help="浏览器命令 / command of the browser; the address is added"
)
@click.option("--print", "only_print", is_flag=True, help="只显示一次性地址 / print the one-time address")
@json_option
@pass_settings
def page(settings: Settings, kiosk: bool, browser: str | None, only_print: bool, as_json: bool) -> None:
    """打开登记员页面 / open the registrar's page in a browser."""
    command = [] if only_print or as_json else _command(browser, kiosk=kiosk)
    opened = settings.ask("page.open")
    address = f"{opened['url']}#{opened['code']}"
    if as_json:
        print_json({**opened, "address": address})
    elif only_print:
        click.echo(address)
    else:
        entrance = _entrance(address)
        # Takes this process's place: the desktop sees one program start, and end with the browser.
        os.execvp(command[0], [*command, entrance.as_uri()])  # noqa: S606 -- no shell is wanted


def _command(browser: str | None, *, kiosk: bool) -> list[str]:
    """Return the browser's command line. AgentError E8412 when there is none."""
    if browser:
        command = shlex.split(browser)
        if command and shutil.which(command[0]):
            return command
        raise AgentError("E8412", looked_for=browser)
    for name, full_screen in BROWSERS.items():
        if shutil.which(name):
            return [name, *(full_screen if kiosk else ())]
    raise AgentError("E8412", looked_for=", ".join(BROWSERS))


def _entrance(address: str) -> Path:
    """Write the file that leads to the page; nobody else can read it."""
    folder = os.environ.get("XDG_RUNTIME_DIR")
    descriptor, name = tempfile.mkstemp(
        prefix="kiosk-agent-", suffix=".html", dir=folder if folder and Path(folder).is_dir() else None
    )
    path = Path(name)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(
            '<!doctype html><meta charset="utf-8"><title>kiosk-agent</title>'
            f'<meta http-equiv="refresh" content="0;url={html.escape(address, quote=True)}">'
        )
    return path
