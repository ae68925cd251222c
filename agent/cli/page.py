"""`page`: opens the registrar's page in a browser. The desktop entry calls it.

The one-time code never stands on a command line, where every account of the PC could read it: the browser is
given a file of mode 0600 that leads on to the page. It lies in a folder that the browser may read: a snap, as
which Ubuntu brings its browsers, reads nothing in the session's runtime folder.
"""

from __future__ import annotations

import contextlib
import html
import os
import re
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
#: A snap's command, or the script that Ubuntu puts in its place below /usr/bin.
_SNAP = re.compile(r"/snap/bin/([a-z0-9-]+)")
#: Such a script is short.
_SCRIPT_BYTES = 4096
_ENTRANCE = "kiosk-agent-"


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
        entrance = _entrance(address, _readable_for(command[0]))
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


def _snap(command: str) -> str | None:
    """Return the snap that a browser's command starts, None when it is an ordinary program."""
    found = Path(shutil.which(command) or command)
    head = b""
    with contextlib.suppress(OSError), found.open("rb") as file:
        head = file.read(_SCRIPT_BYTES)
    script = head.decode("utf-8", errors="replace") if head.startswith(b"#!") else ""
    named = _SNAP.search(f"{found}\n{script}")
    return named[1] if named else None


def _readable_for(command: str) -> Path:
    """Return a folder of this account's that the browser may read."""
    if snap := _snap(command):
        folder = Path.home() / "snap" / snap / "common"
        folder.mkdir(parents=True, exist_ok=True)
        # It outlives the session, and with it every address that was used before.
        for earlier in folder.glob(f"{_ENTRANCE}*.html"):
            earlier.unlink(missing_ok=True)
        return folder
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) if runtime and Path(runtime).is_dir() else Path(tempfile.gettempdir())


def _entrance(address: str, folder: Path) -> Path:
    """Write the file that leads to the page; nobody else can read it."""
    descriptor, name = tempfile.mkstemp(prefix=_ENTRANCE, suffix=".html", dir=folder)
    path = Path(name)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(
            '<!doctype html><meta charset="utf-8"><title>kiosk-agent</title>'
            f'<meta http-equiv="refresh" content="0;url={html.escape(address, quote=True)}">'
        )
    return path
