"""`status` while the daemon is down: figures beside a killed daemon's log, whose files they are, and the reason."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import codes_seen
import pytest
from admin_support import answered, history, owned, put
from e2e_support import Site, wait_for
from outbox_support import on_a_file_system, verification

from agent import inservice, lastcheck, lastrun
from agent.catalogue import AgentError
from agent.cli import main, options
from agent.clock import SystemClock
from agent.config import load
from agent.control import client
from agent.lastrun import LastRun
from agent.ops import down, glance
from drivers.errors import ReaderMissing

NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: acts as other users")
#: What would make a command slow: each of them costs more than the whole of it may.
HEAVY = (
    "pydantic", "requests", "cryptography", "cv2", "numpy", "flask", "waitress", "serial", "usb", "tenacity",
    "prometheus_client", "sqlite_utils", "agent.ownership", "agent.records", "agent.config.schema",
)  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def codes(site: Site) -> list[str]:
    return [one["code"] for one in answered(site, "status")["problems"]]


def killed(site: Site, to: Path, *, without: str = "") -> Path:
    """Leave what a killed daemon leaves: the files of an outbox in use, its newest records in the log alone."""
    with owned(site) as own:
        put(own, verification())
        put(own, verification(number="450102199001010028"))
        assert Path(own.state_dir, "outbox.db-wal").stat().st_size > 0
        shutil.copytree(own.state_dir, to)
    if without:
        (to / without).unlink()
    return to


@pytest.mark.parametrize("without", ["", "outbox.db-shm"])
def test_a_look_counts_what_stands_in_a_killed_daemons_log_alone(
    site: Site, tmp_path: Path, without: str
) -> None:
    state = killed(site, tmp_path / "state", without=without)
    seen = glance.glance(state)
    assert seen is not None
    assert (seen.balance.accepted, seen.balance.ready, seen.balance.difference) == (2, 2, 0)
    again = glance.glance(state)
    assert again is not None
    assert replace(again, free=0) == replace(seen, free=0), "looking changes nothing"
    with owned(site) as own:
        assert own.outbox.counts() == seen.balance, "as its owner counts"
        assert own.outbox.administration.kek_id == seen.kek
    assert set(seen.stats(7)) == set(answered(site, "outbox", "stats"))


@AS_ROOT
@pytest.mark.parametrize("without", ["", "outbox.db-shm", "lock"])
def test_root_leaves_no_file_of_its_own_behind(site: Site, tmp_path: Path, without: str) -> None:
    state = killed(site, tmp_path / "state", without=without)
    tmp_path.chmod(0o755)
    for path in (state, *state.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    with reachable(state):
        assert glance.glance(state) is not None
    assert {path.stat().st_uid for path in (state, *state.rglob("*"))} == {NOBODY}


#: A killed daemon's files, or a stopped one's, on a disk without a free byte.
FULL = """
import shutil, sys
from pathlib import Path
from agent.catalogue import AgentError
from agent.ops import glance
folder = Path(sys.argv[1]) / "state"
shutil.copytree({state!r}, folder)
(folder / "outbox.db-shm").unlink(missing_ok=True)
(folder / "ballast").unlink(missing_ok=True)
try:
    with (folder / "filled").open("wb", buffering=0) as filled:
        for size in (65536, 1):
            while filled.write(b"x" * size):
                pass
except OSError:
    pass
try:
    print(glance.glance(folder).balance.waiting)
except AgentError as error:
    print(error.code)
"""


@AS_ROOT
@pytest.mark.needs_root
def test_a_full_disk_is_looked_at_and_never_taken_for_another_users(site: Site, tmp_path: Path) -> None:
    state = killed(site, tmp_path / "killed")
    for where, seen in ((site.folder / "state", "2\n"), (state, "E3102\n")):
        (tmp_path / "disk").mkdir(exist_ok=True)
        assert on_a_file_system(tmp_path / "disk", "size=1m", FULL.format(state=str(where))) == seen


@AS_ROOT
def test_another_user_is_told_to_use_sudo(site: Site, tmp_path: Path) -> None:
    state = killed(site, tmp_path / "state")
    with reachable(state):
        os.seteuid(NOBODY)
        try:
            report = down.report(state, 1, "")
        finally:
            os.seteuid(0)
    assert report["error"]["code"] == "E8616"
    assert "queue" not in report
    assert "W8611" not in {reason["code"] for reason in report["down"]}, "nobody who may not look can say so"


def test_the_service_is_asked_where_systemd_keeps_its_data_whatever_became_of_its_file(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setattr(options, "DEFAULT_CONFIG", site.config)
    monkeypatch.setattr(client, "UNITS", (site.config.parent,))
    services = options.Settings(site.config)
    assert str(services.state_dir()) == services.config().state_dir == options.DEFAULT_STATE
    site.config.write_text("platform: [\n")
    assert str(services.state_dir()) == options.DEFAULT_STATE
    site.config.unlink()
    assert str(services.state_dir()) == options.DEFAULT_STATE
    assert options.Settings(site.folder / "another.yaml").state_dir() is None
    monkeypatch.setattr(client, "UNITS", ())
    assert services.state_dir() is None


@AS_ROOT
def test_root_does_not_run_beside_the_services_data(site: Site, tmp_path: Path) -> None:
    """Its files would lock the service out."""
    history(site)
    state = site.folder / "state"
    for path in (state, *state.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    before = sorted(path.name for path in state.rglob("*"))
    run = site.cli("run")
    assert (run.returncode, "E8315" in run.stderr, "nobody" in run.stderr) == (2, True, True)
    assert sorted(path.name for path in state.rglob("*")) == before
    assert {path.stat().st_uid for path in state.rglob("*")} == {NOBODY}


def test_an_answer_that_finds_no_room_is_told_in_a_sentence(site: Site) -> None:
    command = [sys.executable, "-m", "agent", "status", "--config", str(site.config)]
    for json_too in ([], ["--json"], ["--nagios"]):
        with Path("/dev/full").open("wb") as full:
            run = subprocess.run(
                [*command, *json_too], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        codes_seen.saw(run.stderr)
        assert (run.returncode, run.stderr.count("\n")) == (69, 2), run.stderr
        assert "E8308" in run.stderr


@contextmanager
def reachable(path: Path) -> Any:
    """Let every user reach a folder: pytest keeps those above it to itself."""
    modes = {folder: folder.stat().st_mode for folder in path.parents if folder.stat().st_uid == 0}
    mine = {folder: mode for folder, mode in modes.items() if not mode & 0o001}
    for folder, mode in mine.items():
        folder.chmod(mode | 0o011)
    try:
        yield
    finally:
        for folder, mode in mine.items():
            folder.chmod(mode)


def test_a_look_waits_for_nobody_and_takes_nothing_from_an_owner(site: Site) -> None:
    with owned(site) as own, pytest.raises(AgentError) as told:
        glance.glance(own.state_dir)
    assert told.value.code == "E8301"


@pytest.mark.parametrize(
    ("at", "junk", "code"), [(0, b"no database", "E3107"), (100, b"\xff" * 4000, "E3107")]
)
def test_a_damaged_file_is_told_and_left_alone(
    site: Site, tmp_path: Path, at: int, junk: bytes, code: str
) -> None:
    history(site)
    file = site.folder / "state/outbox.db"
    with file.open("r+b") as stream:
        stream.seek(at)
        stream.write(junk)
    before = file.read_bytes()
    with pytest.raises(AgentError) as told:
        glance.glance(file.parent)
    assert told.value.code == code
    assert file.read_bytes() == before
    assert not file.with_suffix(".damaged").exists()


def test_nothing_is_made_where_no_daemon_ever_ran(site: Site) -> None:
    report = answered(site, "status")
    assert [one["code"] for one in report["problems"]][:2] == ["W8602", "W8611"]
    assert not [one["code"] for one in report["problems"] if one["severity"] == "error"]
    assert "queue" not in report
    assert not (site.folder / "state").exists()


# --- why it is down ---------------------------------------------------------------------------------

RUN = LastRun("1", "b", "2026-11-24T08:00:00+00:00", "d", "h", 5)
UNIT = dict.fromkeys(down.PROPERTIES, "x") | {"LoadState": "loaded", "ExecMainStatus": "78"}
REASONS: list[tuple[LastRun | None, dict[str, str], list[str]]] = [
    (None, {}, ["W8611"]),
    (RUN, {}, ["E8614"]),
    (LastRun(**{**vars(RUN), "ended_at": RUN.started_at}), {}, ["W8612"]),
    (LastRun(**{**vars(RUN), "ended_at": RUN.started_at, "code": "E7202"}), {}, ["E8613", "E7202"]),
    (None, UNIT, ["W8611", "W8615"]),
    (None, {**UNIT, "LoadState": "not-found"}, ["W8611"]),
]


@pytest.mark.parametrize(("last", "unit", "expected"), REASONS)
def test_the_reason_is_told_where_it_is_known(
    last: LastRun | None, unit: dict[str, str], expected: list[str]
) -> None:
    assert [one["code"] for one in down.reasons(last, unit)] == expected


@pytest.mark.parametrize(
    ("error", "code"),
    [(None, None), (ReaderMissing(port="x"), "E1101"), (ValueError("secret"), lastrun.UNFORESEEN)],
)
def test_a_run_writes_down_how_it_ends(tmp_path: Path, error: Exception | None, code: str | None) -> None:
    recorder = lastrun.Recorder(tmp_path, SystemClock(), "1")
    recorder.took("digest", "hash", 5)
    recorder.write()
    begun = lastrun.read(tmp_path)
    assert begun is not None
    assert (begun.ended_at, begun.max_bytes) == (None, 5)
    try:
        with recorder.to_the_end():
            if error is not None:
                raise error
    except (ReaderMissing, ValueError):
        pass
    ended = lastrun.read(tmp_path)
    assert ended is not None
    assert ended.ended_at
    assert ended.code == code
    assert "secret" not in (tmp_path / lastrun.NAME).read_text("utf-8")


def test_who_finds_the_directory_taken_leaves_the_owners_word_alone(tmp_path: Path) -> None:
    lastrun.Recorder(tmp_path, SystemClock(), "owner").write()
    with pytest.raises(AgentError), lastrun.Recorder(tmp_path, SystemClock(), "second").to_the_end():
        raise AgentError("E8301", pid=1, path=tmp_path)
    found = lastrun.read(tmp_path)
    assert found is not None
    assert (found.version, found.ended_at) == ("owner", None)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": "1"}', '{"later": 1}', "\udc80"])
def test_a_torn_word_is_no_word(tmp_path: Path, content: str) -> None:
    (tmp_path / lastrun.NAME).write_bytes(content.encode("utf-8", "surrogateescape"))
    assert lastrun.read(tmp_path) is None


def test_status_tells_how_the_daemon_ended_and_what_is_wrong_with_a_changed_configuration(site: Site) -> None:
    with site.platform(), site.reader(1), site.daemon() as daemon:
        wait_for("the daemon answers", lambda: answered(site, "status")["daemon"])
        assert daemon.terminate(30) == 0
    assert codes(site)[:2] == ["W8602", "W8612"]
    (site.folder / "state/keys/audit.key").chmod(0o644)
    with site.platform(), site.reader(1):
        run = site.cli("run")
    assert run.returncode != 0
    assert codes(site)[:3] == ["W8602", "E8613", "E7202"]
    site.config.write_text(site.config.read_text("utf-8").replace("encrypt:", "encrypted:"), "utf-8")
    assert "W8619" in codes(site)
    assert site.cli("check").returncode == 78
    shown = site.cli("status")
    assert shown.returncode == 78
    lines = shown.stdout.splitlines()
    assert "E6020" in lines[0], "what has to be mended first"
    assert "W8602" in lines[2]
    assert any("E6" in line and str(site.config) in line for line in lines)
    assert any("待传" in line for line in lines[4:]), "the records are shown all the same"


@pytest.mark.parametrize("installed", [False, True])
def test_before_there_is_a_configuration_the_first_command_named_makes_one(
    installed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setattr(logging.getLogger(), "handlers", list(logging.getLogger().handlers))
    config = tmp_path / "config.yaml"
    if installed:
        monkeypatch.setattr(options, "DEFAULT_CONFIG", config)
        monkeypatch.setattr(options, "DEFAULT_STATE", str(tmp_path / "state"))
        monkeypatch.setattr(client, "UNITS", (tmp_path,))
    assert main._main(["status", "--config", str(config)]) == 78
    lines = capsys.readouterr().out.splitlines()
    assert "E6001" in lines[0]
    assert lines[1].strip() == f"kiosk-agent config generate --out {config}"
    # Nobody can tell where to look for a daemon, unless it is the service.
    told = "W8602" if installed else "W8620"
    assert any(told in line for line in lines[2:]), "a start comes later"
    assert main._main(["status", "--config", str(config), "--json"]) == 78
    found = json.loads(capsys.readouterr().out)
    assert found["problems"][0]["do"][0] == f"kiosk-agent config generate --out {config}"
    assert found["findings"][0]["code"] == "E6001"


# --- what it costs ----------------------------------------------------------------------------------


def imported(site: Site, *arguments: str, status: int = 0) -> set[str]:
    """Return the modules that a command of the command line has imported by its end."""
    program = (
        "import atexit, sys; atexit.register(lambda: print('\\n'.join(sys.modules), file=sys.stderr));"
        "from agent.cli.main import main; main()"
    )
    config = [] if arguments[0].startswith("--") else ["--config", str(site.config)]
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments, *config], capture_output=True, text=True, check=False
    )
    assert run.returncode == status, run.stderr
    return set(run.stderr.split())


def test_a_command_in_a_hurry_imports_nothing_heavy(site: Site) -> None:
    with site.platform(), site.reader(1), site.daemon():
        wait_for("the daemon answers", lambda: answered(site, "status")["daemon"])
        beside = {verb: imported(site, *verb.split()) for verb in ("status", "outbox list")}
    found = {
        **beside,
        "status, down": imported(site, "status"),
        "--version": imported(site, "--version"),
        "explain": imported(site, "explain", "E1103"),
    }
    assert {name: sorted(modules & set(HEAVY)) for name, modules in found.items()} == {
        name: [] for name in found
    }
    assert "yaml" not in found["--version"]


@pytest.mark.parametrize(
    ("old", "new", "status"), [("lang: zh", "lang: zh ", 0), ("encrypt:", "encrypted:", 78)]
)
def test_a_changed_configuration_is_called_unchecked_until_it_is_checked(
    site: Site, old: str, new: str, status: int
) -> None:
    """The next start may be refused: `status` does not take the time to find out, and says what will."""
    history(site)
    text = site.config.read_text("utf-8")
    site.config.write_text(text.replace(old, new), "utf-8")
    assert not set(HEAVY) & imported(site, "status", status=0)
    for lang in ("zh", "en"):
        lines = site.cli("status", "--lang", lang).stdout.splitlines()
        said = next(number for number, line in enumerate(lines) if "W8619" in line)
        assert lines[said + 1].strip() == "kiosk-agent check"
    told = next(one for one in answered(site, "status")["problems"] if one["code"] == "W8619")
    assert "kiosk-agent check" in told["do"]
    assert "W8619" in site.cli("status", "--nagios").stdout
    assert set(HEAVY) & imported(site, "check", "--no-env", status=status), "checking is what is dear"
    shown = {lang: site.cli("status", "--lang", lang) for lang in ("zh", "en")}
    assert {run.returncode for run in shown.values()} == {status}
    assert not [run for run in shown.values() if "W8619" in run.stdout]
    assert not set(HEAVY) & imported(site, "status", status=status)
    found = json.loads(site.cli("status", "--json", "--lang", "en").stdout)
    assert [one["code"] for one in found.get("findings", ())] == (["E6020", "E6016"] if status else [])
    site.config.write_text(text, "utf-8")
    assert "W8619" in codes(site), "another content is another file"


def test_where_a_check_cannot_be_noted_status_checks(site: Site) -> None:
    """It would be called unchecked for ever."""
    text = site.config.read_text("utf-8")
    site.config.write_text(text.replace("encrypt:", "encrypted:"), "utf-8")
    assert not (site.folder / "state").exists()
    run = site.cli("status")
    assert (run.returncode, "E6020" in run.stdout, "W8619" in run.stdout) == (78, True, False)


def test_a_file_that_check_or_a_refused_run_has_judged_is_known(site: Site) -> None:
    history(site)
    text = site.config.read_text("utf-8")
    site.config.write_text(text.replace("lang: zh", "lang: zh  # touched"), "utf-8")
    assert site.cli("check", "--no-env").returncode == 0
    assert not set(HEAVY) & imported(site, "status", status=0)
    broken = text.replace("lang: zh", "lang: zh\nlnag: zh")
    site.config.write_text(broken, "utf-8")
    assert site.cli("run").returncode == 78
    assert not set(HEAVY) & imported(site, "status", status=78)
    assert "E6016" in site.cli("status").stdout
    other = site.folder / "draft.yaml"
    other.write_text(text, "utf-8")
    assert site.cli("check", "--no-env", str(other)).returncode == 0
    assert not set(HEAVY) & imported(site, "status", status=78), "a draft takes nobody's place"


@pytest.mark.parametrize("junk", ["", "{", "[]", '{"of": 1}', '{"of": null, "checked": {"later": 1}}'])
def test_a_check_that_was_torn_or_is_another_versions_is_made_anew(
    site: Site, junk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = site.folder / "state"
    folder.mkdir()
    made = lastcheck.Checked("hash", 5, None, {"zh": []}, {"zh": []})
    lastcheck.note(folder, site.config, "d", made)
    assert lastcheck.read(folder, site.config, "d") == made
    assert lastcheck.read(folder, site.config, "e") is None
    assert lastcheck.read(folder, site.folder / "other.yaml", "d") is None
    monkeypatch.setattr(lastcheck, "__version__", "later")
    assert lastcheck.read(folder, site.config, "d") is None
    monkeypatch.undo()
    (folder / lastcheck.NAME).write_text(junk)
    assert lastcheck.read(folder, site.config, "d") is None
    lastcheck.note(folder / "none", site.config, "d", made)
    assert not (folder / "none").exists()


def test_a_device_out_of_service_is_told_while_nobody_runs(site: Site) -> None:
    device = load(site.config).device
    with owned(site) as own:
        inservice.say(own.outbox, device, inservice.DISABLED, "it", SystemClock().now())
    assert "W5113" in codes(site)
    with owned(site) as own:
        inservice.say(own.outbox, device, inservice.ENABLED, "it", SystemClock().now())
    assert "W5113" not in codes(site)
