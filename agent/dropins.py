"""What completes the unit at one site: credentials by name, whom it may talk to, where it may write.

All follow from the configuration, so they are derived and never edited. A host that is named, not numbered,
is looked up only when somebody asks for it: its address may change, and a list that is out of date is an
outage without a message.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from agent.catalogue import AgentError
from agent.config.schema import Config, Secret
from agent.keys import ENCRYPTED

FOLDER = Path("/etc/systemd/system/kiosk-agent.service.d")
CREDENTIALS, ADDRESSES, FOLDERS = "credentials.conf", "addresses.conf", "folders.conf"
_WRITTEN = "# Written by `kiosk-agent setup` from the configuration; run it again when that changes."

Lookup = Callable[[str], Iterable[str]]


def credentials(config: Config) -> dict[str, str]:
    """Return credential -> the key that names it, in the order of the file."""
    named: dict[str, Secret | None] = {
        "platform.org_app_secret": config.platform.org_app_secret,
        "platform.authorization": config.platform.authorization,
        "camera.password": config.camera.password,
        "keys.seal": config.keys.seal,
        "keys.audit": config.keys.audit,
        "keys.pseudonym": config.keys.pseudonym,
    }
    if config.intake.http:
        named["intake.token"] = config.intake.token
    return {
        secret.credential: key
        for key, secret in named.items()
        if secret is not None and secret.credential is not None
    }


def sources(names: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Return credential -> its file: NAME, or NAME.cred as systemd-creds encrypted it.

    A main key that is to follow the present one goes along while it is there.
    """
    found = {name: _file(folder, name) for name in names}
    following = {
        f"{name}.next": _file(folder, f"{name}.next") for name in names if names[name] == "keys.seal"
    }
    return found | {name: path for name, path in following.items() if _there(path)}


def _file(folder: Path, name: str) -> Path:
    plain, encrypted = folder / name, folder / f"{name}{ENCRYPTED}"
    return encrypted if _there(encrypted) and not _there(plain) else plain


def _there(path: Path) -> bool:
    """Return whether a file is there for whoever asks: the folder is root's, and a dry run is anybody's."""
    try:
        return path.exists()
    except PermissionError:
        return False


def credentials_text(files: Mapping[str, Path]) -> str:
    """Return the drop-in that hands files to the service, each under its name."""
    lines = [
        f"LoadCredential{'Encrypted' if path.name == f'{name}{ENCRYPTED}' else ''}={name}:{path}"
        for name, path in files.items()
    ]
    return "\n".join([_WRITTEN, "[Service]", *lines]) + "\n"


def folders_text(config: Config) -> str | None:
    """Return the drop-in that lets the service empty a kiosk's folder, None where there is none.

    A folder that is not there yet must not keep the service from starting: hence the dash.
    """
    folder = config.intake.folder
    if folder is None:
        return None
    return "\n".join([_WRITTEN, "[Service]", f'ReadWritePaths="-{folder.replace("%", "%%")}"']) + "\n"


def hosts(config: Config) -> list[str]:
    """Return whom the service connects to: the platform, or the proxy before it, and a network camera."""
    urls = [config.platform.proxy or config.platform.base_url]
    if "://" in config.camera.source:
        urls.append(config.camera.source)
    return list(dict.fromkeys(host for host in (urlsplit(url).hostname for url in urls) if host))


def named(hosts: Iterable[str]) -> list[str]:
    """Return those hosts that are names, not addresses."""
    return [host for host in hosts if not _is_address(host)]


def addresses(hosts: Iterable[str], lookup: Lookup | None = None) -> list[str]:
    """Return the hosts' addresses, names looked up. AgentError E8312 for a name that nobody knows."""
    found: list[str] = []
    for host in hosts:
        found += [host] if _is_address(host) else (lookup or resolved)(host)
    return list(dict.fromkeys(found))


def resolved(host: str) -> list[str]:
    """Return the addresses that a name stands for now."""
    try:
        answers = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    except OSError as error:
        raise AgentError("E8312", host=host, reason=error.strerror or "") from error
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def name_servers(resolv_conf: str) -> list[str]:
    """Return the name servers of a resolv.conf: who looks names up must reach them."""
    lines = (line.split() for line in resolv_conf.splitlines())
    found = [words[1].partition("%")[0] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    return [address for address in found if _is_address(address)]


def addresses_text(allowed: Iterable[str]) -> str:
    """Return the drop-in that lets the service talk to itself and to `allowed`, and to nobody else."""
    lines = ["IPAddressDeny=any", "IPAddressAllow=localhost"]
    lines += [f"IPAddressAllow={address}" for address in allowed if not _is_loopback(address)]
    return "\n".join([_WRITTEN, "[Service]", *lines]) + "\n"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def _is_loopback(address: str) -> bool:
    return address == "localhost" or ipaddress.ip_address(address).is_loopback
