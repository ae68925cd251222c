"""`register` and `upload --dry-run`, beside a daemon and without one."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from admin_support import answered, history, owned, put, refused, trail, typed
from e2e_support import Site, wait_for
from hmpt_support import PICTURES
from hypothesis import given
from hypothesis import strategies as st
from outbox_support import NUMBER, verification

from agent.config.schema import Conventions
from agent.hmpt import shown
from agent.hmpt.body import Jpeg
from agent.outbox import SettleLater
from agent.records import PictureKind


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def ledger(site: Site) -> list[dict[str, Any]]:
    return [json.loads(line) for line in site.ledger.read_text("utf-8").splitlines()]


# --- register -----------------------------------------------------------------------------------------


def test_registering_once_and_again(site: Site) -> None:
    with site.platform():
        first = answered(site, "register", "--yes")
        assert (first["registered"], first["already"]) == (True, False)
        again = answered(site, "register", "--yes")
        assert (again["registered"], again["already"]) == (True, True)
    (device,) = ledger(site)
    assert (device["machineCode"], device["status"]) == ("SIM-0000777", 0)
    lines = [line for line in trail(site) if line["what"] == "device.registered"]
    assert len(lines) == 2
    assert all(line["who"] not in {"", "uploader"} for line in lines), "under the name of whoever asked"


def test_beside_a_daemon_it_is_the_daemon_that_registers(site: Site) -> None:
    with site.platform(), site.daemon() as daemon:
        wait_for("I5001", lambda: "I5001" in daemon.text())
        result = answered(site, "register", "--yes")
        assert result["already"] is True
        wait_for("I5004", lambda: "I5004" in daemon.text())


def test_at_a_terminal_the_exact_values_are_shown_before_anything_is_sent(site: Site) -> None:
    with site.platform():
        status, screen = typed(site, ["register"], ["n"])
        assert (status, "没有改动" in screen) == (130, True)
        for value in ("产科（演示）", "SIM-0000777", "模拟厂商", "2024-06-01", "不能撤销"):
            assert value in screen
        assert ledger(site) == []
        status, screen = typed(site, ["register"], ["y"])
        assert (status, "已登记，状态为启用" in screen) == (0, True)
        assert len(ledger(site)) == 1
        status, screen = typed(site, ["register", "--lang", "en"], ["y"])
        assert "registration first confirmed" in screen
        assert "registration last confirmed" in screen
        assert "B2301" in screen


def test_a_refused_registration_says_whose_fault_it_is_and_is_not_remembered(site: Site) -> None:
    with site.platform("refuse=1", "on=registrations"):
        refused(site, "E5111", "register", "--yes")
    with site.platform("skew=7200"):
        refused(site, "E5110", "register", "--yes")
    refused(site, "E4101", "register", "--yes")
    with owned(site) as own:
        assert not any(line["what"] == "device.registered" for line in trail(site))
        assert own.outbox.counts().accepted == 0


def test_nobody_registers_a_device_unasked(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", {"platform": {"register": "never"}})
    with site.platform():
        for verb in ("register", "probe"):
            assert "--yes" in refused(site, "E8314", verb)
    assert not site.ledger.exists() or not site.ledger.read_text("utf-8")


# --- upload --dry-run ---------------------------------------------------------------------------------


def openssl_sign(text: str, secret: str) -> str:
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    arguments = ["openssl", "dgst", "-sm3", "-mac", "HMAC", "-macopt", f"hexkey:{secret.encode().hex()}"]
    done = subprocess.run(arguments, input=text.encode(), capture_output=True, check=True)
    return done.stdout.decode().split("= ")[-1].strip()


def secrets_of(site: Site) -> tuple[str, str]:
    return tuple((site.folder / name).read_text().strip() for name in ("org_app_secret", "esb_ticket"))  # type: ignore[return-value]  # two of them


def test_what_is_read_out_is_what_would_be_sent_and_names_nobody(site: Site) -> None:
    one = verification(number=NUMBER)
    with owned(site) as own:
        record = put(own, one)
    found = answered(site, "upload", "--dry-run", record)
    secret, ticket = secrets_of(site)
    assert found["canonical"] == "ORG-DEMO-0001" + found["headers"]["hmpt-portal-time"]
    assert found["headers"]["hmpt-portal-sign"] == openssl_sign(found["canonical"], secret)
    assert found["headers"]["hmpt-portal-request-id"] == record
    by_name = {field["name"]: field for field in found["fields"]}
    assert by_name["cardNo"]["shown"] == "99999999999999999A"
    assert by_name["birthday"]["shown"] == "9999-99-99"
    assert by_name["realName"]["shown"] == "字" * len(one.name)
    assert by_name["headImg"]["chars"] == Jpeg(PICTURES[PictureKind.CARD]).length
    assert by_name["deviceNo"]["shown"] == one.device_no
    said = json.dumps(found, ensure_ascii=False) + site.cli("upload", "--dry-run", record).stdout
    for private in (secret, ticket, one.name, one.number, one.address, one.birth, one.issuer, one.operator):
        assert private not in said
    with site.platform(), site.daemon() as daemon:
        wait_for("I5003", lambda: "I5003" in daemon.text())
    (line,) = [line for line in ledger(site) if line["kind"] == "record"]
    assert (line["bodySm3"], line["bodyLength"]) == (found["body"]["sm3"], found["body"]["length"])


def test_what_is_odd_about_a_record_is_read_out_in_chinese(site: Site) -> None:
    with owned(site) as own:
        record = put(own, replace(verification(number="450102199001010041"), name="韦" * 12))
    screen = site.cli("upload", "--dry-run", record).stdout
    assert "? 可能被拒：姓名（realName）：12 个字符，超过 10" in screen
    assert "? 可能被拒：证件号码（cardNo）：校验位不对" in screen
    assert (
        "realName: 12 characters, VARCHAR(10)"
        in site.cli("upload", "--dry-run", record, "--lang", "en").stdout
    )


def test_it_is_the_same_beside_a_daemon_and_sends_nothing(site: Site) -> None:
    with owned(site) as own:
        record = put(own, verification())
    alone = answered(site, "upload", "--dry-run", record)
    with site.daemon() as daemon:
        wait_for("I8001", lambda: "I8001" in daemon.text())
        beside = answered(site, "upload", "--dry-run", record)
    assert (beside["body"], beside["fields"]) == (alone["body"], alone["fields"])
    assert beside["state"] in {"ready", "sending"}


def test_a_record_with_an_unknown_outcome_keeps_what_it_was_sent_with(site: Site) -> None:
    from agent.uploader.judgement import Judgement
    from agent.uploader.memory import judgement_name

    then = Conventions(sex_width=2)
    with owned(site) as own:
        record = put(own, verification())
        claim = own.outbox.claim(own.clock.now())
        assert claim is not None
        mark = {"conventions_fingerprint": _mark(then), "conventions_json": then.model_dump_json()}
        own.outbox.note_attempt(claim, request_id=claim.id, sm3_hex="00" * 32, length=1, **mark)
        own.outbox.settle(claim, SettleLater(own.clock.now(), "E4105", "", unknown=True))
        own.outbox.set_setting(
            judgement_name(own.config), replace(Judgement(), good=(_mark(then),)).to_json()
        )
    found = answered(site, "upload", "--dry-run", record)
    assert found["kept"] is True
    assert next(one["shown"] for one in found["fields"] if one["name"] == "sexCode") == "99"


def _mark(conventions: Conventions) -> str:
    from agent.hmpt.conventions import fingerprint

    return fingerprint(conventions, encrypt=True)


def test_what_keeps_a_record_from_being_sent_is_named(site: Site) -> None:
    ids = history(site)
    with owned(site) as own:
        bad = put(own, replace(verification(), operator="一" * 11))
    found = answered(site, "upload", "--dry-run", bad)
    assert [one["field"] for one in found["problems"]] == ["operationUser"]
    assert found["body"] is None
    assert "operationUser" in site.cli("upload", "--dry-run", bad, "--lang", "en").stdout
    assert answered(site, "upload", "--dry-run", ids["held"])["holds"] == {
        "field": "operationUser: 12 chars, at most 10"
    }
    assert answered(site, "upload", "--dry-run", ids["parked"])["state"] == "parked"
    refused(site, "E3110", "upload", "--dry-run", "f" * 32)
    assert site.cli("upload", ids["ready"]).returncode == 2, "without --dry-run it is the daemon's job"


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({}, '{"data":"…"}'),
        ({"encrypt": False}, "{…}"),
        ({"encrypt": False, "conventions": {"body_shape": "data"}}, '{"data":{…}}'),
    ],
)
def test_the_shape_of_the_body_is_told(tmp_path: Path, changes: dict[str, Any], shape: str) -> None:
    site = Site(tmp_path / "site", {"platform": changes})
    with owned(site) as own:
        record = put(own, verification())
    assert answered(site, "upload", "--dry-run", record)["body"]["shape"] == shape


@given(st.text())
def test_a_shape_has_the_length_of_its_text_and_none_of_its_digits(text: str) -> None:
    made = shown.shape(text)
    assert len(made) == len(text)
    assert set(made) <= set("9A字") | {one for one in text if one.isascii() and not one.isalnum()}


def test_every_field_of_the_table_is_shown_and_numbers_as_they_are_sent() -> None:
    one = replace(verification(), face=replace(verification().face, score=0.9))
    conventions = Conventions(types="example", absent_finger="null")
    found = {field.name: field for field in shown.fields(one, PICTURES, conventions)}
    assert list(found)[:3] == ["realName", "cardType", "cardNo"]
    assert (found["faceScore"].type, found["faceScore"].shown) == ("number", "0.90")
    assert (found["cardType"].type, found["fingerScore"].type) == ("number", "null")
    missing = {field.name: field for field in shown.fields(one, {}, conventions)}
    assert missing["headImg"].chars == 0
