"""What leaves the machine: exports and the keys' backup; what comes back; and keys that change or are lost."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from admin_support import (
    PASSPHRASE,
    answered,
    failed,
    history,
    owned,
    put,
    refused,
    secret_file,
    trail,
    typed,
)
from e2e_support import Site, wait_for
from hypothesis import given, settings
from hypothesis import strategies as st
from outbox_support import NAME, NUMBER, damage_body, verification

from agent import keys, masks, passphrase, sm
from agent.catalogue import AgentError
from agent.config import load
from agent.control.protocol import Caller
from agent.control.verbs import Powers, handlers
from agent.identity import identified, this_machine
from agent.outbox import sealing
from agent.outbox.owner import mark_damaged


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def state_of(site: Site) -> Path:
    return Path(load(site.config).state_dir)


# --- records ----------------------------------------------------------------------------------------


def openings(site: Site) -> int:
    """Return how often an outbox was opened: each time is an epoch."""
    with closing(sqlite3.connect(site.folder / "state/outbox.db")) as connection:
        found: int = connection.execute("SELECT max(id) FROM epoch").fetchone()[0]
    return found


def test_many_pieces_are_taken_in_by_one_opening(site: Site, tmp_path: Path) -> None:
    history(site)
    file, word, before = str(tmp_path / "records"), secret_file(tmp_path), openings(site)
    answered(site, "outbox", "export", file, "--passphrase-file", word)
    assert openings(site) == before + 1
    new = Site(tmp_path / "new")
    answered(new, "keys", "init")
    answered(new, "outbox", "import", file, "--passphrase-file", word)
    assert openings(new) == 1


def test_a_pc_is_replaced_and_nothing_is_missing_or_sent_twice(site: Site, tmp_path: Path) -> None:
    ids = history(site)
    file, word = str(tmp_path / "records"), secret_file(tmp_path)
    moved = answered(site, "outbox", "export", file, "--move", "--passphrase-file", word)
    assert (moved["exported"], moved["followups"], moved["left"]) == (5, 0, [])
    stats = answered(site, "outbox", "stats")
    assert [stats[state] for state in ("ready", "held", "parked", "delivered", "discarded")] == [
        0,
        0,
        0,
        1,
        4,
    ]
    assert (stats["moved"], stats["given_up"], stats["waiting"]) == (4, 0, 0)
    row = answered(site, "outbox", "show", ids["ready"])
    assert (row["state"], row["closed_as"], row["closed_why"]) == ("discarded", "moved", "records")
    raw = Path(file).read_bytes()
    assert Path(file).stat().st_mode & 0o777 == 0o600
    assert NAME.encode() not in raw
    assert NUMBER.encode() not in raw
    new = Site(tmp_path / "new")
    answered(new, "keys", "init")
    result = answered(new, "outbox", "import", file, "--passphrase-file", word)
    assert result == {"records": 5, "imported": 5, "there_already": 0, "followups": 0, "unreadable": []}
    again = answered(new, "outbox", "import", file, "--passphrase-file", word)
    assert (again["imported"], again["there_already"]) == (0, 5)
    stats = answered(new, "outbox", "stats")
    assert [stats[state] for state in ("ready", "held", "parked", "delivered")] == [1, 1, 2, 1]
    assert (stats["accepted"], stats["difference"]) == (5, 0)
    status, screen = typed(new, ["outbox", "find", "--lang", "en"], [NUMBER])
    assert (status, ids["delivered"] in screen) == (0, True)
    with new.platform(), new.daemon() as daemon:
        wait_for("the record that moved is delivered", lambda: len(new.accepted()) == 1)
        assert new.accepted() == [ids["ready"]]
        assert daemon.terminate(5) == 0
    assert len([line for line in trail(new) if line["what"] == "record.imported"]) == 5
    assert answered(new, "outbox", "stats")["difference"] == 0
    assert "E3304" not in new.log()


def test_what_ended_on_the_old_pc_stays_ended_on_the_new_one_whatever_is_lost(
    site: Site, tmp_path: Path
) -> None:
    ids = history(site)
    answered(site, "outbox", "amend", ids["parked"], "--set", "operationUser=王医生")
    answered(site, "outbox", "discard", ids["held"], "--yes", "--reason", "试机")
    file, word, new = str(tmp_path / "records"), secret_file(tmp_path), Site(tmp_path / "new")
    answered(site, "outbox", "export", file, "--move", "--passphrase-file", word)
    answered(new, "keys", "init")
    answered(new, "outbox", "import", file, "--passphrase-file", word)
    before = answered(new, "outbox", "list")
    with closing(sqlite3.connect(state_of(new) / "outbox.db")) as connection:
        connection.execute("DELETE FROM record WHERE state IN ('delivered', 'discarded')")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    mark_damaged(state_of(new) / "outbox.db")
    stats = answered(new, "outbox", "stats")
    assert (stats["quarantined"], stats["discarded"], stats["difference"]) == (0, 2, 0)
    after = {row["id"]: row["closed_as"] for row in answered(new, "outbox", "list")}
    assert after == {row["id"]: row["closed_as"] for row in before}


def test_a_record_that_was_handed_over_comes_back_from_where_it_went(site: Site, tmp_path: Path) -> None:
    with owned(site) as own:
        waits, refusing = put(own, verification()), put(own, failed(verification()))
    there, back, word = str(tmp_path / "there"), str(tmp_path / "back"), secret_file(tmp_path)
    answered(site, "outbox", "export", there, "--move", "--passphrase-file", word)
    new = Site(tmp_path / "new")
    answered(new, "keys", "init")
    answered(new, "outbox", "import", there, "--passphrase-file", word)
    assert answered(site, "outbox", "import", there, "--passphrase-file", word)["imported"] == 2
    answered(site, "outbox", "export", str(tmp_path / "again"), "--move", "--passphrase-file", word)
    # The new PC proves useless: what is still to be done goes on where it was.
    answered(new, "outbox", "export", back, "--move", "--passphrase-file", word)
    result = answered(site, "outbox", "import", back, "--passphrase-file", word)
    assert (result["imported"], result["there_already"]) == (2, 0)
    for _ in range(2):
        stats = answered(site, "outbox", "stats")
        assert (stats["ready"], stats["followups"], stats["difference"]) == (2, 1, 0)
        assert answered(site, "outbox", "verify")["ok"] is True
        # Nor does a salvage believe that another machine has them.
        mark_damaged(state_of(site) / "outbox.db")
    with closing(sqlite3.connect(state_of(site) / "outbox.db")) as connection:
        connection.execute("DELETE FROM record WHERE id = ?", (waits,))
        connection.execute("DELETE FROM body WHERE record NOT IN (SELECT seq FROM record)")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert answered(site, "outbox", "show", waits)["state"] == "quarantined"
    assert answered(site, "outbox", "show", refusing)["state"] == "ready"


def test_an_export_is_refused_before_a_passphrase_is_asked_for(site: Site, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("x")
    for verb in (("outbox", "export"), ("keys", "backup")):
        status, screen = typed(site, [*verb, str(there)], [])
        assert (status, "E8316" in screen, "口令" in screen) == (2, True, False), screen
        assert "--force" not in screen  # these two have none


def test_an_export_while_the_daemon_runs_and_its_refusals(site: Site, tmp_path: Path) -> None:
    ids = history(site)
    word = secret_file(tmp_path)
    with site.daemon() as daemon:
        wait_for("the daemon answers", (state_of(site) / "control.sock").exists)
        out = tmp_path / "e"
        assert answered(site, "outbox", "export", str(out), "--passphrase-file", word)["exported"] == 5
        refused(site, "E8316", "outbox", "export", str(out), "--passphrase-file", word)
        missing = str(tmp_path / "f")
        refused(site, "E3110", "outbox", "export", missing, "--id", "f" * 32, "--passphrase-file", word)
        assert not Path(missing).exists(), "half an export would be taken for a whole one"
        short = secret_file(tmp_path, "short")
        refused(site, "E7206", "outbox", "export", missing, "--id", ids["held"], "--passphrase-file", short)
        other = secret_file(tmp_path, "another passphrase")
        refused(site, "E7207", "outbox", "import", str(out), "--passphrase-file", other)
        word = secret_file(tmp_path)
        refused(site, "E7207", "outbox", "import", str(site.config), "--passphrase-file", word)
        assert daemon.terminate(5) == 0
    status, screen = typed(
        site, ["outbox", "export", str(tmp_path / "g"), "--lang", "en"], [PASSPHRASE, PASSPHRASE]
    )
    assert status == 0, screen
    assert PASSPHRASE not in screen


def test_a_damaged_record_travels_sealed_and_is_named_on_arrival(site: Site, tmp_path: Path) -> None:
    with owned(site) as own:
        ids = [put(own, verification()) for _ in range(3)]
    damage_body(state_of(site))
    file, word = str(tmp_path / "records"), secret_file(tmp_path)
    answered(site, "outbox", "export", file, "--passphrase-file", word)
    result = answered(Site(tmp_path / "new"), "outbox", "import", file, "--passphrase-file", word)
    assert (result["imported"], result["unreadable"]) == (2, [ids[0]])


# --- keys -------------------------------------------------------------------------------------------


def checks(site: Site) -> dict[str, str | None]:
    run = site.cli("doctor", "--json")
    return {check["check"]: check["code"] for check in json.loads(run.stdout)}


def test_doctor_nags_until_the_keys_are_backed_up_and_again_when_they_changed(
    site: Site, tmp_path: Path
) -> None:
    history(site)
    word = secret_file(tmp_path)
    assert checks(site)["backup"] == "W7307"
    answered(site, "keys", "backup", str(tmp_path / "b1"), "--passphrase-file", word)
    assert checks(site)["backup"] is None
    assert answered(site, "keys", "rotate")["epoch"] == 2
    assert checks(site)["backup"] is None, "epoch keys lie wrapped in the outbox: the backup still opens them"
    assert len(answered(site, "keys", "rotate", "--kek")["kek"]) > 3
    assert checks(site)["backup"] == "W7307"
    assert [line["what"] for line in trail(site)].count("keys.rotated") == 2
    assert answered(site, "outbox", "verify")["ok"] is True
    assert not list((state_of(site) / "keys").glob("*.next"))


def test_lost_keys_are_said_record_by_record_and_a_backup_brings_all_back(site: Site, tmp_path: Path) -> None:
    history(site)
    word, backup = secret_file(tmp_path), str(tmp_path / "backup")
    answered(site, "keys", "backup", backup, "--passphrase-file", word)
    folder = state_of(site) / "keys"
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        path.unlink()
    # A new key is made, and the desk goes on; what the old one sealed is said to be unreadable.
    stats = answered(site, "outbox", "stats")
    assert stats["lost_keys"] == 1
    run = site.cli("doctor")
    assert run.returncode == 1
    assert "E7301" in run.stdout
    faults = json.loads(site.cli("outbox", "verify", "--json").stdout)["faults"]
    assert {fault["code"] for fault in faults} == {"E7303"}
    with owned(site) as own:
        fresh = put(own, verification())
        assert own.outbox.claim(own.clock.now()) is not None, "a lost key costs its own records alone"
    refused(site, "E7305", "keys", "init")
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    # What was sealed in between lies under the key made in between: the former one comes back as the next.
    restore = ("keys", "init", "--from", backup, "--passphrase-file", word)
    restored = answered(site, *restore)
    assert restored == {"files": {"seal": str(folder / "seal.key.next")}, "kept": ["audit", "pseudonym"]}
    assert all(path.stat().st_mode & 0o777 == 0o400 for path in folder.iterdir())
    stats = answered(site, "outbox", "stats")
    assert (stats["lost_keys"], stats["quarantined"], stats["difference"]) == (0, 0, 0)
    assert answered(site, "outbox", "verify")["ok"] is True
    assert answered(site, "outbox", "show", fresh)["person"] is not None
    now = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert now == {**made, "seal.key": whole["seal.key"]}
    assert answered(site, *restore)["files"] == {}


def test_a_backup_brings_back_the_one_key_that_is_gone_and_all_on_a_new_pc(
    site: Site, tmp_path: Path
) -> None:
    history(site)
    word, backup = secret_file(tmp_path), str(tmp_path / "backup")
    answered(site, "keys", "backup", backup, "--passphrase-file", word)
    folder, restore = state_of(site) / "keys", ("keys", "init", "--from", backup, "--passphrase-file", word)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for lost in ({"pseudonym.key"}, set(whole)):
        for name in lost:
            folder.joinpath(name).unlink()
        assert {Path(path).name for path in answered(site, *restore)["files"].values()} == lost
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    assert answered(site, "outbox", "verify")["ok"] is True


def test_a_configured_key_changes_by_putting_the_next_one_beside_it(tmp_path: Path) -> None:
    secret = tmp_path / "seal_key"
    site = Site(tmp_path / "site", {"keys": {"seal": {"file": str(secret)}}})
    made = answered(site, "keys", "init")["files"]
    assert made["seal"] == str(secret)
    history(site)
    assert checks(site)["keys"] is None
    said = refused(site, "E7304", "keys", "rotate", "--kek", "--lang", "en")
    assert "keys init --out" in said
    answered(site, "keys", "init", "--out", str(tmp_path / "next"))
    (tmp_path / "next" / "seal_key").rename(tmp_path / "seal_key.next")
    assert answered(site, "outbox", "verify")["ok"] is True
    # It is in force: the old file is not needed any more.
    secret.unlink()
    (tmp_path / "seal_key.next").rename(secret)
    assert answered(site, "outbox", "verify")["ok"] is True
    assert answered(site, "outbox", "stats")["lost_keys"] == 0


KEY_FILES = ("seal_key", "audit_key", "pseudonym_key")


def outside(folder: Path) -> dict[str, dict[str, str]]:
    """Return the section of keys that lie in a folder outside the state directory."""
    return {name.removesuffix("_key"): {"file": str(folder / name)} for name in KEY_FILES}


@pytest.mark.parametrize(
    "content",
    [None, b"0123456789abcdef" * 4 + b"\n", bytes(range(200, 231)) + b"\n", b"a word of the hospital's own"],
    ids=["made by keys init", "older than hex:", "bytes", "a word"],
)
def test_a_backup_brings_back_the_very_keys_that_lie_outside(tmp_path: Path, content: bytes | None) -> None:
    """The main key, the trail's and the pseudonyms': records are read, the trail fits, persons are found."""
    folder = tmp_path / "secrets"
    site = Site(tmp_path / "site", {"keys": outside(folder)})
    if content is None:
        answered(site, "keys", "init")
    else:
        folder.mkdir()
        for name in KEY_FILES:
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o400)
    history(site)
    word, backup = secret_file(tmp_path), str(tmp_path / "backup")
    answered(site, "keys", "backup", backup, "--passphrase-file", word)
    found = answered(site, "outbox", "stats")
    restore = ("keys", "init", "--from", backup, "--passphrase-file", word)
    assert answered(site, *restore)["files"] == {}, "they are there"
    for there in ((), ("--out", str(folder))):
        for name in KEY_FILES:
            (folder / name).unlink()
        answered(site, *restore, *there)
        assert answered(site, "outbox", "verify")["ok"] is True
        assert answered(site, "audit", "verify")["ok"] is True
        assert answered(site, "outbox", "stats")["lost_keys"] == found["lost_keys"] == 0


@pytest.mark.parametrize("how", ["restored", "moved"])
def test_keys_leave_the_state_directory_and_stay_the_same(site: Site, tmp_path: Path, how: str) -> None:
    history(site)
    own, folder, word = state_of(site) / "keys", tmp_path / "secrets", secret_file(tmp_path)
    backup = str(tmp_path / "backup")
    answered(site, "keys", "backup", backup, "--passphrase-file", word)
    assert checks(site)["key files"] == "W7306"
    folder.mkdir()
    if how == "restored":
        answered(site, "keys", "init", "--from", backup, "--passphrase-file", word, "--out", str(folder))
    else:
        for name in KEY_FILES:
            shutil.copy(own / f"{name.removesuffix('_key')}.key", folder / name)
    content = yaml.safe_load(site.config.read_text("utf-8"))
    site.config.write_text(yaml.safe_dump({**content, "keys": outside(folder)}, allow_unicode=True), "utf-8")
    assert answered(site, "outbox", "verify")["ok"] is True
    assert answered(site, "audit", "verify")["ok"] is True
    assert checks(site)["key files"] == "W7306", "they still lie beside the data as well"
    for path in own.iterdir():
        path.unlink()
    assert (checks(site)["key files"], checks(site)["keys"]) == (None, None)


def test_a_key_s_file_that_says_hex_and_holds_none_is_refused_at_its_line(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    site = Site(tmp_path / "site", {"keys": outside(folder)})
    answered(site, "keys", "init")
    (folder / "audit_key").chmod(0o600)
    (folder / "audit_key").write_text("hex:0x12\n")
    run = site.cli("check")
    assert (run.returncode, run.stdout.count("E7203")) == (78, 1)
    assert "0x12" not in run.stdout


def test_a_backup_holds_the_key_in_force_and_not_one_that_waits_for_a_restart(site: Site) -> None:
    with owned(site) as own:
        in_force, own_key = keys.load(own.config).seal, keys.own_key(own.config, "seal")
        keys.write_key(keys.next_to(own_key), b"ab" * 32)
        backup = handlers(Powers(own))["keys.backup"]
        args = {"key": KEY.hex(), "label": "l"}
        sealed = base64.b64decode(backup(args, Caller.of_this_process())["piece"])
        content = json.loads(sealing.unseal(sealing.Key(KEY, 0), sealed, "l"))
        assert content["seal"] == in_force.hex()
        assert own.audit.targets(["keys.handed_out"]) == {"keys"}
        own_key.unlink()
        keys.write_key(own_key, b"cd" * 32)
        with pytest.raises(AgentError, match="E7301"):
            backup(args, Caller.of_this_process())


def test_keys_that_systemd_passes_are_not_written_by_a_command(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", {"keys": {"seal": {"credential": "seal_key"}}})
    assert "--out" in refused(site, "E7309", "keys", "init", "--lang", "en")
    made = answered(site, "keys", "init", "--out", str(tmp_path / "made"))["files"]
    assert sorted(Path(path).name for path in made.values()) == ["audit_key", "pseudonym_key", "seal_key"]
    assert all(re.fullmatch(r"hex:[0-9a-f]{64}\n", Path(path).read_text()) for path in made.values())


def test_doctor_orders_its_findings_and_says_what_to_do(site: Site, tmp_path: Path) -> None:
    ids = history(site)
    with owned(site) as own:
        own.outbox.administration.set_aside(ids["ready"], "E7101")
    found = checks(site)
    assert (found["balance"], found["unreadable"], found["refused"]) == (None, "E3127", "W3128")
    assert found["key files"] == "W7306"
    shown = site.cli("doctor", "--lang", "en")
    assert shown.returncode == 1
    assert re.search(r"✗  unreadable .*\[E3127\]", shown.stdout)
    assert re.search(r"^      1\. ", shown.stdout, flags=re.MULTILINE)
    (state_of(site) / "keys" / "audit.key").chmod(0o644)
    blocked = checks(site)
    assert blocked["database"] == "E7202"
    assert {"queue", "keys", "backup"} <= set(blocked)
    assert "未检查" in site.cli("doctor").stdout


def test_doctor_says_what_a_record_costs_where_only_the_slow_cipher_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent.ops import machine

    monkeypatch.setattr(sm, "_backend", sm.Gmssl)
    monkeypatch.setattr(machine, "RECORD_BYTES", 200_000)
    code, facts = machine.sealing_cost()
    assert code == "W7308"
    assert int(facts["ms"]) > 500


# --- the sealed file --------------------------------------------------------------------------------

SALT = b"0" * 16
KEY = b"k" * 16


def written(path: Path, pieces: list[bytes]) -> bytes:
    path.unlink(missing_ok=True)
    writer = passphrase.Writer(path, "t", KEY, SALT)
    for piece in pieces:
        writer.add(piece)
    writer.close()
    return path.read_bytes()


def opened(path: Path) -> list[bytes]:
    reader = passphrase.Reader(path, "t")
    reader.verify(KEY)
    return list(reader.pieces(KEY))


def outcome(path: Path) -> list[bytes] | str:
    try:
        return opened(path)
    except AgentError as error:
        return error.code


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_a_sealed_file_gives_back_its_pieces(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "sealed"
    written(path, pieces)
    assert opened(path) == pieces


@settings(max_examples=150)
@given(st.data())
def test_a_file_cut_changed_or_shuffled_does_not_open(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "spoilt"
    pieces = data.draw(st.lists(st.binary(max_size=30), min_size=2, max_size=4, unique=True))
    raw = written(path, pieces)
    how = data.draw(st.sampled_from(["cut", "flip", "twice", "swap"]))
    body = raw.index(b"\n", len(passphrase.MAGIC)) + 1
    if how == "cut":
        spoilt = raw[: data.draw(st.integers(0, len(raw) - 1))]
    elif how == "flip":
        at = data.draw(st.integers(0, len(raw) - 1))
        spoilt = raw[:at] + bytes([raw[at] ^ (1 << data.draw(st.integers(0, 7)))]) + raw[at + 1 :]
    elif how == "twice":
        spoilt = raw + raw[body:]
    else:
        length = 4 + int.from_bytes(raw[body : body + 4], "big")
        second = 4 + int.from_bytes(raw[body + length : body + length + 4], "big")
        middle = body + length + second
        spoilt = raw[:body] + raw[body + length : middle] + raw[body : body + length] + raw[middle:]
    path.write_bytes(spoilt)
    # One blank of the header for another is all that may change unnoticed.
    assert outcome(path) == "E7207" or (how, outcome(path)) == ("flip", pieces)


def test_the_key_needs_every_byte_of_passphrase_and_salt() -> None:
    key = passphrase.derived(PASSPHRASE, SALT)
    assert len(key) == 16
    assert key == passphrase.derived(PASSPHRASE, SALT)
    assert (
        len({key, passphrase.derived(PASSPHRASE + " ", SALT), passphrase.derived(PASSPHRASE, b"1" * 16)}) == 3
    )


# --- masks, machines --------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=20), st.integers(0, 9), st.integers(0, 9))
def test_a_mask_keeps_the_length_and_shows_no_more_than_its_rule(full: str, first: int, last: int) -> None:
    shown = masks.number(full, f"{first}+{last}")
    assert len(shown) == len(full)
    if first + last >= len(full):
        assert shown == "*" * len(full)
    else:
        assert shown == full[:first] + "*" * (len(full) - first - last) + full[len(full) - last :]
    name = masks.name(full, "surname")
    assert name[0] == full[0]
    assert set(name[1:]) <= {"*"}
    assert len(name) >= 2, "a name of one character shows that there is one, and no more"
    assert set(masks.name(full, "none")) == {"*"}


def test_a_machine_is_known_by_its_id_and_its_network_hardware() -> None:
    here = identified("id1", ["aa", "bb"])
    assert not here.is_another_than(identified("id1", ["aa"])), "an unplugged card"
    assert not here.is_another_than(identified("id1", ["aa", "cc"])), "a new one"
    assert not here.is_another_than(identified("", [])), "a container without either"
    assert here.is_another_than(identified("id2", ["aa", "bb"])), "installed anew, or another"
    assert here.is_another_than(identified("id1", ["cc"])), "an image of the disk on other hardware"
    assert identified("id1", ["aa"]).from_json(here.to_json()) == here
    assert "aa" not in here.to_json()


def test_this_machine_is_read_from_real_hardware_only(tmp_path: Path) -> None:
    assert not this_machine(tmp_path).is_another_than(this_machine())
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("0123\n")
    for name, real, kind, address in (
        ("eth0", True, "0", "00:11"),
        ("docker0", False, "3", "00:22"),
        ("wlan0", True, "1", "00:33"),
    ):
        folder = tmp_path / "sys/class/net" / name
        (folder / "device").mkdir(parents=True) if real else folder.mkdir(parents=True)
        (folder / "addr_assign_type").write_text(f"{kind}\n")
        (folder / "address").write_text(f"{address}\n")
    assert this_machine(tmp_path) == identified("0123", ["00:11"])
