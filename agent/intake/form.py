"""A mapping file: how a kiosk's own JSON becomes a submission, field by field, without a line of code.

`read` finds a shipped mapping by its name or a file by its path; what is wrong with it is told like a
configuration's mistakes, with line and column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError

from agent.config import ConfigError, Finding, shape
from agent.config.findings import Place, meant
from agent.config.loader import invalid, without_nulls
from agent.config.schema import Section, Text
from agent.config.tree import parse
from agent.intake.dates import known
from agent.intake.schema import KINDS, RESULTS

SHIPPED = resources.files("agent.intake").joinpath("mappings")


def _date_form(form: str) -> str:
    if not known(form):
        raise ValueError("date_form")
    return form


class Rule(Section):
    """Where one field comes from, and what is done to it, in this order."""

    path: Text | None = None  # names joined by dots; a number picks from a list
    value: Text | None = None  # the same for every result
    split: Annotated[str, Field(min_length=1, max_length=5)] | None = None
    take: Annotated[int, Field(ge=0, le=9)] = 0  # which part, from 0
    codes: dict[str, str] | None = None  # what the kiosk says -> what we say; "" leaves the field out
    scale: Annotated[float, Field(gt=0)] | None = None  # the kiosk's score for "the same": 100, 1
    forms: tuple[Annotated[str, AfterValidator(_date_form)], ...] = ()  # of a date: the first that fits
    nation: bool = False  # a name such as 壮 or 壮族, or a code
    number: Literal["birth", "sex"] | None = None  # what the 18 digits at `path` say themselves
    picture: Literal["base64", "file", "url"] | None = None
    made: Literal["arrival", "digest"] | None = None  # no such field: now; a digest of everything else


class Fields(Section):
    """Every field of a submission, flat. The starred ones must be given."""

    id: Rule  # *
    verified_at: Rule  # *
    kind: Rule  # *
    name: Rule  # *
    number: Rule  # *
    result: Rule  # *
    card_picture: Rule  # *
    camera_picture: Rule  # *
    score: Rule | None = None
    device_no: Rule | None = None
    sex: Rule | None = None
    nation: Rule | None = None
    birth: Rule | None = None
    address: Rule | None = None
    issuer: Rule | None = None
    valid_from: Rule | None = None
    valid_until: Rule | None = None
    latin_name: Rule | None = None
    operator: Rule | None = None
    finger_result: Rule | None = None
    finger_score: Rule | None = None
    finger_picture: Rule | None = None


class Form(Section):
    """One mapping."""

    about: Text
    ignore_case: bool = False
    zone: Annotated[str, Field(pattern=r"^[+-][0-9]{2}:[0-9]{2}$")] = "+08:00"
    fields: Fields

    def rules(self) -> dict[str, Rule]:
        """Return the rule of each field that is mapped."""
        return {
            name: rule for name in Fields.model_fields if (rule := getattr(self.fields, name)) is not None
        }


#: Which of our words a field's codes may lead to.
WORDS: Mapping[str, tuple[str, ...]] = {
    "kind": tuple(KINDS),
    "result": tuple(RESULTS),
    "finger_result": tuple(RESULTS),
    "sex": ("0", "1", "2", "9"),
}
PICTURES = ("card_picture", "camera_picture", "finger_picture")


def shipped() -> list[str]:
    """Return the names of the mappings that come with the agent."""
    return sorted(
        file.name.removesuffix(".yaml") for file in SHIPPED.iterdir() if file.name.endswith(".yaml")
    )


def read(mapping: str) -> Form:
    """Return a mapping by the name of a shipped one or the path of a file. ConfigError with every finding."""
    form, findings = examine(mapping)
    if form is None:
        raise ConfigError(findings)
    return form


def examine(mapping: str) -> tuple[Form | None, list[Finding]]:
    """Return the mapping, None when it cannot be used, and every finding."""
    if "/" not in mapping and not mapping.endswith((".yaml", ".yml")):
        if mapping not in shipped():
            facts = {"name": mapping[:40], "meant": meant(mapping, shipped()), "known": ", ".join(shipped())}
            return None, [Finding(mapping[:40], Place(), "E6051", facts)]
        return _examined(f"{mapping}.yaml", SHIPPED.joinpath(f"{mapping}.yaml").read_bytes())
    try:
        return _examined(mapping, Path(mapping).read_bytes())
    except OSError as error:
        return None, [Finding(mapping, Place(), "E6002", {"reason": error.strerror or ""})]


def _examined(file: str, raw: bytes) -> tuple[Form | None, list[Finding]]:
    tree = parse(file, raw, shape.of_model(Form))
    form = None
    findings = list(tree.findings)
    if tree.data is not None:
        try:
            form = Form.model_validate(without_nulls(tree.data))
        except ValidationError as error:
            findings += invalid(tree, error)
    if form is not None:
        for path, code, facts in _contradictions(form):
            findings.append(Finding(file, tree.place(("fields", *path)), code, facts))
    findings.sort(key=lambda finding: (finding.place.line, finding.place.column))
    return (None if findings else form), findings


#: The only fields that may come from nowhere in the kiosk's JSON.
MADE = {("verified_at", "arrival"), ("id", "digest")}


def _contradictions(form: Form) -> Iterator[tuple[tuple[str, ...], str, dict[str, str]]]:
    for name, rule in form.rules().items():
        key = f"fields.{name}"
        sources = [source for source in ("path", "value", "made") if getattr(rule, source) is not None]
        if len(sources) != 1 or (rule.made and (name, rule.made) not in MADE):
            yield (name,), "E6052", {"key": key}
        if name in {"result", "finger_result"} and not (rule.path and rule.codes):
            yield (name,), "E6053", {"key": key}
        if name in PICTURES and not (rule.path and rule.picture):
            yield (name,), "E6054", {"key": key}
        for path, word in _words(name, rule):
            if word not in WORDS[name] and (word or name in {"result", "finger_result"}):
                yield path, "E6024", {"key": ".".join(("fields", *path)), "allowed": " | ".join(WORDS[name])}


def _words(name: str, rule: Rule) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each of our own words that a rule leads to, where only some are allowed."""
    if name in WORDS:
        if rule.value is not None:
            yield (name, "value"), rule.value
        for code, word in (rule.codes or {}).items():
            yield (name, "codes", code), word
