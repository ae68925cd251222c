"""The trail as IT meets it: whole or not, cut at its end, who changed what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from admin_support import answered, history, trail
from e2e_support import Site, wait_for
from hypothesis import given
from hypothesis import strategies as st

from agent import changes
from agent.audit import Audit, Head
from agent.clock import SystemClock
from agent.config import load
from agent.ownership import owning

KEY = b"k" * 32


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def path_of(site: Site) -> Path:
    return site.folder / "state" / "audit.jsonl"


def cut(path: Path, lines: int) -> None:
    kept = path.read_bytes().splitlines(keepends=True)[:-lines]
    path.write_bytes(b"".join(kept))


def test_lines_cut_off_the_end_are_noticed_told_and_stay_an_alarm_until_somebody_says_why(site: Site) -> None:
    history(site)
    assert answered(site, "audit", "verify")["ok"]
    before = len(trail(site))
    cut(path_of(site), 2)
    told = site.cli("audit", "verify", "--json")
    found = json.loads(told.stdout)
    assert told.returncode == 1
    assert found["alarm"] == {"code": "E3305", "lines": "2"}
    assert found["broken_at"] is None, "what is left is one chain: only the outbox knows of more"
    assert "[E3305]" in site.cli("status").stdout
    checks = json.loads(site.cli("doctor", "--json").stdout)
    assert [check["code"] for check in checks if check["check"] == "audit"] == ["E3305"]
    assert "audit.cut" in [line["what"] for line in trail(site)]
    said = site.cli("audit", "verify", "--acknowledge", "old backup put back by mistake")
    assert said.returncode == 0, said.stdout
    (line,) = [line for line in trail(site) if line["what"] == "audit.acknowledged"]
    assert (line["result"], line["reason"]) == ("E3305", "old backup put back by mistake")
    assert "[E3305]" not in site.cli("status").stdout
    assert len(trail(site)) >= before - 2


def test_an_end_that_was_rewritten_is_not_taken_for_the_old_one(site: Site) -> None:
    history(site)
    cut(path_of(site), 1)
    with Audit(path_of(site), b"x" * 32, SystemClock()) as forger:
        for _ in range(3):
            forger.append("x", who="nobody", target="y")
    found = json.loads(site.cli("audit", "verify", "--json").stdout)
    assert found["alarm"]["code"] == "E3306"
    assert found["broken_at"] is not None
    assert "[E3307]" in site.cli("audit", "verify", "--lang", "en").stdout


def test_a_kill_is_no_alarm(site: Site) -> None:
    with site.platform(), site.reader(1), site.daemon() as daemon:
        wait_for("a record is delivered", lambda: bool(site.accepted()))
        daemon.kill()
    assert answered(site, "audit", "verify")["alarm"] is None


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(64, 4000), st.integers(0, 40))
def test_the_parts_of_a_check_make_the_whole(kinds: list[int], size: int, spoilt: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        with Audit(path, KEY, SystemClock()) as audit:
            for kind in kinds:
                audit.append(f"k{kind}", who="t", target="o" * 50 * kind)
            lines = path.read_bytes().splitlines(keepends=True)
            if spoilt < len(lines):
                lines[spoilt] = lines[spoilt].replace(b'"t"', b'"u"')
                path.write_bytes(b"".join(lines))
            whole, part = audit.verify(), audit.verify_part(size=size)
            while part.next is not None:
                part = audit.verify_part(part.next, part.head, size)
            assert (part.broken_at, part.head) == (whole.broken_at, whole.head)
            assert whole.broken_at == (spoilt + 1 if spoilt < len(lines) else None)


def test_what_is_missing_is_counted_from_a_known_head(tmp_path: Path) -> None:
    with Audit(tmp_path / "a", KEY, SystemClock()) as audit:
        assert audit.lost_since(Head(0, "")) is None
        audit.append("x", who="t", target="o")
        known = audit.sync()
        audit.append("x", who="t", target="o")
        assert audit.lost_since(known) is None
        assert audit.lost_since(Head(5, known.mac)) == 3
        assert audit.lost_since(Head(1, "other")) == 0


def changed(site: Site, section: str, **values: Any) -> None:
    content = yaml.safe_load(site.config.read_text("utf-8"))
    content[section] = {**content.get(section, {}), **values}
    site.config.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")


def test_threshold_operators_and_keys_are_written_down_at_reload_and_at_start(site: Site) -> None:
    with site.daemon():
        wait_for("it runs", (site.folder / "state" / "control.sock").exists)
        changed(site, "face", threshold=0.5)
        changed(site, "operators", list=["甲", "乙"])
        assert site.cli("reload").returncode == 0
        changed(site, "reader", poll_interval_s=0.5)
        assert site.cli("reload").returncode == 78
        changed(site, "reader", poll_interval_s=0.3)
    lines = {line["what"]: line for line in trail(site)}
    assert lines["keys.loaded"]["own_files"] == "seal,audit,pseudonym"
    assert lines["config.changed"]["keys"] == "face.threshold,operators.list"
    assert lines["config.changed"]["face.threshold"] == "null -> 0.5"
    assert lines["config.changed"]["before"] != lines["config.changed"]["after"]
    results = [line["result"] for line in trail(site) if line["what"] == "config.reload"]
    assert results == ["ok", "E8105"]
    assert all(line["who"] != "service" for line in trail(site) if line["what"] == "config.reload")
    assert "甲" not in path_of(site).read_text("utf-8")
    # Changed while nothing ran: the next start says so.
    changed(site, "face", threshold=0.6)
    config = load(site.config)
    with owning(config, SystemClock()) as own:
        assert changes.note(own, config) == ["face.threshold"]
        assert changes.note(own, config) == []


def test_show_finds_by_kind_object_and_person(site: Site) -> None:
    ids = history(site)
    answered(site, "outbox", "retry", ids["parked"])
    (line,) = answered(site, "audit", "show", "--what", "record.retried")
    assert line["object"] == ids["parked"]
    assert line["result"] == "ok"
    assert answered(site, "audit", "show", "--object", ids["parked"], "--last", "1") == [line]
    assert answered(site, "audit", "show", "--who", "nobody") == []
    shown = site.cli("audit", "show", "--lang", "en").stdout
    assert "record.retried" in shown
    assert line["mac"] not in shown
