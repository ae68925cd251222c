"""From a path to a `Config`, or to every finding at once. `check` and `run` go the same way."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.config import rules, shape
from agent.config.findings import ConfigError, Finding, Place, in_order, meant
from agent.config.schema import Config
from agent.config.tree import MAX_BYTES, Tree, parse

#: pydantic's error types -> ours. Its own texts are English and quote the value, which may be a secret.
_CODES = {
    "missing": "E6020",
    "string_too_long": "E6022",
    "greater_than_equal": "E6023",
    "greater_than": "E6023",
    "less_than_equal": "E6023",
    "less_than": "E6023",
    "literal_error": "E6024",
    "string_pattern_mismatch": "E6025",
}
#: The first word of other error types -> what was expected.
_EXPECTED = {
    "int": "whole number",
    "float": "number",
    "finite": "number",
    "bool": "true/false",
    "date": "yyyy-mm-dd",
}
_CUSTOM = {"blank": "E6026", "date_form": "E6055", "one_of_credential_file": "E6027"}


@dataclass(frozen=True)
class File:
    """One file as it was read: its configuration, None when it cannot be used, and every finding."""

    path: str
    config: Config | None
    findings: tuple[Finding, ...]
    _tree: Tree = field(repr=False)

    def find(self, key: str, code: str, /, **facts: str) -> Finding:
        """Return a finding about a key, at its place or at that of its section; about the file for ""."""
        place = self._tree.place(tuple(key.split("."))) if key else Place()
        return Finding(self.path, place, code, {"key": key, **facts})

    def usable(self) -> Config:
        """Return the configuration. ConfigError with every finding when it cannot be used."""
        if self.config is None:
            raise ConfigError(self.findings)
        return self.config

    def says(self, key: str) -> bool:
        """Return whether the file itself gives a key."""
        return tuple(key.split(".")) in self._tree.places


def load(path: Path, env: Mapping[str, str] = os.environ) -> Config:
    """Return the configuration of a file. ConfigError with every finding when it cannot be used."""
    return read(path, env).usable()


def examine(path: Path, env: Mapping[str, str] = os.environ) -> tuple[Config | None, list[Finding]]:
    """Return the configuration, None when it cannot be used, and every finding, warnings included."""
    file = read(path, env)
    return file.config, list(file.findings)


def read(path: Path, env: Mapping[str, str] = os.environ) -> File:
    """Return a file with all that can be said of it without looking at anything else."""
    name = str(path)
    try:
        with path.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return File(name, None, (Finding(name, Place(), "E6001", {"path": name}),), Tree(name))
    except OSError as error:
        unread = Finding(name, Place(), "E6002", {"reason": error.strerror or ""})
        return File(name, None, (unread,), Tree(name))
    tree = parse(name, raw, shape.of_model(Config))
    findings = list(tree.findings)
    config = None
    if tree.data is not None:
        config, wrong = _validated(tree, env)
        findings += wrong
    if config is not None:
        findings += rules.findings(config, tree)
    usable = None if any(finding.fatal for finding in findings) else config
    return File(name, usable, tuple(in_order(findings)), tree)


def _validated(tree: Tree, env: Mapping[str, str]) -> tuple[Config | None, list[Finding]]:
    data: dict[str, Any] = without_nulls(tree.data)
    # systemd names the state directory; what it prepared is what the service may write.
    if env.get("STATE_DIRECTORY"):
        data["state_dir"] = env["STATE_DIRECTORY"].split(":")[0]
    try:
        return Config.model_validate(data), []
    except ValidationError as error:
        return None, list(invalid(tree, error))


def without_nulls(value: Any) -> Any:
    """Leave out what says null: an absent key and a null one mean the same, the default."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return value


def invalid(tree: Tree, error: ValidationError) -> Iterator[Finding]:
    """Yield what a model finds wrong with a tree's data, at its place in the file."""
    for problem in error.errors(include_url=False, include_input=False):
        path = problem["loc"]
        # A value whose trap was told already is missing now; one finding for one mistake.
        if path in tree.refused:
            continue
        context = problem.get("ctx", {})
        code = _code(problem["type"], context)
        facts = {"key": ".".join(str(part) for part in path), **_facts(code, problem["type"], context)}
        if code == "E6024":
            written = _written(tree.data, path)
            allowed = [word.strip() for word in facts["allowed"].split("|")]
            facts["meant"] = meant(written, allowed) if isinstance(written, str) else ""
        yield Finding(tree.file, tree.place(path), code, facts)


def _code(kind: str, context: Mapping[str, Any]) -> str:
    if kind == "value_error":
        return _CUSTOM.get(str(context.get("error")), "E6021")
    return _CODES.get(kind, "E6021")


def _facts(code: str, kind: str, context: Mapping[str, Any]) -> dict[str, str]:
    if code == "E6022":
        return {"limit": str(context["max_length"])}
    if code == "E6023":
        name, limit = next(iter(context.items()))
        return {"limit": {"ge": "≥ ", "gt": "> ", "le": "≤ ", "lt": "< "}[name] + f"{limit}"}
    if code == "E6024":
        return {
            "allowed": str(context["expected"]).replace("'", "").replace(" or ", " | ").replace(", ", " | ")
        }
    if code == "E6025":
        return {"pattern": str(context["pattern"])}
    return {"expected": _EXPECTED.get(kind.partition("_")[0], "?")} if code == "E6021" else {}


def _written(data: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    return data
