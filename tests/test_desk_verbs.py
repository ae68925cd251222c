"""What the registrar decides, by the verbs that page and command line share; what is said to her meanwhile."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hmpt_support import config
from outbox_support import NAME, NUMBER, PICTURES, HandClock, verification
from vision_support import need_weights, still

from agent import images
from agent.board import Board
from agent.catalogue import AgentError, entries
from agent.config.schema import Config
from agent.console import view
from agent.control.powers import Powers
from agent.control.protocol import Caller
from agent.control.verbs import handlers
from agent.face import acceptance, reasons
from agent.operators import Operators
from agent.ownership import Ownership, owning
from agent.records import FaceResult, FaceVerdict
from agent.station import Again, Ending, EndIt

NURSE = Caller.of_this_process()


class Window:
    """The verbs of a running daemon, with what they told the desk."""

    def __init__(self, own: Ownership, settings: Config, clock: HandClock) -> None:
        self.own, self.clock = own, clock
        self.told: list[Any] = []
        self.looked_again = 0
        self.board = Board(clock)
        self.operators = Operators(lambda: settings, clock)
        powers = Powers(
            own,
            board=self.board,
            config=lambda: settings,
            operators=self.operators,
            tell=self.told.append,
            record_changed=self._look_again,
        )
        self._verbs = handlers(powers)
        self._alone = handlers(Powers(own))

    def _look_again(self) -> None:
        self.looked_again += 1

    def ask(self, verb: str, **args: str | bool) -> Any:
        return self._verbs[verb](args, NURSE)

    def ask_without_daemon(self, verb: str, **args: str) -> Any:
        return self._alone[verb](args, NURSE)


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Window]:
    base = config("http://127.0.0.1:1").model_dump(by_alias=True)
    changes = {"state_dir": str(tmp_path), "operators": {"list": ["甲"], "sign_in_h": 8}}
    settings = Config.model_validate({**base, **changes})
    clock = HandClock()
    with owning(settings, clock) as own:
        yield Window(own, settings, clock)


def test_an_attempt_is_ended_for_one_of_three_reasons_and_by_name(window: Window) -> None:
    for why in ("wrong_card", "refused", "cannot_be_photographed"):
        assert window.ask("desk.end", why=why) == {"told": True}
    window.ask("desk.again")
    assert window.told == [
        EndIt(Ending.WRONG_CARD, NURSE.name),
        EndIt(Ending.REFUSED, NURSE.name),
        EndIt(Ending.IMPOSSIBLE, NURSE.name),
        Again(NURSE.name),
    ]
    # What the desk itself observes is nobody's to claim.
    for why in ("exchanged", "lifted", ""):
        with pytest.raises(AgentError, match="E2602"):
            window.ask("desk.end", why=why)
    for verb, args in (
        ("desk.end", {"why": "refused"}),
        ("desk.sign_in", {"name": "甲"}),
        ("desk.sign_out", {}),
    ):
        with pytest.raises(AgentError, match="E2603"):
            window.ask_without_daemon(verb, **args)


def test_an_operator_is_there_until_signed_out_or_forgotten(window: Window) -> None:
    assert window.operators.in_force() is None
    assert window.ask("desk.sign_in", name="  乙  丙 ") == {"operator": "乙 丙"}
    present = window.operators.present()
    assert present is not None
    assert (window.operators.in_force(), present.by) == ("乙 丙", NURSE.name)
    assert window.looked_again == 1
    assert window.board.snapshot()["operator"]["state"] == "present"
    assert "乙" not in json.dumps(window.board.snapshot(), ensure_ascii=False)
    window.clock.seconds += 8 * 3600
    assert window.operators.in_force() is None
    window.ask("desk.sign_in", name="丁")
    assert window.ask("desk.sign_out") == {"operator": None}
    assert window.own.audit.count("operator.signed_in") == 2
    assert window.own.audit.count("operator.signed_out") == 1
    for name in ("", "   ", "十一个字的名字实在太长了", "甲\x07", "甲\u202e"):
        with pytest.raises(AgentError, match="E2601"):
            window.ask("desk.sign_in", name=name)


def test_cases_are_listed_masked_shown_one_by_one_and_closed_by_name(window: Window) -> None:
    failed = replace(verification(), face=FaceVerdict(FaceResult.FAILED, cosine=0.1, score=0.13))
    window.own.outbox.put(failed, PICTURES, person="p", holds={})
    (row,) = window.ask("followups.list")
    assert (row["id"], row["reason"]) == (failed.id, "failed")
    assert NUMBER not in json.dumps(row)
    assert NAME not in json.dumps(row, ensure_ascii=False)
    masked = window.ask("followups.show", id=failed.id)
    assert (masked["name"], masked["number"]) == (row["name"], row["number"])
    assert window.own.audit.count("followup.revealed") == 0
    found = window.ask("followups.show", id=failed.id, reveal=True)
    assert found == {"id": failed.id, "name": NAME, "number": NUMBER}
    assert window.own.audit.count("followup.revealed") == 1, "looking at a list reveals nobody"
    with pytest.raises(AgentError, match="E3131"):
        window.ask("followups.close", id=failed.id, how=" ")
    assert window.ask("followups.close", id=failed.id, how="compared by hand") == {"id": failed.id, "open": 0}
    with pytest.raises(AgentError, match="E3130"):
        window.ask("followups.show", id=failed.id)


def test_a_threshold_is_accepted_by_name_and_the_word_lapses_with_it(window: Window) -> None:
    need_weights()
    assert window.ask("face.state")["code"] == acceptance.NOT_ACCEPTED
    accepted = window.ask("face.accept")
    assert (accepted["accepted"], accepted["threshold"], accepted["code"]) == (True, 0.45, "")
    assert window.own.audit.count("face.accepted") == 1


@pytest.mark.parametrize("reason", sorted(reasons.SENTENCES))
def test_every_reason_is_one_sentence_on_the_page(reason: str) -> None:
    board = Board(HandClock())
    board.event("I1004", attempt="a")
    board.post("screen", state="busy", code="I1002")
    board.post("desk", state="looking", preview=True)
    board.post("hint", reason=reason, code=reasons.sentence(reason))
    for lang in ("zh", "en"):
        stage = view.stage(board.snapshot(), board.events(), [], lang, shown=True)
        assert stage["hint"]["title"] == entries()[reasons.sentence(reason)].title(lang)


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", *words, "--config", str(folder / "config.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )


def test_capture_as_it_is_typed(tmp_path: Path) -> None:
    need_weights()
    from agent.simulate import site

    camera = still(tmp_path / "camera.png")
    made = site.build(
        tmp_path / "site",
        site.Credentials.made_up(),
        base_url="http://127.0.0.1:9",
        reader_port=str(tmp_path / "reader"),
        camera=str(camera),
    ).parent
    out = tmp_path / "shot.jpg"
    run = command(made, "capture", "--out", str(out), "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["file"] == str(out)
    assert images.decode(out.read_bytes()).shape == (720, 1280, 3)
    assert out.stat().st_mode & 0o077 == 0
    assert "camera.captured" in (made / "state" / "audit.jsonl").read_text("utf-8")
    assert base64.b64encode(out.read_bytes())[:40].decode() not in run.stdout
    taken = out.read_bytes()
    there = command(made, "capture", "--out", str(out))
    assert (there.returncode, "E8309" in there.stderr) == (2, True)
    assert out.read_bytes() == taken
    out.write_bytes(b"an older one")
    out.chmod(0o644)
    assert command(made, "capture", "--out", str(out), "--force").returncode == 0
    assert images.decode(out.read_bytes()).shape == (720, 1280, 3)
    assert out.stat().st_mode & 0o077 == 0
    camera.unlink()
    gone = command(made, "capture", "--out", str(out), "--force")
    assert gone.returncode == 69
    assert "E2101" in gone.stderr
    assert command(made, "face", "accept", "--yes", "--json").returncode == 0
    assert json.loads(command(made, "followups", "list", "--json").stdout) == []
    assert command(made, "desk", "again").returncode == 69
