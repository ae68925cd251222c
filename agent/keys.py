"""Secrets and keys: systemd credentials or files that nobody else can read, never the configuration itself.

Three keys of the agent's own - sealing, audit, pseudonyms - one purpose each. Where the configuration
names none they are made at first start below state_dir/keys; `doctor` and the documents say what that
does not protect against.

A file of a key of ours says `hex:` and the key, and is that key wherever it lies - moved into a credential,
restored from a backup. Without `hex:` a file of our own making holds hexadecimal digits, and one that the
configuration names is the key as it stands: both are older than that.

The sealing key changes by putting the new one beside it as `NAME.next` and starting anew: whatever was
sealed under the old key's wrapping is wrapped under the new one, and the old file may go. Keys of our own
making do all of it by themselves.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.catalogue import AgentError
from agent.config.schema import Config, Secret

KEY_BYTES = 32
#: Where the files lie that systemd hands to the service as credentials; root's own.
SECRETS = Path("/etc/kiosk-agent/secrets")
#: Secrets that somebody was told and typed or pasted; keys of the agent's own are made by `keys init`.
TYPED = ("platform.org_app_secret", "platform.authorization", "camera.password", "intake.token")
_HEX = b"hex:"
_ONE_LINE = re.compile(r"[!-~]([ -~]*[!-~])?")
#: A secret is a line of text or a key; whatever is larger is the wrong file.
MAX_SECRET_BYTES = 4096
#: The name's end of a credential that systemd-creds encrypted to this machine.
ENCRYPTED = ".cred"
#: It may have to ask a TPM.
DECRYPT_S = 10.0


@dataclass(frozen=True)
class Keyring:
    """The agent's own keys. `made` says that at least one of them was made just now."""

    seal: bytes = field(repr=False)
    audit: bytes = field(repr=False)
    pseudonym: bytes = field(repr=False)
    made: bool
    seal_next: bytes | None = field(repr=False, default=None)


NAMES = ("seal", "audit", "pseudonym")
_OURS = frozenset(f"keys.{name}" for name in NAMES)


def load(config: Config, env: Mapping[str, str] = os.environ) -> Keyring:
    """Return the three keys, making those that neither configuration nor state directory has."""
    made = False
    found: dict[str, bytes] = {}
    for name in NAMES:
        secret: Secret | None = getattr(config.keys, name)
        if secret is not None:
            found[name] = read_secret(secret, f"keys.{name}", env)
            continue
        path = own_key(config, name)
        if not path.exists():
            write_key(path, written(os.urandom(KEY_BYTES)))
            made = True
        found[name] = _own(path, f"keys.{name}")
    return Keyring(
        seal=found["seal"],
        audit=found["audit"],
        pseudonym=found["pseudonym"],
        made=made,
        seal_next=_seal_next(config, env),
    )


def written(key: bytes) -> bytes:
    """Return a key as its file holds it."""
    return _HEX + key.hex().encode()


def _unwritten(content: bytes, name: str, path: Path | str | None) -> bytes:
    """Return the key that a file's content stands for. AgentError E7203 when it is not what it says."""
    if not content.startswith(_HEX):
        return content
    try:
        key = bytes.fromhex(content.removeprefix(_HEX).decode("ascii"))
    except ValueError:
        key = b""
    if not key:
        raise AgentError("E7203", key=name, path=path)
    return key


def place(config: Config, name: str) -> Path:
    """Return the file in which a key is kept. AgentError E7309 when it is a credential: systemd passes it."""
    secret: Secret | None = getattr(config.keys, name)
    if secret is None:
        return own_key(config, name)
    if secret.file is None:
        raise AgentError("E7309", key=f"keys.{name}", credential=secret.credential)
    return Path(secret.file)


def own_key(config: Config, name: str) -> Path:
    """Return where a key of our own making lies."""
    return Path(config.state_dir) / "keys" / f"{name}.key"


def beside_the_data(config: Config) -> list[str]:
    """Return the keys that lie in the state directory, those left behind there by a move among them."""
    return [name for name in NAMES if getattr(config.keys, name) is None or own_key(config, name).exists()]


def own_keys(config: Config) -> dict[str, bytes]:
    """Return those keys of our own making that are there. AgentError E72xx for one that cannot be used."""
    places = {name: own_key(config, name) for name in NAMES if getattr(config.keys, name) is None}
    return {name: _own(path, f"keys.{name}") for name, path in places.items() if path.exists()}


def _own(path: Path, name: str) -> bytes:
    text = _read_private(path, name)
    return _unwritten(text if text.startswith(_HEX) else _HEX + text, name, path)


def held(config: Config, name: str, path: Path) -> bytes:
    """Return the key that a file holds which is kept where the configuration wants it."""
    if getattr(config.keys, name) is None:
        return _own(path, f"keys.{name}")
    return _unwritten(_read_private(path, f"keys.{name}"), f"keys.{name}", path)


def _seal_next(config: Config, env: Mapping[str, str]) -> bytes | None:
    """Return the key that is to follow keys.seal, when somebody put it there."""
    secret = config.keys.seal
    if secret is None:
        path = next_to(own_key(config, "seal"))
        return _own(path, "keys.seal") if path.exists() else None
    if secret.file is not None:
        path = next_to(Path(secret.file))
        return held(config, "seal", path) if path.exists() else None
    credential = next_to(Path(str(secret.credential))).name
    if env.get("CREDENTIALS_DIRECTORY"):
        path = Path(env["CREDENTIALS_DIRECTORY"]) / credential
        content = _content(path, "keys.seal") if path.exists() else None
    else:
        content = _kept(credential, "keys.seal")
    return None if content is None else _unwritten(content, "keys.seal", credential)


def next_to(path: Path) -> Path:
    """Return where the key that is to follow the one at `path` is put."""
    return path.with_name(f"{path.name}.next")


def promote_own(config: Config) -> None:
    """Let our own `seal.key.next` take the place of `seal.key`: the outbox is wrapped under it already."""
    path = own_key(config, "seal")
    if config.keys.seal is None and next_to(path).exists():
        next_to(path).replace(path)
        sync_folder(path.parent)


def read_secret(secret: Secret, name: str, env: Mapping[str, str] = os.environ) -> bytes:
    """Return a secret's bytes without a trailing line end.

    `name` is the configuration key, for the error: E7201 not there, E7202 readable by others, E7203
    empty or too large, E7204 a credential is named but systemd passed none, E7209 it is encrypted and
    cannot be decrypted here, E7210 no line of text.
    """
    content = _secret(secret, name, env)
    # Notepad's mark, a blank behind what was pasted: invisible, and every signature would be wrong.
    if name in TYPED and not _ONE_LINE.fullmatch(content.decode("latin-1")):
        raise AgentError("E7210", key=name)
    return _unwritten(content, name, secret.file or secret.credential) if name in _OURS else content


def _secret(secret: Secret, name: str, env: Mapping[str, str]) -> bytes:
    if secret.file is not None:
        return _read_private(Path(secret.file), name)
    credential = str(secret.credential)
    if env.get("CREDENTIALS_DIRECTORY"):
        # The directory is systemd's own, readable for this unit alone, with modes that differ by version.
        return _content(Path(env["CREDENTIALS_DIRECTORY"]) / credential, name)
    # A command that root types beside the service works with what the service would be given.
    content = _kept(credential, name)
    if content is None:
        raise AgentError("E7204", key=name, credential=credential)
    return content


def _kept(credential: str, name: str) -> bytes | None:
    """Return what systemd would hand over, None where there is nothing or it is not for us to read.

    As systemd reads it, as root, although a command acts as the service's account: it owns no secret.
    """
    plain = SECRETS / credential
    encrypted = plain.with_name(f"{credential}{ENCRYPTED}")
    acting = os.geteuid()
    if os.getuid() == 0:
        os.seteuid(0)
    try:
        if os.access(plain, os.R_OK, effective_ids=True):
            return _read_private(plain, name)
        return _decrypted(encrypted, credential, name) if os.access(encrypted, os.R_OK) else None
    finally:
        os.seteuid(acting)


def refuse_undecryptable(path: Path, name: str) -> None:
    """Refuse an encrypted credential where systemd is older than 250: AgentError E7209.

    Such a systemd has no systemd-creds, passes LoadCredentialEncrypted= over with a warning and starts the
    service without the secret.
    """
    if path.suffix == ENCRYPTED and path.exists() and shutil.which("systemd-creds") is None:
        raise AgentError("E7209", key=name, path=path)


def _decrypted(path: Path, credential: str, name: str) -> bytes:
    """Return what systemd-creds encrypted to this machine."""
    refuse_undecryptable(path, name)
    command = ["systemd-creds", "decrypt", f"--name={credential}", str(path), "-"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=DECRYPT_S)
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "strerror", None) or "systemd-creds cannot decrypt it"
        raise AgentError("E7201", key=name, path=path, reason=reason) from error
    return _trimmed(done.stdout, path, name)


def camera_password(config: Config) -> str | None:
    """Return the password of a camera in the network; None where it needs none."""
    password = config.camera.password
    return None if password is None else read_secret(password, "camera.password").decode()


def _read_private(path: Path, name: str) -> bytes:
    try:
        status = path.stat()
    except OSError as error:
        raise AgentError("E7201", key=name, path=path, reason=error.strerror) from error
    if stat.S_ISDIR(status.st_mode):  # of a folder, 0755 is no fault, and chmod no remedy
        raise AgentError("E7201", key=name, path=path, reason=os.strerror(errno.EISDIR))
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or status.st_uid not in {os.geteuid(), 0}:
        raise AgentError("E7202", key=name, path=path)
    return _content(path, name)


def _content(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise AgentError("E7201", key=name, path=path, reason=error.strerror) from error
    return _trimmed(content, path, name)


def _trimmed(content: bytes, path: Path, name: str) -> bytes:
    """Return a file's content without its line end. AgentError E7203 for one that is empty or too large."""
    if len(content) > MAX_SECRET_BYTES:
        raise AgentError("E7203", key=name, path=path)
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    if not content.strip():
        raise AgentError("E7203", key=name, path=path)
    return content


def write_key(path: Path, content: bytes) -> None:
    """Write a key so that after a power cut it is there whole, or not at all. 0400, never over another."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        draft = path.with_name(f"{path.name}.new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        try:
            os.write(descriptor, content + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise AgentError("E7205", path=path, reason=error.strerror) from error


def sync_folder(folder: Path) -> None:
    """Make names that were made or changed in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
