"""A device taken out of service and put back, as people type it: its records wait, and none is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from admin_support import PASSPHRASE, answered, owned, put, refused, trail, typed
from e2e_support import Site, wait_for
from outbox_support import verification
from platform_support import MACHINE, PLAIN, VERIFICATION, VERIFY, Hand

from agent import inservice
from agent.config import load
from agent.control import NotRunning, call
from agent.keys import read_secret
from agent.records import Hold
from agent.simulate.dialect import LIKELY, Dialect
from agent.simulate.platform import SimulatedPlatform


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def serving(site: Site, dialect: Dialect = LIKELY) -> SimulatedPlatform:
    """Serve the site's own platform in this process."""
    told = load(site.config).platform
    secret, ticket = (read_secret(one, "-").decode() for one in (told.org_app_secret, told.authorization))
    return SimulatedPlatform(secret, told.org_app_id, ticket, port=site.port, dialect=dialect)


def queue(site: Site) -> tuple[int, int]:
    """Ask the daemon how many records are held and delivered; (-1, -1) before it listens."""
    try:
        found = call(Path(load(site.config).state_dir), "status")["queue"]
    except NotRunning:
        return -1, -1
    return found["held"], found["delivered"]


def kept(site: Site, count: int) -> list[str]:
    with owned(site) as own:
        return [put(own, verification()) for _ in range(count)]


def problem_codes(site: Site) -> set[str]:
    return {problem["code"] for problem in answered(site, "status")["problems"]}


def asked(site: Site) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in site.ledger.read_text("utf-8").splitlines()]
    return [line for line in lines if line["kind"] == "device"]


# --- the platform's own ------------------------------------------------------------------------------


def test_a_second_registration_changes_nothing_unless_the_platform_takes_updates() -> None:
    hand = Hand(cipher_key=None)
    for registration, answer, taken in (("once", "B2301", True), ("updates", "00000", False)):
        dialect = Dialect(encryption=PLAIN.encryption, registration=registration)
        with SimulatedPlatform("Kx7pQ2mZ9sR4tV1w", "ORG-TEST-0001", "ticket", dialect=dialect) as there:
            assert hand.says(there)["exceptionCode"] == "00000"
            assert hand.says(there)["exceptionCode"] == "B2301", "nothing new is said"
            assert hand.says(there, content={**MACHINE, "status": 1})["exceptionCode"] == answer
            record = hand.but(request_id="1" * 32).says(there, VERIFY, VERIFICATION)
            assert (record["code"] == 200) is taken
            hand.says(there, content=MACHINE)
            assert hand.but(request_id="2" * 32).says(there, VERIFY, VERIFICATION)["code"] == 200


# --- out, and back -------------------------------------------------------------------------------------


def test_records_wait_over_a_restart_and_go_when_the_device_is_back(site: Site) -> None:
    with site.platform():
        answered(site, "register", "--yes")
        out = answered(site, "register", "--yes", "--out-of-service")
        assert (out["status"], out["already"]) == (1, True), "the document knows no change of a device"
        records = kept(site, 2)
        for _ in range(2):
            with site.daemon() as daemon:
                wait_for("all are held", lambda: queue(site) == (2, 0))
                assert "W5113" in problem_codes(site)
                assert "W5113" in site.cli("doctor").stdout
                daemon.terminate(20)
        shown = answered(site, "outbox", "show", records[0])
        assert list(shown["holds"]) == [Hold.DEVICE.value]
        assert shown["attempts"] == [], "nothing was made of it"
        with site.daemon():
            refused(site, "W5113", "register", "--yes")
            # The platform's answer says nothing of its state there: a person has to know.
            assert "--enabled-there" in refused(site, "E5115", "register", "--in-service", "--yes")
            assert queue(site) == (2, 0)
            answered(site, "register", "--yes", "--in-service", "--enabled-there")
            wait_for("all went out", lambda: queue(site) == (0, 2))
            assert "W5113" not in problem_codes(site)
    assert sorted(site.accepted()) == sorted(records)
    told = [line["what"] for line in trail(site)]
    assert (told.count("device.out_of_service"), told.count("device.in_service")) == (1, 1)


def test_a_device_never_registered_is_not_registered_behind_a_persons_back(site: Site) -> None:
    """Out of service before the platform could be reached: held all the same, and the daemon says nothing."""
    refused(site, "E5114", "register", "--yes", "--out-of-service")
    kept(site, 1)
    with serving(site) as there, site.daemon():
        wait_for("it is held", lambda: queue(site) == (1, 0))
        assert there.ledger.devices() == set()
        assert answered(site, "register", "--yes", "--out-of-service")["already"] is False
        assert not there.ledger.enabled(("SIM-0000777", "0000777"))


def test_a_platform_that_takes_updates_is_believed_without_a_persons_word(site: Site) -> None:
    kept(site, 1)
    with serving(site, Dialect(registration="updates")) as there:
        assert answered(site, "register", "--yes", "--out-of-service")["already"] is False
        # Neither a look at the signature nor a daemon's start says that it is enabled.
        site.cli("doctor")
        assert not there.ledger.enabled(("SIM-0000777", "0000777"))
        with site.daemon():
            wait_for("it is held", lambda: queue(site) == (1, 0))
            back = answered(site, "register", "--yes", "--in-service")
            assert (back["already"], back["status"]) == (False, 0)
            wait_for("it went out", lambda: queue(site) == (0, 1))


def test_a_device_stays_out_of_service_while_the_platform_refuses_to_have_it_back(site: Site) -> None:
    with site.platform("refuse=1", "on=registrations"):
        refused(site, "E5114", "register", "--yes", "--out-of-service")
        refused(site, "E5111", "register", "--yes", "--in-service")
    assert answered(site, "platform", "show")["out_of_service_since"] is not None


def test_at_a_terminal_a_person_is_asked_what_the_platform_does_not_say(site: Site) -> None:
    with site.platform():
        answered(site, "register", "--yes")
        status, screen = typed(site, ["register", "--out-of-service"], ["n"])
        assert status == 130
        assert "status                1（停用）" in screen
        assert answered(site, "platform", "show")["out_of_service_since"] is None
        assert typed(site, ["register", "--out-of-service"], ["y"])[0] == 0
        assert typed(site, ["register", "--in-service"], ["y", "n"])[0] == 130
        assert answered(site, "platform", "show")["out_of_service_since"] is not None
        status, screen = typed(site, ["register", "--in-service"], ["y", "y"])
        assert (status, "已恢复使用" in screen) == (0, True)


def test_enabled_there_is_a_word_on_a_device_that_comes_back(site: Site) -> None:
    assert site.cli("register", "--enabled-there").returncode == 2


# --- another PC, another device ---------------------------------------------------------------------


def test_the_next_pc_knows_from_a_record_that_its_device_is_out_of_service(
    site: Site, tmp_path: Path
) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text(PASSPHRASE)
    away, word = str(tmp_path / "away"), ("--passphrase-file", str(secret))
    refused(site, "E5114", "register", "--yes", "--out-of-service")
    (record,) = kept(site, 1)
    with site.daemon():
        wait_for("it is held", lambda: queue(site) == (1, 0))
    answered(site, "outbox", "export", away, "--move", *word)
    successor = Site(tmp_path / "next")
    answered(successor, "outbox", "import", away, *word)
    assert answered(successor, "platform", "show")["out_of_service_since"] is not None
    with successor.platform(), successor.daemon():
        wait_for("it is still held", lambda: queue(successor) == (1, 0))
        # This platform never heard of the device: its 200 is its own word for status 0.
        assert answered(successor, "register", "--yes", "--in-service")["already"] is False
        wait_for("it went out", lambda: queue(successor) == (0, 1))
    assert successor.accepted() == [record]
    assert [line["status"] for line in asked(successor)] == [0]


def test_a_word_is_kept_per_device(site: Site) -> None:
    with owned(site) as own:
        device = load(site.config).device
        now = own.clock.now()
        inservice.say(own.outbox, device, inservice.DISABLED, "somebody", now)
        assert inservice.status(own.outbox, device) == 1
        other = device.model_copy(update={"device_no": "0000778"})
        assert inservice.status(own.outbox, other) == 0, "another device is another matter"
        inservice.say(own.outbox, device, inservice.ENABLED, "somebody", now)
        said = inservice.last_word(own.outbox, device)
        assert said is not None
        assert (said.status, inservice.out_of_service(own.outbox, device)) == (0, None)


def test_the_first_date_of_registration_stays(site: Site) -> None:
    with site.platform():
        answered(site, "register", "--yes")
        first = answered(site, "platform", "show")
        answered(site, "register", "--yes")
        again = answered(site, "platform", "show")
    assert again["registered_at"] == first["registered_at"] == first["registered_last"]
    assert again["registered_last"] > again["registered_at"]
    assert again["registered_before"] is False
