"""`setup`: from a configuration and its secrets to a running service."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from agent import dropins, keys
from agent.catalogue import AgentError, describe
from agent.cli.options import Settings, Verb, pass_settings
from agent.config import Config
from agent.ops.access import SERVICE_USER

UNIT = "kiosk-agent.service"
#: There while systemd runs: not in a chroot, nor where an image is made.
SYSTEMD = Path("/run/systemd/system")
#: The last lines of the journal that explain a start that failed.
LINES = 8


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    group.add_command(setup)


@click.command(cls=Verb)
@click.option("--resolve", is_flag=True, help="查询域名并写入其当前地址 / look host names up")
@click.option("--no-start", is_flag=True, help="只写文件，不启动服务 / write the files, start nothing")
@click.option("--dry-run", is_flag=True, help="只显示将写入的内容 / show what would be written")
@pass_settings
def setup(settings: Settings, resolve: bool, no_start: bool, dry_run: bool) -> None:
    """按配置准备并启动服务（密钥、地址清单） / prepare the service by the configuration, start it."""
    config = settings.config()
    if os.geteuid() != 0 and not dry_run:
        raise AgentError("E8310")
    files = _dropins(settings, config, resolve=resolve)
    if dry_run:
        for name, text in files.items():
            click.echo(f"# {dropins.FOLDER / name}\n{text or '# -'}")
        return
    let_the_service_read(settings.config_path)
    _take_secrets(settings, config)
    for name, written in files.items():
        _write(dropins.FOLDER / name, written)
    if not SYSTEMD.is_dir():
        settings.say(
            "文件已写好；此处没有运行 systemd，服务没有启动，本系统以 systemd 开机后才会运行",
            "the files are written; systemd does not run here: the service starts at the next boot",
        )
        return
    _systemctl("daemon-reload")
    _systemctl("enable", "--quiet", UNIT)
    if no_start:
        return
    settings.say("正在启动服务……", "starting the service ...")
    _systemctl("restart", UNIT)
    settings.say("服务已启动；接着：kiosk-agent doctor", "the service runs; next: kiosk-agent doctor")


def _dropins(settings: Settings, config: Config, *, resolve: bool) -> dict[str, str | None]:
    """Return file -> its text, None where it must not be."""
    credentials = dropins.credentials(config)
    files: dict[str, str | None] = {
        dropins.CREDENTIALS: dropins.credentials_text(dropins.sources(credentials, keys.SECRETS))
        if credentials
        else None,
        dropins.FOLDERS: dropins.folders_text(config),
    }
    hosts = dropins.hosts(config)
    names = dropins.named(hosts)
    if names and not resolve:
        # A list without them would cut the service off; one from an earlier configuration may.
        click.echo(describe(AgentError("W8311", hosts=", ".join(names)), settings.language), err=True)
        return files | {dropins.ADDRESSES: None}
    servers = dropins.name_servers(_text(Path("/etc/resolv.conf"))) if names else []
    return files | {dropins.ADDRESSES: dropins.addresses_text([*dropins.addresses(hosts), *servers])}


def _text(path: Path) -> str:
    return path.read_text("utf-8", errors="replace") if path.exists() else ""


def let_the_service_read(path: Path) -> bool:
    """Let the group read what root wrote: many an editor makes it root's alone, and a start fails over it.

    Return whether it was a file of the service's folder, and so done.
    """
    if path.resolve().parent != keys.SECRETS.parent or os.geteuid() != 0:
        return False
    shutil.chown(path, "root", SERVICE_USER)
    path.chmod(0o640)
    return True


def _take_secrets(settings: Settings, config: Config) -> None:
    """Ask for each secret that is named and not there.

    AgentError E7208 where nobody can be asked, E7209 for one that systemd could not hand over.
    """
    named = dropins.credentials(config)
    files = dropins.sources(named, keys.SECRETS)
    for name, path in files.items():
        keys.refuse_undecryptable(path, named.get(name, "keys.seal"))
    missing = {name: named[name] for name, path in files.items() if not path.exists()}
    unasked = [key for key in missing.values() if key not in keys.TYPED or not sys.stdin.isatty()]
    if unasked:
        raise AgentError("E7208", keys=", ".join(unasked), folder=keys.SECRETS)
    for name, key in missing.items():
        question = f"{key}（输入不显示）" if settings.language == "zh" else f"{key} (not shown)"
        secret = click.prompt(question, hide_input=True, err=True).strip()
        keys.write_key(keys.SECRETS / name, secret.encode())


def _write(path: Path, text: str | None) -> None:
    """Write a drop-in so that systemd reads it whole or not at all."""
    try:
        if text is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o755)
        draft = path.with_name(f".{path.name}.new")
        draft.write_text(text, "utf-8")
        draft.chmod(0o644)
        draft.rename(path)
    except OSError as error:
        raise AgentError("E8308", path=path, reason=error.strerror) from error


def _systemctl(*arguments: str) -> None:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)  # noqa: S607 -- root's own path
    if done.returncode == 0:
        return
    journal = ["journalctl", "--no-pager", "--output=cat", f"--lines={LINES}", "--unit", UNIT]
    click.echo(subprocess.run(journal, capture_output=True, text=True, check=False).stdout, err=True)
    raise AgentError("E8313", command=" ".join(arguments))
