"""Every key of the configuration with what is to be said of it: meaning, default, what it takes.

Structure and limits come from the schema, the words from descriptions.yaml beside it; a test fails for a
key that has no words and for words that have no key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any

import yaml

from agent.config.schema import Config

#: JSON Schema's limits as signs.
_LIMITS = {"minimum": "≥ ", "exclusiveMinimum": "> ", "maximum": "≤ ", "exclusiveMaximum": "< "}
#: A word that YAML takes for text without quotes, under a key that knows its words.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Key:
    """One key, or the head of a section. `kind` is its JSON schema."""

    path: tuple[str, ...]
    kind: Mapping[str, Any] = field(repr=False)
    required: bool
    default: Any
    words: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """Return the dotted name."""
        return ".".join(self.path)

    @property
    def section(self) -> bool:
        """Return whether it is the head of a section, with no value of its own."""
        return "properties" in self.kind and not self.secret

    @property
    def secret(self) -> bool:
        """Return whether the place of a secret stands here."""
        return self.kind.get("title") == "Secret"

    def says(self, lang: str) -> str:
        """Return what the key means."""
        return str(self.words.get(lang, ""))

    def written(self, value: Any) -> str:
        """Return a value of this key as it is written in the file; sizes with their unit."""
        if value is None:
            return "null"
        if self.kind.get("format") == "date" or ("enum" in self.kind and _PLAIN.fullmatch(str(value))):
            return str(value)
        if self.secret:
            return "{" + ", ".join(f"{kind}: {place}" for kind, place in value.items() if place) + "}"
        if self.path[-1].endswith("_bytes") and value % 2**20 == 0:
            return f"{value // 2**30}GiB" if value % 2**30 == 0 else f"{value // 2**20}MiB"
        whole = isinstance(value, float) and value.is_integer()
        return json.dumps(int(value) if whole else value, ensure_ascii=False)

    @property
    def takes(self) -> str:
        """Return what a key takes beyond its type, in signs that need no language; "" for free text."""
        if self.secret:
            return "{credential: …} | {file: …}"
        if "enum" in self.kind:
            return " | ".join(self.written(word) for word in self.kind["enum"])
        if self.kind.get("type") == "boolean":
            return "true | false"
        if self.kind.get("format") == "date":
            return "yyyy-mm-dd"
        limits = [f"{sign}{self.kind[limit]}" for limit, sign in _LIMITS.items() if limit in self.kind]
        longest = self.kind.get("items", self.kind).get("maxLength")
        return ", ".join([*limits, *([f"len ≤ {longest}"] if longest else [])])


def keys() -> Iterator[Key]:
    """Yield every key in the schema's order, the head of a section before what is in it."""
    schema = Config.model_json_schema()
    yield from _members(schema, schema["$defs"], ())


@lru_cache(maxsize=1)
def descriptions() -> Mapping[str, Mapping[str, Any]]:
    """Return the words for each dotted name."""
    text = resources.files("agent.config").joinpath("descriptions.yaml").read_text("utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: Mapping[str, Mapping[str, Any]] = yaml.load(text, Loader=loader)  # noqa: S506
    return found


def _members(schema: Mapping[str, Any], defs: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[Key]:
    required = schema.get("required", ())
    for name, raw in schema["properties"].items():
        path = (*above, name)
        words = descriptions().get(".".join(path), {})
        key = Key(path, _resolved(raw, defs), name in required, raw.get("default"), words)
        yield key
        if key.section:
            yield from _members(key.kind, defs, path)


def _resolved(raw: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference and look past `or null`."""
    if "anyOf" in raw:
        raw = next(one for one in raw["anyOf"] if one.get("type") != "null")
    if "$ref" in raw:
        found: Mapping[str, Any] = defs[raw["$ref"].rsplit("/", 1)[1]]
        return found
    return raw
