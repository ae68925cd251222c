"""YAML text to plain data, every trap closed and every place remembered.

Scalars stay text as written: what they become is decided by the key they stand under, not by YAML 1.1,
which reads `no` as false, `1:30` as ninety and `0777` as an octal number.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from agent.config import slips as typed
from agent.config.findings import Finding, Place, meant
from agent.config.shape import Kind, Shape

MAX_BYTES = 256 * 1024
MAX_DEPTH = 12
#: So much of an unknown key is repeated.
_SHOWN_CHARS = 40

#: What a secret is told by: where it is kept, never what it is.
SECRET = frozenset({"credential", "file"})

Path = tuple[str | int, ...]

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
#: Control characters and halves of characters: escapes in double quotes can write them.
_UNPRINTABLE = frozenset({"Cc", "Cs"})
_BOOLS = {"true": True, "false": False}
_YAML_BOOLS = frozenset({"yes", "no", "on", "off", "true", "false", "y", "n"})
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?\s?([kKMG]i?B)?")
_FAR_ESCAPE = re.compile(r"\\U(?!000|0010)")
_FORMS = {Kind.NUMBER: _NUMBER, Kind.SIZE: _NUMBER, Kind.DATE: re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")}
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+(\.[0-9]*)?")


@dataclass
class Tree:
    """Plain data with the place of every key and value; findings on the way."""

    file: str
    data: Any = None
    places: dict[Path, Place] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    refused: set[Path] = field(default_factory=set)  # values that a finding has already told of
    #: Keys of the schema with no blank behind their colon: why YAML reads something else there.
    joined: list[tuple[Place, str]] = field(default_factory=list)

    def find(self, place: Place, code: str, **facts: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(self.file, place, code, facts))

    def refuse(self, path: Path, code: str, **facts: str) -> None:
        """Note a finding about a value, which counts as absent from here on."""
        self.refused.add(path)
        self.find(self.place(path), code, key=_dotted(path), **facts)

    def place(self, path: Path) -> Place:
        """Return the place of a path, or of the nearest thing above it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place())


def parse(file: str, raw: bytes, shape: Shape) -> Tree:
    """Return the file's content. With fatal findings `data` may be incomplete."""
    tree = Tree(file)
    text = _text(tree, raw)
    if text is None or _typed_wide(tree, text):
        return tree
    tree.joined = list(_joined(text, shape))
    if not _scanned(tree, text):
        return _explained(tree, text)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        _misspelt(tree, error)
        return _explained(tree, text)
    if not isinstance(node, yaml.MappingNode):
        tree.find(Place(), "E6011")
        return tree
    tree.data = _mapping(tree, node, shape, ())
    return tree


def _text(tree: Tree, raw: bytes) -> str | None:
    if len(raw) > MAX_BYTES:
        tree.find(Place(), "E6003", limit=str(MAX_BYTES))
        return None
    # Notepad's "Unicode" is UTF-16 with a mark; "UTF-8" may carry a mark too, which is no harm.
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        tree.find(Place(), "E6008")
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = Place(raw.count(b"\n", 0, error.start) + 1)
    try:
        raw.decode("gb18030")
        tree.find(place, "E6004")
    except UnicodeDecodeError:
        tree.find(place, "E6005")
    return None


def _typed_wide(tree: Tree, text: str) -> bool:
    """Note what an input method or an editor put in place of YAML's own characters."""
    for number, line in enumerate(text.split("\n"), start=1):
        for at, character in typed.slips(line):
            if character == "\t":
                tree.find(Place(number, at), "E6006")
            else:
                tree.find(Place(number, at), "E6007", character=typed.shown(character))
    return bool(tree.findings)


def _joined(text: str, shape: Shape) -> Iterator[tuple[Place, str]]:
    names = shape.names()
    for number, line in enumerate(text.split("\n"), start=1):
        if (found := typed.joined(line)) and found[1] in names:
            yield Place(number, found[0]), found[1]


def _explained(tree: Tree, text: str) -> Tree:
    """Name the slip that led to an error of syntax, where one is known: YAML sees it lines later."""
    stars = [(Place(line, star[0]), star[1]) for line, star in _starred(text)]
    if any(finding.code == "E6012" and finding.place in dict(stars) for finding in tree.findings):
        tree.findings = []
        for place, key in stars:
            tree.find(place, "E6028", key=key)
        return tree
    syntax = [finding for finding in tree.findings if finding.code == "E6010"]
    if not syntax:
        return tree
    lines = text.split("\n")[: max(finding.place.line for finding in syntax)]
    quotes = ((number, typed.unclosed(line)) for number, line in enumerate(lines, start=1))
    quote = next((Place(number, at) for number, at in quotes if at is not None), None)
    if tree.joined or quote is not None:
        tree.findings = [finding for finding in tree.findings if finding not in syntax]
    for place, key in tree.joined:
        tree.find(place, "E6009", key=key)
    if quote is not None:
        tree.find(quote, "E6010", problem="the quote is not closed on its line")
    return tree


def _starred(text: str) -> Iterator[tuple[int, tuple[int, str]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if star := typed.starred(line):
            yield number, star


def _scanned(tree: Tree, text: str) -> bool:
    """Refuse anchors, aliases, tags, directives and depth before anything is built of them."""
    depth = 0
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, yaml.AliasToken | yaml.AnchorToken | yaml.TagToken | yaml.DirectiveToken):
                tree.find(_mark(token.start_mark), "E6012")
            elif isinstance(token, yaml.BlockMappingStartToken | yaml.BlockSequenceStartToken
                            | yaml.FlowMappingStartToken | yaml.FlowSequenceStartToken):  # fmt: skip
                depth += 1
                if depth > MAX_DEPTH:
                    tree.find(_mark(token.start_mark), "E6013", limit=str(MAX_DEPTH))
                    return False
            elif isinstance(token, yaml.BlockEndToken | yaml.FlowMappingEndToken | yaml.FlowSequenceEndToken):
                depth -= 1
    except yaml.MarkedYAMLError as error:
        _misspelt(tree, error)
    except yaml.reader.ReaderError as error:
        before = text[: error.position].split("\n")
        tree.find(Place(len(before), len(before[-1]) + 1), "E6010", problem="unreadable characters")
    except (ValueError, OverflowError):  # PyYAML's own chr() of "\UFFFFFFFF"
        before = text[: match.start()].split("\n") if (match := _FAR_ESCAPE.search(text)) else [""]
        tree.find(Place(len(before), len(before[-1]) + 1), "E6010", problem="no character has this number")
    return not tree.findings


def _misspelt(tree: Tree, error: yaml.MarkedYAMLError) -> None:
    problem = error.problem or ""
    begun, met = _mark(error.context_mark), _mark(error.problem_mark)
    if problem.startswith("expected alphabetic or numeric character"):  # `*` or `&` and no name
        return tree.find(begun, "E6012")
    if problem.startswith(("expected ',' or '}'", "expected ',' or ']'")) and begun.line < met.line:
        return tree.find(begun, "E6010", problem="the bracket is not closed, or a comma is missing")
    return tree.find(met, "E6006" if r"'\t'" in problem else "E6010", problem=problem)


def _mark(mark: Any) -> Place:
    return Place() if mark is None else Place(mark.line + 1, mark.column + 1)


# --- nodes to data ----------------------------------------------------------------------------------


def _mapping(tree: Tree, node: yaml.MappingNode, shape: Shape, path: Path) -> dict[str, Any]:
    tree.places.setdefault(path, _mark(node.start_mark))
    found: dict[str, Any] = {}
    for name, key, value in _members(tree, node):
        inner = (*path, name)
        if name in found:
            first = tree.places[inner]
            tree.find(_mark(key.start_mark), "E6014", key=name, first=f"{first.line}:{first.column}")
            continue
        tree.places[inner] = _mark(key.start_mark)
        expected = shape.members.get(name, shape.others)
        if expected is None:
            dotted = _dotted((*path, name[:_SHOWN_CHARS]))
            tree.find(_mark(key.start_mark), "E6016", key=dotted, meant=meant(name, shape.members))
            found[name] = None
            continue
        found[name] = _value(tree, value, expected, inner)
    return {name: value for name, value in found.items() if name in shape.members or shape.others}


def _members(tree: Tree, node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and not _unprintable(key.value):
            yield key.value, key, value
        else:
            tree.find(_mark(key.start_mark), "E6015")


def _value(tree: Tree, node: yaml.Node, shape: Shape, path: Path) -> Any:
    """Return what stands under a key. A value of the wrong kind is told and comes back as None."""
    if isinstance(node, yaml.MappingNode) and shape.kind is Kind.MAPPING:
        return _mapping(tree, node, shape, path)
    tree.places[path] = _mark(node.start_mark)
    if isinstance(node, yaml.SequenceNode) and shape.kind is Kind.LIST:
        return [_value(tree, item, Shape(Kind.TEXT), (*path, i)) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode) and shape.kind not in {Kind.MAPPING, Kind.LIST}:
        return _scalar(tree, node, shape, path)
    if isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULLS:
        return None
    if swallowed := [(place, key) for place, key in tree.joined if _within(node, place)]:
        tree.refused.add(path)
        for place, key in swallowed:
            tree.find(place, "E6009", key=key)
        return None
    if shape.members.keys() == SECRET:
        return tree.refuse(path, "E6027")
    return tree.refuse(path, "E6021", expected=shape.expected)


def _within(node: yaml.Node, place: Place) -> bool:
    return node.start_mark.line < place.line <= node.end_mark.line + 1


def _scalar(tree: Tree, node: yaml.ScalarNode, shape: Shape, path: Path) -> Any:
    """Return a scalar as its key wants it: text as written, or a number, a boolean, a date.

    Quotes make text of anything under a text key; under any other they change nothing.
    """
    text: str = node.value
    quoted = node.style is not None  # or a block
    if _unprintable(text):
        return tree.refuse(path, "E6021", expected="text without control characters")
    if quoted and shape.kind is Kind.TEXT:
        return text
    if text in shape.words:
        return int(text) if shape.kind is Kind.NUMBER else text
    if text in _NULLS and not quoted:
        return None
    if shape.kind is not Kind.TEXT or shape.words:
        wide = next((character for character in text if typed.narrow(character) != character), None)
        if wide is not None:
            return tree.refuse(path, "E6007", character=wide)
    if shape.kind is Kind.BOOL:
        return _BOOLS[text] if text in _BOOLS else tree.refuse(path, "E6019")
    if shape.kind is Kind.TEXT and text.lower() in _YAML_BOOLS:
        return tree.refuse(path, "E6017")
    if shape.kind in _FORMS and not _FORMS[shape.kind].fullmatch(text):
        code = (
            "E6018" if shape.kind in {Kind.NUMBER, Kind.SIZE} and _LEADING_ZERO.fullmatch(text) else "E6021"
        )
        return tree.refuse(path, code, expected=shape.expected)
    return text


def _unprintable(text: str) -> bool:
    return any(unicodedata.category(one) in _UNPRINTABLE and one not in "\n\t" for one in text)


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)
