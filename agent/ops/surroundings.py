"""What a configuration names and what there is: looked at as the service would, and nothing is changed.

`check` tells all of it. Without what `needed` finds missing the daemon neither starts nor takes the file
over; the rest it outlives - records wait, the screen says why -: no desk is closed over a certificate.
"""

from __future__ import annotations

import errno
import os
import shutil
import ssl
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from agent import keys
from agent.catalogue import AgentError
from agent.config import Config, ConfigError, Finding
from agent.config.findings import in_order
from agent.config.loader import File, read
from agent.config.schema import Secret, named_secrets
from agent.control.client import UNITS
from agent.face import weights
from agent.hmpt import conventions
from agent.ops import machine
from agent.ops.access import SERVICE_STATE, acting_as, service_account
from drivers.access import Account

#: What `intake.form` says of a mapping that there is not.
_NO_FILE = frozenset({"E6002", "E6051"})
_DENIED, _READ_ONLY = os.strerror(errno.EACCES), os.strerror(errno.EROFS)


def configured(path: Path, env: Mapping[str, str] = os.environ) -> Config:
    """Return a configuration that the daemon can work with. ConfigError with every finding."""
    file = read(path, env)
    config = file.usable()
    if missing := list(needed(file, config, env)):
        raise ConfigError(in_order([*file.findings, *missing]))
    return config


def surroundings(
    file: File, config: Config, *, daemon: bool, env: Mapping[str, str] = os.environ
) -> list[Finding]:
    """Return what is wrong with what a file names. `daemon`: one runs, which holds its own port.

    Root looks with the service's eyes; what another account may not look at is named in one warning.
    """
    found = []
    if _of_the_unit(file) and Path(config.state_dir) != SERVICE_STATE:
        found.append(file.find("state_dir", "W6152", path=str(SERVICE_STATE)))
        config = config.model_copy(update={"state_dir": str(SERVICE_STATE)})
    account = service_account(Path(config.state_dir))
    found += needed(file, config, env, account)
    with acting_as(account):
        found += [*_readable(file, account), *_there(file, config), *_port(file, config, daemon=daemon)]
    if os.geteuid() not in {0, account.uid}:
        # Credentials are root's: systemd hands them to the service, and to nobody who types a command.
        hidden = [
            finding for finding in found if finding.facts.get("reason") == _DENIED or finding.code == "E7204"
        ]
        found = [finding for finding in found if finding not in hidden]
        if hidden:
            found.append(file.find("", "W6151", keys=", ".join(finding.facts["key"] for finding in hidden)))
    return in_order(found)


def needed(
    file: File, config: Config, env: Mapping[str, str], account: Account | None = None
) -> Iterator[Finding]:
    """Yield what is missing of that without which nothing can run: secrets, our own keys, the mapping.

    `account`: whose eyes to look with, for root; our own without.
    """
    eyes = nullcontext if account is None else partial(acting_as, account)
    for key, secret in named_secrets(config).items():
        # A credential is read by systemd, as root, and handed on.
        with eyes() if secret.file is not None else nullcontext():
            yield from _tried(file, key, partial(_secret, config, key, secret, env))
    with eyes():
        yield from _tried(file, "keys", partial(keys.own_keys, config))
    if config.intake.wanted and config.intake.mapping is not None:
        # Imported here: a configuration without a mapping must not pay for it.
        from agent.intake.form import examine

        with eyes():
            _, wrong = examine(config.intake.mapping)
        for one in wrong:
            # That there is no such mapping is about our key, the rest about lines of the mapping's own.
            yield file.find("intake.mapping", one.code, **one.facts) if one.code in _NO_FILE else one


def _secret(config: Config, key: str, secret: Secret, env: Mapping[str, str]) -> None:
    content = keys.read_secret(secret, key, env)
    if key == "platform.org_app_secret":
        conventions.signing_key(config.platform.conventions, content)
        if config.platform.encrypt:
            conventions.sm4_key(config.platform.conventions, content)


def _readable(file: File, account: Account) -> Iterator[Finding]:
    """Many an editor of root's leaves a file that the service cannot read."""
    if os.geteuid() == account.uid and not os.access(file.path, os.R_OK, effective_ids=True):
        yield file.find("", "E6002", reason=f"{account.name}: {_DENIED}")


def _there(file: File, config: Config) -> Iterator[Finding]:
    yield from _state_dir(file, Path(config.state_dir))
    if config.platform.ca_file is not None:
        yield from _certificates(file, config.platform.ca_file)
    yield from _programs(file, config)
    face = config.face
    named = "onnx.model" if face.engine == "onnx" else "weights_dir" if face.weights_dir else "engine"
    if config.has_desk:
        yield from _tried(file, f"face.{named}", lambda: weights.in_use(face))
    for name, rights in (("folder", os.R_OK | os.W_OK | os.X_OK), ("pictures", os.R_OK | os.X_OK)):
        path = getattr(config.intake, name)
        reason = None if path is None else _hindrance(path, stat.S_ISDIR, rights)
        if reason in {_DENIED, _READ_ONLY}:
            yield file.find(f"intake.{name}", "E8531", path=path, reason=reason)
        elif reason is not None:
            yield file.find(f"intake.{name}", "E6056")


def _state_dir(file: File, state_dir: Path) -> Iterator[Finding]:
    """Look at the folder, or at the one in which it will be made; systemd makes its own by itself."""
    place = next(folder for folder in (state_dir, *state_dir.parents) if os.path.lexists(folder))
    reason = _hindrance(str(place), stat.S_ISDIR, os.W_OK | os.X_OK)
    made_by_systemd = state_dir == SERVICE_STATE != place
    if reason is not None and not (made_by_systemd and reason == _DENIED):
        yield file.find("state_dir", "E8302", path=str(place), reason=reason)


def _hindrance(path: str, kind: Callable[[int], bool], rights: int) -> str | None:
    """Return what keeps this account from using a file or folder, None when nothing does."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return error.strerror
    if not kind(mode):
        return os.strerror(errno.ENOTDIR if kind is stat.S_ISDIR else errno.EINVAL)
    if rights & os.W_OK and os.statvfs(path).f_flag & os.ST_RDONLY:
        return _READ_ONLY
    return None if os.access(path, rights, effective_ids=True) else _DENIED


def _certificates(file: File, path: str) -> Iterator[Finding]:
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        yield file.find("platform.ca_file", "E6057", path=path, reason="no PEM certificate in it")
    except OSError as error:
        yield file.find("platform.ca_file", "E6057", path=path, reason=error.strerror or "")


def _programs(file: File, config: Config) -> Iterator[Finding]:
    """What is started or loaded beside us: a photo decoder, a liveness check."""
    decoder, liveness = config.reader.photo_decoder, config.face.liveness
    if config.has_desk:
        if decoder.kind == "command":
            yield from _program(file, "reader.photo_decoder.command", decoder.command)
        if decoder.kind == "library":
            path = decoder.library.path or ""
            yield from _file(file, "reader.photo_decoder.library.path", path, os.R_OK)
            yield from _program(file, "reader.photo_decoder.library.helper", decoder.library.helper)
        yield from _program(file, "face.liveness.command", liveness.command)


def _program(file: File, key: str, command: tuple[str, ...]) -> Iterator[Finding]:
    if command:
        yield from _file(file, key, shutil.which(command[0]) or command[0], os.X_OK)


def _file(file: File, key: str, path: str, rights: int) -> Iterator[Finding]:
    if reason := _hindrance(path, stat.S_ISREG, rights):
        yield file.find(key, "E6058", path=path, reason=reason)


def _port(file: File, config: Config, *, daemon: bool) -> Iterator[Finding]:
    code, facts = machine.listening(config, daemon=daemon)
    if code is not None:
        yield file.find("console.listen", code, **facts)


def _of_the_unit(file: File) -> bool:
    """Return whether the installed unit reads this file: then its StateDirectory= decides."""
    return Path(file.path) == keys.SECRETS.parent / "config.yaml" and any(unit.exists() for unit in UNITS)


def _tried(file: File, key: str, look: Callable[[], object]) -> Iterator[Finding]:
    try:
        look()
    except AgentError as error:
        yield file.find(key, error.code, **{**error.facts, "key": error.facts.get("key", key)})
    except OSError as error:
        yield file.find(key, "E8308", path=str(error.filename), reason=error.strerror or "")
