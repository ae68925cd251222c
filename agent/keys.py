"""Secrets and keys: systemd credentials or files that nobody else can read, never the configuration itself.

Three keys of the agent's own - sealing, audit, pseudonyms - one purpose each. Where the configuration
names none they are made at first start below state_dir/keys; `doctor` and the documents say what that
does not protect against.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.catalogue import AgentError
from agent.config.schema import Config, Secret

KEY_BYTES = 32
#: A secret is a line of text or a key; whatever is larger is the wrong file.
MAX_SECRET_BYTES = 4096


@dataclass(frozen=True)
class Keyring:
    """The agent's own keys. `made` says that at least one of them was made just now."""

    seal: bytes = field(repr=False)
    audit: bytes = field(repr=False)
    pseudonym: bytes = field(repr=False)
    made: bool


def load(config: Config, env: Mapping[str, str] = os.environ) -> Keyring:
    """Return the three keys, making those that neither configuration nor state directory has."""
    folder = Path(config.state_dir) / "keys"
    made = False
    found: dict[str, bytes] = {}
    for name in ("seal", "audit", "pseudonym"):
        secret: Secret | None = getattr(config.keys, name)
        if secret is not None:
            found[name] = read_secret(secret, f"keys.{name}", env)
            continue
        path = folder / f"{name}.key"
        if not path.exists():
            _make(path)
            made = True
        found[name] = bytes.fromhex(_read_private(path, f"keys.{name}").decode("ascii"))
    return Keyring(**found, made=made)


def read_secret(secret: Secret, name: str, env: Mapping[str, str] = os.environ) -> bytes:
    """Return a secret's bytes without a trailing line end.

    `name` is the configuration key, for the error: E7201 not there, E7202 readable by others, E7203
    empty or too large, E7204 a credential is named but systemd passed none.
    """
    if secret.file is not None:
        return _read_private(Path(secret.file), name)
    folder = env.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise AgentError("E7204", key=name, credential=secret.credential)
    # The directory is systemd's own, readable for this unit alone, with modes that differ by version.
    return _content(Path(folder) / str(secret.credential), name)


def _read_private(path: Path, name: str) -> bytes:
    try:
        status = path.stat()
    except OSError as error:
        raise AgentError("E7201", key=name, path=path, reason=error.strerror) from error
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or status.st_uid not in {os.geteuid(), 0}:
        raise AgentError("E7202", key=name, path=path)
    return _content(path, name)


def _content(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise AgentError("E7201", key=name, path=path, reason=error.strerror) from error
    if len(content) > MAX_SECRET_BYTES:
        raise AgentError("E7203", key=name, path=path)
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    if not content.strip():
        raise AgentError("E7203", key=name, path=path)
    return content


def _make(path: Path) -> None:
    """Write a fresh key so that after a power cut it is there whole, or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    try:
        os.write(descriptor, os.urandom(KEY_BYTES).hex().encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
