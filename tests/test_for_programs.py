"""`--json` where the configuration cannot be used: every verb says so on stdout, in a form for programs."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from admin_support import secret_file
from test_evaluate import variants
from test_times import with_json

from agent.cli import main
from agent.cli.main import cli
from agent.simulate import portraits

CONFIG_WRONG = 78
#: What each verb takes so that its command line is right.
TAKEN: dict[str, list[str]] = {
    "audit verify": [],
    "capture": ["--out", "FOLDER/picture.jpg"],
    "clock accept": ["--yes"],
    "clock set": ["0" * 32, "2026-03-01 09:30"],
    "explain": ["E1103"],
    "face accept": ["--yes"],
    "face compare": ["PICTURE", "PICTURE"],
    "face evaluate": ["FOLDER/people", "--simulate-chip", "2000"],
    "followups close": ["1", "--how", "on paper"],
    "followups show": ["1"],
    "intake test": ["PICTURE"],
    "keys backup": ["FOLDER/keys", "--passphrase-file", "SECRET"],
    "keys init": ["--out", "FOLDER/made"],
    "outbox adopt": ["--yes"],
    "outbox amend": ["0" * 32, "--set", "operationUser=x"],
    "outbox discard": ["0" * 32, "--reason", "a test", "--yes"],
    "outbox export": ["FOLDER/export", "--passphrase-file", "SECRET"],
    "outbox import": ["PICTURE", "--passphrase-file", "SECRET"],
    "outbox purge": ["--yes"],
    "outbox retry": ["0" * 32],
    "outbox show": ["0" * 32],
    "page": ["--print"],
    "platform accept-unsigned": ["--yes"],
    "probe": ["--dry-run"],
    "register": ["--yes"],
    "upload": ["0" * 32, "--dry-run"],
}
#: These have an answer whatever the configuration is like, and these where there is none at all.
WITHOUT = {"explain", "keys init"}
WITHOUT_A_FILE = {*WITHOUT, "devices", "face compare", "face evaluate"}
BROKEN = {
    "not there": None,
    "no YAML": "platform: [\n",
    "a key is misspelt": "state_dir: FOLDER\nplatfrom: {}\n",
}


def asked(verb: str, config: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    given = {"FOLDER": str(folder), "SECRET": secret_file(folder), "PICTURE": str(portraits.path("collins"))}
    taken = [given.get(word, word.replace("FOLDER", str(folder))) for word in TAKEN.get(verb, [])]
    status = main._main([*verb.split(), *taken, "--config", str(config), "--json"])
    return status, capsys.readouterr().out


def findings(verb: str, answer: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer if verb == "doctor" else answer["findings"]
    return found


@pytest.mark.parametrize("how", BROKEN)
def test_with_a_broken_configuration_every_verb_answers_programs_in_json(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", list(logging.getLogger().handlers))
    variants(tmp_path / "people", 2)
    config, text = tmp_path / "config.yaml", BROKEN[how]
    if text is not None:
        config.write_text(text.replace("FOLDER", str(tmp_path)), "utf-8")
    for verb in with_json(cli):
        monkeypatch.setattr("sys.stdin", io.StringIO("450102199001010010\n"))
        status, printed = asked(verb, config, tmp_path, capsys)
        assert printed.startswith(("{", "[")), f"{verb}: {printed!r}"
        answer = json.loads(printed)
        if verb in (WITHOUT_A_FILE if text is None else WITHOUT):
            assert status == 0, verb
            continue
        assert status == CONFIG_WRONG, verb
        first = findings(verb, answer)[0]
        assert (first["file"], first["code"][:2], first["who"]) == (str(config), "E6", "it"), verb
        assert first["do"], verb
        assert {"line", "column"} <= set(first), verb
