"""The command line as its users type it, and the demo from its first line to its last."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from e2e_support import Site, wait_for
from vision_support import need_weights

from agent import logs
from agent.catalogue import AgentError
from agent.simulate import portraits


def cli(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        cwd=cwd,
    )


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_demo_tells_the_whole_way_and_ends_well(lang: str) -> None:
    need_weights()
    shown = cli("demo", "--lang", lang)
    assert shown.returncode == 0, shown.stderr
    zh = (
        "设备已在平台登记",
        "已读取证件",
        "人脸比对通过",
        "已保存",
        "正在上传",
        "平台已接收",
        "差额 0",
        "均未出现",
    )
    en = (
        "registered with the platform",
        "card read",
        "faces compared: passed",
        "kept:",
        "body SM4, uploading",
        "accepted by the platform",
        "off by 0",
        "none found",
    )
    positions = [shown.stdout.find(step) for step in (zh if lang == "zh" else en)]
    assert -1 not in positions, shown.stdout
    assert re.search(r'"requestId": "[0-9a-f]{32}", "faceResult": "1"', shown.stdout)
    assert ("registrar sees" if lang == "en" else "登记员看到") in shown.stdout


def test_the_demo_with_an_impostor_shows_a_failed_comparison_that_is_delivered_too() -> None:
    need_weights()
    shown = cli("demo", "--impostor", "--cards", "2")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count('"faceResult": "0"') == 2
    assert "核验未通过，登记照常进行" in shown.stdout


def test_the_demo_keeps_its_files_when_asked(tmp_path: Path) -> None:
    need_weights()
    shown = cli("demo", "--keep", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    (folder,) = (tmp_path / "demo-run").iterdir()
    assert {"config.yaml", "ledger.jsonl", "agent.log", "state"} <= {path.name for path in folder.iterdir()}


def test_version_help_and_unknown_verbs() -> None:
    assert re.fullmatch(r"kiosk-agent \d+\.\d+\.\d+\n", cli("--version").stdout)
    assert "simulate" in cli("--help").stdout
    assert cli("nonsense").returncode == 2
    assert cli("outbox", "list", "--state", "lost").returncode == 2


def test_explain_in_both_languages_and_for_programs() -> None:
    assert "dialout" in cli("explain", "e1102").stdout
    assert "may not open the reader" in cli("explain", "E1102", "--lang", "en").stdout
    assert json.loads(cli("explain", "E1102", "--json").stdout)["who"] == "it"
    unknown = cli("explain", "E9999")
    assert unknown.returncode == 2
    assert "E8106" in unknown.stderr


def test_check_says_all_or_says_well(tmp_path: Path) -> None:
    good = Site(tmp_path / "good").config
    assert cli("check", str(good)).returncode == 0
    bad = tmp_path / "bad.yaml"
    bad.write_text(good.read_text("utf-8").replace("encrypt: true", "encrypt: no\n  colour: red"), "utf-8")
    wrong = cli("check", str(bad))
    assert wrong.returncode == 78
    assert len(re.findall(r"bad\.yaml:\d+:\d+ E6\d{3} ", wrong.stdout)) == 2
    report = json.loads(cli("check", "--json", "--lang", "en", str(bad)).stdout)
    assert report["ok"] is False
    assert {finding["code"] for finding in report["findings"]} == {"E6016", "E6019"}


def test_check_looks_at_the_surroundings_unless_told_not_to(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (tmp_path / "esb_ticket").unlink()
    assert cli("check", "--no-env", str(site.config)).returncode == 0
    looked = cli("check", str(site.config))
    assert looked.returncode == 78
    assert "platform.authorization" in looked.stdout


def test_status_and_outbox_with_and_without_a_daemon(tmp_path: Path) -> None:
    need_weights()
    site = Site(tmp_path)
    assert "守护进程未运行" in site.cli("status").stdout
    with site.reader(1, 0.4), site.daemon() as daemon:
        wait_for("the card is kept", lambda: len(site.kept()) == 1)
        (record,) = site.kept()
        status = site.cli("status", "--lang", "en")
        assert "W8602" not in status.stdout
        report = json.loads(site.cli("status", "--json").stdout)
        assert report["queue"]["accepted"] == 1
        assert {loop["name"] for loop in report["loops"]} == {
            "station",
            "uploader",
            "completion",
            "housekeeping",
        }
        assert record in site.cli("outbox", "list").stdout
        assert daemon.terminate(5) == 0
    shown = json.loads(site.cli("outbox", "show", record, "--json").stdout)
    # Without NTP a record waits until the platform confirms the time.
    assert shown["state"] in {"ready", "held"}
    assert site.cli("outbox", "retry", record).returncode == (0 if shown["state"] == "ready" else 2)
    missing = site.cli("outbox", "show", "f" * 32)
    assert missing.returncode == 2
    assert "E3110" in missing.stderr
    assert site.cli("reload").returncode == 69


def test_comparing_two_pictures(tmp_path: Path) -> None:
    need_weights()
    collins, hopper = (str(portraits.path(name)) for name in portraits.NAMES)
    same = json.loads(cli("face", "compare", collins, collins, "--json").stdout)
    assert same["passed"] is True
    assert same["cosine"] > 0.9
    other = json.loads(cli("face", "compare", collins, hopper, "--json").stdout)
    assert other["passed"] is False
    (tmp_path / "no.jpg").write_bytes(b"x")
    said = cli("face", "compare", collins, str(tmp_path / "no.jpg"), "--json")
    none = json.loads(said.stdout)
    assert (said.returncode, none["passed"], none["reason"]) == (2, None, "no_picture")
    # Programs read the key, people the sentence, and nothing else is said.
    first, *steps = said.stderr.splitlines()
    assert "E2427" in first
    assert str(tmp_path / "no.jpg") in first
    assert [step.strip()[:2] for step in steps] == ["1."]
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((400, 400, 3), 127, np.uint8))
    for lang, words in (("zh", "找不到人脸"), ("en", "no face on a picture")):
        said = cli("face", "compare", str(tmp_path / "grey.png"), collins, "--lang", lang)
        assert (said.returncode, said.stdout) == (2, "")
        assert "grey.png" in said.stderr
        assert words in said.stderr
    assert cli("face", "compare", collins, collins).stderr == ""


def test_a_fault_that_does_not_exist_is_refused() -> None:
    wrong = cli("simulate", "reader", "--port-link", "/nonexistent/x", "--fault", "nose=1")
    assert wrong.returncode == 2
    assert "nose" in wrong.stderr


# --- logs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["11010519491231002X", "number=11010519491231002x!", "110105491231002", "ABC123456789012", "QUJD" * 40],
)
def test_what_looks_like_a_person_or_a_picture_is_taken_out(text: str) -> None:
    shown = logs.redact(f"before {text} after")
    assert not re.search(r"\d{12}|QUJDQUJD", shown)
    assert shown.startswith("before ")


def test_ids_and_times_stay_readable() -> None:
    line = "record=0f9d88e5fd0b4bf29c86d2d6a3a1c9d4 at 2026-03-01T09:00:00 p:3f9a1c72e0 length=128931"
    assert logs.redact(line) == line


def test_a_pseudonym_is_stable_keyed_and_tells_nothing() -> None:
    one, other = logs.Pseudonyms(b"k1"), logs.Pseudonyms(b"k2")
    assert one.of("11010519491231002x ") == one.of("11010519491231002X")
    assert one.of("11010519491231002X") != other.of("11010519491231002X")
    assert re.fullmatch(r"p:[0-9a-f]{10}", one.of("11010519491231002X"))


def test_a_line_has_sentence_code_and_fields_and_under_systemd_its_priority(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import io
    import logging

    stream = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        logs.set_up("zh", "info", stream)
        log = logs.get("test")
        logs.say(log, "I3001", record="r1", person="p:1")
        logs.say_error(log, AgentError("E3101", used=1, limit=2))
        formatter = logs.LineFormatter("en", priority=True)
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "11010519491231002X", None, None)
        assert formatter.format(record) == "<3>x: [#]"
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    first, second = stream.getvalue().splitlines()
    assert first.endswith("已保存，请继续登记 [I3001] record=r1 person=p:1")
    assert "队列已满（1/2 字节）" in second
