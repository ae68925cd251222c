"""Combinations that each key alone allows and that must not be, and what is worth a warning."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from agent.config import verbatim
from agent.config.findings import Finding
from agent.config.schema import MAX_OPERATOR_CHARS, Config, Face, PhotoDecoder, named_secrets, text_length
from agent.config.tree import Path, Tree
from drivers.camera_source import is_file_source

#: Digits and dots alone are an address, never a name.
_NUMBERS = re.compile(r"[0-9.]+")
#: The platform's calls, which come behind `base_url`; the whole address of one is easily copied there.
CALLS = ("/machine/info", "/verification/pregnant_woman/first")
#: Of one part of a host's name.
MAX_LABEL_CHARS = 63


def findings(config: Config, tree: Tree) -> Iterator[Finding]:
    """Yield what is wrong or doubtful about a configuration whose keys are all right."""
    for path, code, facts in _checks(config):
        yield Finding(tree.file, tree.place(path), code, facts)


def _checks(config: Config) -> Iterator[tuple[Path, str, dict[str, str]]]:
    yield from _addresses(config)
    yield from _paths(config)
    yield from _test_sources(config)
    yield from _face(config.face)
    yield from _intake(config)
    yield from _decoder(config.reader.photo_decoder)
    yield from _operators(config)
    platform, device = config.platform, config.device
    if not is_loopback(platform.base_url) and not platform.encrypt and platform.base_url.startswith("http:"):
        yield ("platform", "encrypt"), "W6101", {}
    yield from verbatim.findings(config)
    codes = (verbatim.tidied(code, identifier=True) for code in (device.machine_code, device.device_no))
    if not next(codes).endswith(next(codes)):
        yield ("device", "machine_code"), "W6102", {}
    yield from _listening(config.console.listen)
    if config.logging.level == "traffic":
        yield ("logging", "level"), "W6110", {}
    shown = sum(int(part) for part in config.console.mask.number.split("+"))
    if shown >= 8:
        yield ("console", "mask", "number"), "W6104", {"shown": str(shown)}


def _addresses(config: Config) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """What has the form of an address and leads nowhere is found here, not by whoever connects first."""
    for key in ("base_url", "proxy"):
        url = getattr(config.platform, key)
        if url is not None and not _leads_somewhere(url):
            yield ("platform", key), "E6032", {"key": f"platform.{key}"}
    for call in CALLS:
        if config.platform.base_url.rstrip("/").lower().endswith(call):
            yield ("platform", "base_url"), "E6036", {"key": "platform.base_url", "path": call}
    try:
        urlsplit(config.camera.source)  # more is not said of it: a password in it may hold anything
    except ValueError:
        yield ("camera", "source"), "E6032", {"key": "camera.source"}


def _leads_somewhere(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # brackets that do not close, a port that is no number
        return False
    if port == 0 or parts.netloc.endswith(":") or "//" in parts.path:
        return False
    if ":" in host or _NUMBERS.fullmatch(host):
        return _is_address(host)
    return all(0 < len(label) <= MAX_LABEL_CHARS for label in host.removesuffix(".").split("."))


def _test_sources(config: Config) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """Made-up data must never reach a province: test sources go with a platform on loopback alone."""
    platform = config.platform
    # This machine as a proxy elsewhere sees it is another one.
    if is_loopback(platform.base_url) and (platform.proxy is None or is_loopback(platform.proxy)):
        return
    found = {
        ("camera", "source"): is_file_source(config.camera.source),
        ("reader", "port"): config.reader.port.startswith("replay:") or _is_pty(config.reader.port),
        ("reader", "photo_decoder", "kind"): config.reader.photo_decoder.kind == "simulated",
    }
    for path, test_source in found.items():
        if test_source:
            yield path, "E6030", {"key": ".".join(path)}


def _paths(config: Config) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """The working directory of whoever types a command is not the service's: paths are whole."""
    secrets = {name: secret.file for name, secret in named_secrets(config).items()}
    named = {
        **secrets,
        "state_dir": config.state_dir,
        "platform.ca_file": config.platform.ca_file,
        "face.weights_dir": config.face.weights_dir,
        "face.onnx.model": config.face.onnx.model,
        "intake.folder": config.intake.folder,
        "intake.pictures": config.intake.pictures,
    }
    for key, path in named.items():
        if path is not None and not path.startswith("/"):
            yield tuple(key.split(".")), "E6059", {"key": key}


def _face(face: Face) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """A threshold belongs to its engine, and no engine may be told to take strangers."""
    if face.threshold is not None and face.threshold < face.floor:
        yield ("face", "threshold"), "E6023", {"key": "face.threshold", "limit": f">= {face.floor:g}"}
    onnx = face.onnx
    if face.engine == "onnx" and onnx.missing:
        yield ("face", "onnx"), "E6034", {"keys": ", ".join(onnx.missing)}
    elif list(onnx.cosines.values()) != sorted(set(onnx.cosines.values())):
        yield ("face", "onnx", "far_1e4"), "E6033", {}


def _decoder(decoder: PhotoDecoder) -> Iterator[tuple[Path, str, dict[str, str]]]:
    if decoder.kind == "library" and decoder.library.path is None:
        path = ("reader", "photo_decoder", "kind")
        yield path, "E6050", {"key": ".".join(path), "needs": "reader.photo_decoder.library.path"}


def _intake(config: Config) -> Iterator[tuple[Path, str, dict[str, str]]]:
    intake = config.intake
    if intake.http and intake.token is None:
        yield ("intake", "http"), "E6050", {"key": "intake.http", "needs": "intake.token"}
    if intake.http and config.console.listen == "none":
        yield ("intake", "http"), "E6050", {"key": "intake.http", "needs": "console.listen"}
    if config.reader.source == "none" and not intake.wanted:
        yield ("reader", "source"), "W6150", {}


def _operators(config: Config) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """An operator's name goes with every record, and the column may count bytes."""
    operators, unit = config.operators, config.platform.conventions.length_unit
    names: dict[Path, str] = {("operators", "list", at): name for at, name in enumerate(operators.list)}
    if operators.default is not None:
        names["operators", "default"] = operators.default
    for path, name in names.items():
        length = text_length(name, unit)
        if length > MAX_OPERATOR_CHARS:
            key = ".".join(map(str, path))
            facts = {"length": str(length), "unit": unit, "limit": str(MAX_OPERATOR_CHARS)}
            yield path, "E6035", {"key": key, **facts}


def _listening(listen: str) -> Iterator[tuple[Path, str, dict[str, str]]]:
    host, _, port = listen.rpartition(":")
    if listen == "none":
        return
    if not (_is_address(host) and 0 < int(port) < 65536):
        yield ("console", "listen"), "E6032", {"key": "console.listen"}
    elif not _is_loopback_host(host):
        yield ("console", "listen"), "W6103", {}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError:
        return False
    return True


def _is_pty(port: str) -> bool:
    return os.path.realpath(port).startswith("/dev/pts/")


def is_loopback(url: str) -> bool:
    """Return whether a URL names this machine."""
    try:
        return _is_loopback_host(urlsplit(url).hostname or "")
    except ValueError:
        return False


def _is_loopback_host(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
