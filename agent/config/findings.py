"""What is wrong with a configuration file, each thing with its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.catalogue import AgentError, entry
from agent.config.forms import form


@dataclass(frozen=True)
class Place:
    """Line and column, both counted from 1."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True)
class Finding:
    """One thing, as `file:line:col CODE text`. Facts hold no value from the file: it may be a secret.

    Except `meant`: a word of ours, or a code that the platform is told anyway (agent.config.verbatim).
    """

    file: str
    place: Place
    code: str
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def fatal(self) -> bool:
        """Return whether the file cannot be used; warnings are told and go on."""
        return self.code.startswith("E")

    def line(self, lang: str) -> str:
        """Return the finding as one line."""
        return f"{self.file}:{self.place.line}:{self.place.column} {self.code} {self._text(lang)}"

    def as_json(self, lang: str) -> dict[str, Any]:
        """Return the finding for programs."""
        said = entry(self.code)
        return {
            "file": self.file,
            "line": self.place.line,
            "column": self.place.column,
            "code": self.code,
            "fatal": self.fatal,
            "text": self._text(lang),
            "who": said.who,
            "do": said.steps(lang, self.facts),
        }

    def _text(self, lang: str) -> str:
        facts = dict(self.facts)
        if "pattern" in facts:
            facts["form"] = form(facts["pattern"], lang)
        text = entry(self.code).title(lang, facts)
        meant = self.facts.get("meant")
        if not meant:
            return text
        return f"{text}（是否想写 {meant}？）" if lang == "zh" else f"{text} (did you mean {meant}?)"


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings as their places follow one another in the file."""
    return sorted(findings, key=lambda finding: (finding.place.line, finding.place.column))


class ConfigError(AgentError):
    """The configuration cannot be used; `findings` says why, all at once."""

    code = "E6000"

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = list(findings)
        super().__init__(count=sum(finding.fatal for finding in findings))


def meant(word: str, known: Iterable[str]) -> str:
    """Return the known word that `word` was most likely meant to be, "" when none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return near[0] if near else ""
