"""Rules that the whole tree keeps: one catalogue, short modules, no leaks of machines or registries."""

from __future__ import annotations

import ast
import importlib.util
import re
import string
import subprocess
from pathlib import Path

import click
import pytest

from agent.catalogue import LANGUAGES, AgentError, describe, entries
from agent.config import described

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("agent/**/*.py"), *ROOT.glob("drivers/**/*.py")])
CODE = re.compile(r"^[EWI][1-8]\d{3}$")
WHO = {"registrar", "it", "vendor", "platform", "nobody"}
MAX_LINES = 400


def codes_in(path: Path) -> set[str]:
    """Return every string constant of a module that has the shape of a code."""
    tree = ast.parse(path.read_text("utf-8"))
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.match(node.value)
    }


USED = set[str]().union(*(codes_in(path) for path in SOURCES))


def test_every_code_that_the_program_names_is_explained() -> None:
    assert USED - set(entries()) == set()


def test_every_code_that_is_explained_is_named_by_the_program() -> None:
    assert set(entries()) - USED == set()


def test_the_catalogue_file_names_each_code_once() -> None:
    # YAML lets the later of two equal keys win without a word.
    lines = (ROOT / "agent/catalogue.yaml").read_text("utf-8").splitlines()
    named = [line[:-1] for line in lines if re.match(r"^[EWI]\d{4}:$", line)]
    assert sorted(named) == sorted(set(named))


@pytest.mark.parametrize("code", sorted(entries()))
def test_an_entry_is_complete_in_both_languages(code: str) -> None:
    entry = entries()[code]
    assert CODE.match(code)
    assert entry.who in WHO
    assert set(entry.texts) == set(LANGUAGES)
    fields = [_named(entry.texts[lang].title) for lang in LANGUAGES]
    assert fields[0] == fields[1], "both languages must show the same facts"
    assert len(entry.steps("zh")) == len(entry.steps("en"))
    if entry.severity == "error":
        assert entry.steps("zh"), "an error must say what to do"


def _named(title: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(title) if name}


def test_a_missing_fact_does_not_break_the_sentence() -> None:
    assert describe(AgentError("E1101"), "en") == "card reader not found (?) (E1101)"
    assert describe(AgentError("E1101", port="/dev/x{y}"), "zh").startswith("未找到读卡器（/dev/x{y}）")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert ast.get_docstring(ast.parse(text)), "no module docstring"


def test_input_is_never_checked_with_assert() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Assert)
    ]
    assert not found, "asserts vanish under -O"


def tracked() -> list[Path]:
    """Return the text files of the repository."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    names = [name for name in listing.decode().split("\0") if name]
    return [ROOT / name for name in names if not name.endswith((".jpg", ".png"))]


def test_no_machine_and_no_registry_is_named_anywhere() -> None:
    # Written in pieces, so that this file does not find itself.
    forbidden = [
        "py" + "pi.org",
        "python" + "hosted",
        "registry.npm" + "js",
        "deb.deb" + "ian.org",
        "/root/" + ".",
    ]
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in tracked()
        if path.is_file()
        for word in forbidden
        if word in path.read_text("utf-8", errors="replace")
    ]
    assert not found


def test_the_lock_names_no_index_and_pins_every_package_by_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert "http" not in lock
    assert "index" not in lock
    pinned = re.findall(r"^([a-z0-9-]+)==", lock, flags=re.MULTILINE)
    assert "opencv-python-headless" in pinned
    assert "opencv-python" not in pinned, "both would share the folder cv2"
    for block in re.split(r"\n(?=[a-z0-9])", lock):
        assert "--hash=sha256:" in block


@pytest.mark.parametrize("name", ["config.example.yaml", "docs/zh/configuration.md", "docs/zh/codes.md"])
def test_what_is_generated_is_current(name: str) -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert (ROOT / name).read_text("utf-8") == generate.pages()[name], "run `make docs` and commit"


def test_every_key_has_words_in_both_languages_and_no_words_are_left_over() -> None:
    found = list(described.keys())
    assert [key.name for key in found if not (key.says("zh") and key.says("en"))] == []
    assert set(described.descriptions()) == {key.name for key in found}
    assert [
        key.name for key in found if key.required and not key.section and "example" not in key.words
    ] == []


DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("**/*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_only_codes_and_files_that_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    assert set(re.findall(r"\b[EWI][1-8]\d{3}\b", text)) <= set(entries())
    named = re.findall(r"`((?:docs|packaging|systemd|drivers|agent)/[\w./-]+\.\w+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_verb_that_the_readme_names_exists() -> None:
    from agent.cli.main import cli

    rows = re.findall(r"^\| (`[^|]+) \|", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE)
    verbs = {word.split()[0] for row in rows for word in re.findall(r"`([a-z][a-z -]*)", row)}
    assert set(cli.list_commands(click.Context(cli))) == verbs | {"reload"}


def test_every_test_that_the_documents_name_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/testing.md").read_text("utf-8")))
    defined = set(
        re.findall(
            r"^def (test_\w+)",
            "".join(path.read_text("utf-8") for path in ROOT.glob("tests/test_*.py")),
            flags=re.MULTILINE,
        )
    )
    assert named
    assert named - defined == set()
