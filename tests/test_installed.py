"""The package installed without a network in a booted system, and the service under its real systemd.

The system is a Debian 12, or what TEST_RELEASE names.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from booted_support import RELEASE, SUITE, Machine, machine, quick_folder, why_not
from e2e_support import wait_for
from installed_support import ETC, ROOT, Hospital, package, variant
from intake_support import PATH, TOKEN, base64_of, submission

from agent import images, sm
from agent.clock import SHANGHAI
from agent.journal import message_id
from agent.simulate import portraits

#: The version in force after installation, and one that follows it.
FIRST, NEWER = f"0.1.0+{RELEASE}-1", f"0.2.0+{RELEASE}"

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def deb() -> Iterator[Path]:
    """The package, built once for all tests here; the bundle lies beside it."""
    if why_not():
        pytest.skip(f"no system can be booted here: {why_not()}")
    with quick_folder() as folder:
        yield package(RELEASE, folder)


@pytest.fixture(scope="module")
def installed(deb: Path) -> Iterator[Path]:
    """What installing the package adds to the system; a layer for systems of their own."""
    with quick_folder() as folder:
        system = Machine(SUITE, folder)
        try:
            system.boot()
            dpkg(system, deb)
            system.power_off()
        finally:
            system.close()
        yield system.upper


@pytest.fixture
def debian(installed: Path) -> Iterator[Machine]:
    """The system, booted, with the package installed and nothing configured."""
    with machine(SUITE, [installed]) as booted:
        yield booted


def dpkg(system: Machine, package: Path) -> str:
    """Install a package in there. Return what was printed; AssertionError with it when that fails."""
    shutil.copy(package, system.root / "agent.deb")
    done = system.run("dpkg", "-i", "/agent.deb", check=False)
    (system.root / "agent.deb").unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_installing_says_how_to_go_on_and_starts_nothing(deb: Path) -> None:
    with machine(SUITE) as debian:
        installed_and_not_started(debian, dpkg(debian, deb))


def installed_and_not_started(debian: Machine, told: str) -> None:
    """Hold what was printed, and what systemd says, to a fresh installation."""
    assert "kiosk-agent 已安装，尚未启动。接下来" in told
    assert "kiosk-agent config generate --out /etc/kiosk-agent/config.yaml" in told
    assert (debian.show("ActiveState"), debian.show("UnitFileState")) == ("inactive", "enabled")
    verified_and_exposed(debian, 1.3)
    # Started without a configuration: it says so, and is not started again and again.
    assert debian.run("systemctl", "start", "kiosk-agent", check=False).returncode != 0
    assert (debian.show("ExecMainStatus"), debian.show("NRestarts")) == ("78", "0")
    assert "E6001" in debian.journal()


def verified_and_exposed(debian: Machine, limit: float) -> None:
    """Hold the unit to a `verify` without a word, and to a score of exposure.

    By its path: systemd 249 would look for it in the present folder, and find fault with that. The score is read, since
    249 has no --threshold.
    """
    checked = debian.run(
        "systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/kiosk-agent.service"
    )
    assert (checked.stdout, checked.stderr) == ("", "")
    told = debian.run("systemd-analyze", "security", "--no-pager", "kiosk-agent.service").stdout
    found = re.search(r"Overall exposure level for kiosk-agent\.service: ([\d.]+)", told)
    assert found is not None, told
    assert float(found[1]) <= limit, told


def test_fifty_records_arrive_over_reload_stop_upgrade_and_rollback(debian: Machine, deb: Path) -> None:
    hospital = Hospital(debian)
    hospital.platform()
    hospital.open()
    # Notified, not merely forked: ready, and in one Chinese line how things are.
    assert (debian.show("ActiveState"), debian.show("Type")) == ("active", "notify")
    wait_for("the status line", lambda: debian.show("StatusText").startswith("未找到读卡器"))
    verified_and_exposed(debian, 1.2)
    assert set(debian.show("IPAddressDeny").split()) == {"::/0", "0.0.0.0/0"}
    assert set(debian.show("IPAddressAllow").split()) == {"127.0.0.0/8", "::1/128"}
    hospital.registrar(50)
    wait_for("the first records arrive", lambda: len(hospital.accepted()) >= 5)
    reload_good_and_bad(hospital)

    debian.run("systemctl", "stop", "kiosk-agent")
    assert (debian.show("Result"), debian.show("ExecMainStatus")) == ("success", "0")
    # Amid an attempt the vision process is the daemon's to end: its death is no fault that anybody must read of.
    assert debian.show("KillMode") == "mixed"
    assert "E2301" not in debian.journal()
    debian.run("systemctl", "start", "kiosk-agent")

    written = (debian.root / ETC / "config.yaml").read_bytes()
    newer = variant(deb, NEWER)
    process = debian.show("MainPID")
    assert f"{NEWER} 已就绪；记录与配置未变" in dpkg(debian, newer)
    assert debian.show("MainPID") != process
    assert in_force(debian) == f"{NEWER}-1"
    assert (debian.root / ETC / "config.yaml").read_bytes() == written
    assert f"已退回 {FIRST}" in debian.run("kiosk-agent-rollback").stdout
    assert in_force(debian) == FIRST

    wait_for("fifty records arrive", lambda: len(hospital.accepted()) >= 50, 400)
    wait_for("nothing waits", lambda: hospital.stats()["ready"] == 0)
    ids = {record["requestId"] for record in hospital.accepted()}
    counts = hospital.stats()
    assert len(ids) == counts["delivered"] == counts["accepted"] >= 50
    assert counts["difference"] == 0
    assert debian.show("NRestarts") == "0"
    # Each arrival is a journal entry that can be asked for by code, by message and by record.
    arrived = [json.loads(line) for line in debian.journal("-o", "json", "AGENT_CODE=I5003").splitlines()]
    assert {entry["RECORD"] for entry in arrived} == {entry["REQUEST"] for entry in arrived} == ids
    assert {entry["MESSAGE_ID"] for entry in arrived} == {message_id("I5003")}
    assert all("平台已接收" in entry["MESSAGE"] for entry in arrived)


def in_force(debian: Machine) -> str:
    """Return the version that is in force."""
    return os.readlink(debian.root / "opt/kiosk-agent/current").removeprefix("versions/")


def reload_good_and_bad(hospital: Hospital) -> None:
    """Hold `systemctl reload` to its answer: taken over, or refused with 78 and the old one kept."""
    debian, process = hospital.machine, hospital.machine.show("MainPID")
    hospital.content["operators"] = {"default": "另一员"}
    hospital.configure()
    debian.run("systemctl", "reload", "kiosk-agent")
    assert "[I8004]" in debian.journal()
    hospital.content["operators"] = {"default": "太长的操作员姓名一共十二字"}
    hospital.configure()
    assert debian.run("systemctl", "reload", "kiosk-agent", check=False).returncode != 0
    assert "status=78" in debian.show("ExecReload")
    assert "E6022" in debian.journal()
    # What only a restart can change is refused as well, by name.
    hospital.content["operators"] = {"default": "另一员"}
    hospital.content["device"]["device_no"] = "0000778"
    hospital.configure()
    assert debian.run("systemctl", "reload", "kiosk-agent", check=False).returncode != 0
    assert "device.device_no" in debian.journal()
    hospital.content["device"]["device_no"] = "0000777"
    # So is what names a file that is not there: at the line that names it, by whoever asks.
    hospital.content["intake"] = {"token": {"file": "/etc/kiosk-agent/none"}}
    hospital.configure()
    assert debian.run("systemctl", "reload", "kiosk-agent", check=False).returncode != 0
    refused = debian.run("kiosk-agent", "reload", check=False)
    assert refused.returncode == 78
    assert re.search(r"config\.yaml:\d+:\d+ E7201 .*intake\.token", refused.stderr)
    del hospital.content["intake"]
    # systemd keeps the data where the unit says, and the daemon is found there whatever the file says.
    hospital.content["state_dir"] = "/srv/elsewhere"
    hospital.configure()
    assert "W6152" in debian.run("kiosk-agent", "check").stdout
    debian.run("kiosk-agent", "reload")
    assert "W8602" not in debian.run("kiosk-agent", "status").stdout
    assert not (debian.root / "srv/elsewhere").exists()
    del hospital.content["state_dir"]
    hospital.configure()
    check_sees_what_the_service_sees(debian)
    the_group_may_ask_and_others_are_told(debian)
    assert (debian.show("ActiveState"), debian.show("MainPID")) == ("active", process)


def the_group_may_ask_and_others_are_told(debian: Machine) -> None:
    """The registrar's account asks the daemon; one that may not does not take it for gone."""
    debian.run("useradd", "--groups=kiosk-agent", "registrar")
    debian.run("useradd", "stranger")

    def by(account: str, *command: str) -> subprocess.CompletedProcess[str]:
        who = ("setpriv", f"--reuid={account}", f"--regid={account}", "--init-groups", "--")
        return debian.run(*who, "kiosk-agent", *command, check=False)

    assert "E8408" in by("registrar", "page", "--print").stderr, "the daemon's own word: it has no page here"
    assert by("registrar", "outbox", "stats").returncode == 0
    assert "W8602" not in by("registrar", "status").stdout
    # Its secrets are systemd's to read: who may not look at them finds no fault in them.
    checked = by("registrar", "check")
    assert (checked.returncode, "W6151" in checked.stdout) == (0, True), checked.stdout
    unknown = by("stranger", "status", "--nagios")
    assert (unknown.returncode, "E8207" in unknown.stdout, "W8602" in unknown.stdout) == (3, True, False)


def check_sees_what_the_service_sees(debian: Machine) -> None:
    """Root's `check` is right about a site in order, and finds what the service's user may not read."""
    debian.run("kiosk-agent", "check")
    config = debian.root / ETC / "config.yaml"
    config.chmod(0o600)
    unread = debian.run("kiosk-agent", "check", check=False)
    assert unread.returncode == 78
    assert "config.yaml:1:1 E6002" in unread.stdout
    assert "kiosk-agent：没有权限" in unread.stdout
    config.chmod(0o644)


def codes_told(debian: Machine) -> set[str]:
    """Return every code in the agent's journal."""
    told = [json.loads(line) for line in debian.journal("-o", "json").splitlines()]
    return {entry["AGENT_CODE"] for entry in told if "AGENT_CODE" in entry}


#: A kiosk that compares by itself and hands its results in, both ways.
KIOSK: dict[str, Any] = {
    "reader": {"source": "none"},
    "console": {"listen": "127.0.0.1:8765"},
    "intake": {"http": True, "token": {"credential": "intake_token"}, "folder": "/srv/kiosk results"},
}
ADDRESS = f"http://{KIOSK['console']['listen']}{PATH}"
#: What such a site is told when all is well; W7502: whether the machine beneath has a source of time.
ALL_WELL = {"W7306", "W7307", "W7502"}
#: What is told meanwhile: the platform comes late, a killed daemon starts again, hostile pictures are refused.
QUIET = {"I8001", "I8401", "I5001", "I5003", "I3001", "I3002", "I3003", "I7501", "W8501", "E4101"}
#: Pixels that no picture needs, announced in a few bytes.
BOMB = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + 2 * (60_000).to_bytes(4, "big") + b"\x08\x02\0\0\0" + bytes(64)


def test_pictures_that_a_kiosk_hands_in_are_looked_at_within_the_units_limits(debian: Machine) -> None:
    hospital = Hospital(debian, KIOSK)
    folder = debian.root / "srv/kiosk results"
    debian.run("install", "-d", "-o", "kiosk-agent", "/srv/kiosk results")
    hospital.put_secret("intake_token", TOKEN)
    hospital.open()
    assert hospital.children() == [], "nobody is looked at here, and no picture has come"
    card, camera = (images.encode(portraits.live(name), 90_000, 90_000) for name in ("collins", "hopper"))
    whole = {"card_picture": base64_of(card), "camera_picture": base64_of(camera)}
    good, dropped = submission(**whole), submission(**whole)
    hostile = [submission(**whole | {"camera_picture": base64_of(one)}) for one in (camera[:-9000], BOMB)]
    hostile.append(submission(**whole | {"card_picture": base64_of(os.urandom(9000))}))
    answers = hospital.hand_in(ADDRESS, TOKEN, *hostile, good)
    assert [status for status, _ in answers] == [400, 400, 400, 201]
    faults = [(fault["code"], fault["pointer"]) for _, body in answers[:3] for fault in body["faults"]]
    assert faults == [("E8515", "/camera_picture")] * 2 + [("E8515", "/card_picture")]
    assert hospital.children() == ["agent.vision.picture_child"]
    # Durable before the answer: killed at once, it is there, and known when it comes again.
    debian.run("sh", "-c", f"kill -KILL {debian.show('MainPID')}")
    wait_for("it is started again", lambda: debian.show("NRestarts") == "1")
    hospital.wait_active()
    wait_for("it listens", lambda: "I8401" in debian.journal(f"_PID={debian.show('MainPID')}"))
    ((status, body),) = hospital.hand_in(ADDRESS, TOKEN, good)
    assert (status, body["record"]) == (200, answers[3][1]["record"])
    hospital.platform()
    draft = folder / ".draft"
    draft.write_text(json.dumps(dropped), "utf-8")
    draft.rename(folder / "result.json")
    wait_for("both arrive", lambda: len(hospital.accepted()) == 2)
    told = {(line["headImgSm3"], line["cameraImgSm3"]) for line in hospital.accepted()}
    assert told == {(sm.sm3(card).hex(), sm.sm3(camera).hex())}, "byte by byte as they were handed in"
    wait_for("the file is gone", lambda: not any(folder.iterdir()))
    # A call that the unit forbids fails quietly, and shows here: in what went wrong, or in what did not end.
    looks = json.loads(debian.run("kiosk-agent", "status", "--json").stdout)
    assert {problem["code"] for problem in looks["problems"]} <= ALL_WELL
    examined = json.loads(debian.run("kiosk-agent", "doctor", "--json").stdout)
    assert {check["code"] for check in examined if not check["ok"]} <= ALL_WELL
    assert codes_told(debian) <= QUIET
    wait_for("the process that looks at pictures goes", lambda: hospital.children() == [])
    assert debian.show("NRestarts") == "1"


HUNG_ONCE = """\
import pathlib, time
from agent import service
from agent.uploader import Uploader
mark = pathlib.Path("/var/lib/kiosk-agent/hung")
if not mark.exists():
    mark.touch()
    Uploader.run = lambda self, beat, stop: time.sleep(10**6)
service.serve(pathlib.Path("/etc/kiosk-agent/config.yaml"))
"""


def test_a_loop_that_hangs_gets_the_service_killed_and_started_again(debian: Machine, deb: Path) -> None:
    hospital = Hospital(debian)
    (debian.root / "srv/hung.py").write_text(HUNG_ONCE, "utf-8")
    drop_in(
        debian,
        "ExecStart=",
        "ExecStart=/opt/kiosk-agent/current/bin/python3 -I /srv/hung.py",
        "WatchdogSec=4",
    )
    hospital.open()
    wait_for("the watchdog bites", lambda: "Watchdog timeout" in debian.journal())
    wait_for("it is started again", lambda: debian.show("NRestarts") == "1")
    hospital.wait_active()
    # Fed again: it outlives the limit.
    fed = debian.show("WatchdogTimestampMonotonic")
    wait_for(
        "the watchdog is fed", lambda: int(debian.show("WatchdogTimestampMonotonic")) > int(fed) + 5_000_000
    )
    assert debian.show("NRestarts") == "1"


def drop_in(debian: Machine, *lines: str) -> None:
    """Add lines to the unit's [Service]."""
    folder = debian.root / "etc/systemd/system/kiosk-agent.service.d"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "test.conf").write_text("\n".join(["[Service]", *lines]) + "\n", "utf-8")


def test_setup_asks_for_secrets_and_a_missing_one_keeps_the_service_from_starting(
    debian: Machine, deb: Path
) -> None:
    hospital = Hospital(debian)
    unasked = debian.run("kiosk-agent", "setup", check=False)
    assert unasked.returncode == 78
    assert "platform.org_app_secret, platform.authorization" in unasked.stderr
    secret, ticket = hospital.credentials.secret, hospital.credentials.ticket
    shown = debian.type(["kiosk-agent", "setup"], [secret, ticket])
    assert "服务已启动" in shown
    assert secret not in shown
    assert (debian.root / ETC / "config.yaml").stat().st_mode & 0o777 == 0o640
    source = debian.root / ETC / "secrets/esb_ticket"
    assert (source.stat().st_mode & 0o777, source.stat().st_uid) == (0o400, 0)
    # Root's own commands see what the service sees.
    debian.run("kiosk-agent", "check")
    hidden = source.rename(source.with_suffix(".away"))
    assert debian.run("systemctl", "restart", "kiosk-agent", check=False).returncode != 0
    assert (debian.show("ExecMainStatus"), debian.show("NRestarts")) == ("243", "0")
    hidden.rename(source)
    debian.run("systemctl", "start", "kiosk-agent")
    the_keys_leave_the_state_directory_and_one_is_replaced(hospital)


def the_keys_leave_the_state_directory_and_one_is_replaced(hospital: Hospital) -> None:
    """As the runbook says: into credentials, another main key after them, encrypted to the machine at last."""
    debian, secrets = hospital.machine, "/etc/kiosk-agent/secrets"
    word = debian.root / "root/word"
    word.write_text("four words that nobody else would think of\n")
    passphrase = ("--passphrase-file", "/root/word")
    debian.run("kiosk-agent", "keys", "backup", "/root/backup", *passphrase)
    debian.run("kiosk-agent", "keys", "init", "--from", "/root/backup", "--out", secrets, *passphrase)
    names = {name: f"{name}_key" for name in ("seal", "audit", "pseudonym")}
    hospital.content["keys"] = {name: {"credential": file} for name, file in names.items()}
    hospital.configure()
    first = service_with_keys(debian)
    debian.run("sh", "-c", "rm /var/lib/kiosk-agent/keys/*.key")
    assert "W7306" not in debian.run("kiosk-agent", "status").stdout

    debian.run("kiosk-agent", "keys", "init", "--out", "/root/new")
    debian.run("mv", "/root/new/seal_key", f"{secrets}/seal_key.next")
    second = service_with_keys(debian)
    assert second != first
    debian.run("mv", f"{secrets}/seal_key.next", f"{secrets}/seal_key")
    assert service_with_keys(debian) == second

    if debian.run("which", "systemd-creds", check=False).returncode != 0:
        nothing_is_encrypted_here(debian, f"{secrets}/seal_key")
        return
    for name in names.values():
        debian.run(
            "systemd-creds", "encrypt", f"--name={name}", f"{secrets}/{name}", f"{secrets}/{name}.cred"
        )
        debian.run("rm", f"{secrets}/{name}")
    assert service_with_keys(debian) == second
    assert "LoadCredentialEncrypted=seal_key" in debian.run("systemctl", "cat", "kiosk-agent").stdout


def nothing_is_encrypted_here(debian: Machine, secret: str) -> None:
    """A systemd before 250: what is encrypted is refused by name, before anything is written; without it all is well."""
    debian.run("mv", secret, f"{secret}.cred")
    assert "E7209" in debian.run("kiosk-agent", "check", check=False).stdout
    assert "E7209" in debian.run("kiosk-agent", "setup", check=False).stderr
    assert "Encrypted" not in debian.run("systemctl", "cat", "kiosk-agent").stdout
    assert debian.show("ActiveState") == "active"
    debian.run("mv", f"{secret}.cred", secret)
    service_with_keys(debian)


def service_with_keys(debian: Machine) -> str:
    """Hand over what there is; look at records and trail beside the service and without it. Return the key's id."""
    debian.run("kiosk-agent", "setup")
    debian.run("kiosk-agent", "check")
    for act in ("is-active", "stop"):
        debian.run("systemctl", act, "kiosk-agent")
        debian.run("kiosk-agent", "outbox", "verify")
        debian.run("kiosk-agent", "audit", "verify")
    started = debian.run("systemctl", "start", "kiosk-agent", check=False)
    assert started.returncode == 0, debian.journal("--lines=30")
    return str(json.loads(debian.run("kiosk-agent", "status", "--json").stdout)["kek"])


def changed(deb: Path, version: str, module: str, addition: str) -> Path:
    """Return the package as another version, with lines added to one module of the agent."""
    source = (ROOT / module).read_text("utf-8")
    return variant(deb, version, {module: source + addition})


def test_a_version_that_does_not_fit_leaves_the_running_one_alone(debian: Machine, deb: Path) -> None:
    hospital = Hospital(debian)
    hospital.open()
    process = debian.show("MainPID")
    stricter = (
        "\n\ndef findings(config, tree):\n    yield Finding(tree.file, tree.place(('lang',)), 'E6021', {})\n"
    )
    refused = changed(deb, "0.3.0", "agent/config/rules.py", stricter)
    with pytest.raises(AssertionError, match="新版本不接受现有配置"):
        dpkg(debian, refused)
    assert (in_force(debian), debian.show("MainPID")) == (FIRST, process)
    broken = changed(deb, "0.4.0", "agent/service.py", "\n\ndef serve(path):\n    raise SystemExit(1)\n")
    with pytest.raises(AssertionError, match=re.escape(f"新版本未能启动，{FIRST} 已恢复运行")):
        dpkg(debian, broken)
    assert (in_force(debian), debian.show("ActiveState")) == (FIRST, "active")
    # Installed anew when mended.
    dpkg(debian, deb)
    assert debian.run("dpkg", "--audit").stdout == ""
    hospital.wait_active()


def test_a_power_cut_amid_an_upgrade_leaves_a_whole_version(debian: Machine, deb: Path) -> None:
    hospital = Hospital(debian)
    hospital.open()
    newer = variant(deb, NEWER)
    shutil.copy(newer, debian.root / "newer.deb")
    opt = debian.root / "opt/kiosk-agent"
    moments = {
        "files are unpacked": lambda: any((opt / "dist").glob("0.2.0*/lib/python3.*/site-packages/*")),
        "the new version takes its place": lambda: any((opt / "versions").glob("0.2.0*")),
        "it is put in force": lambda: in_force(debian).startswith("0.2.0"),
    }
    for what, come in moments.items():
        debian.run("systemd-run", "--quiet", "--unit=upgrade", "dpkg", "-i", "/newer.deb")
        wait_for(what, come)
        debian.power_cut()
        debian.boot()
        hospital.wait_active()
        debian.run("kiosk-agent", "--version")
    debian.run("dpkg", "-i", "/newer.deb")
    assert in_force(debian).startswith("0.2.0")
    hospital.wait_active()
    assert not any((opt / "versions").glob("*.new"))
    debian.run("sh", "-c", "cd /opt/kiosk-agent/current && sha256sum --check --quiet SHA256SUMS")


def test_removing_keeps_and_purging_destroys_but_nothing_that_waits(debian: Machine, deb: Path) -> None:
    hospital = Hospital(debian)
    hospital.open()
    hospital.registrar(1)
    wait_for("a record is kept that the platform does not get", lambda: waiting(hospital) == 1)
    assert "还有 1 条记录未送达平台" in debian.run("dpkg", "--remove", "kiosk-agent").stdout
    assert not (debian.root / "usr/bin/kiosk-agent").exists()
    assert not (debian.root / "opt/kiosk-agent").exists()
    dpkg(debian, deb)
    assert debian.show("ActiveState") == "active", "installed again it goes on where it stopped"
    assert waiting(hospital) == 1
    refused = debian.run("dpkg", "--purge", "kiosk-agent", check=False)
    assert refused.returncode != 0
    assert "未销毁任何数据" in refused.stderr
    assert (debian.root / "var/lib/kiosk-agent/outbox.db").exists()
    (debian.root / "var/lib/kiosk-agent/destroy").touch()
    assert "已销毁密钥" in debian.run("dpkg", "--purge", "kiosk-agent").stdout
    left = [place for place in LEFT if (debian.root / place).exists()]
    assert left == []
    debian.run("systemctl", "daemon-reload")
    assert debian.show("LoadState") == "not-found"


def waiting(hospital: Hospital) -> int:
    """Return how many records the platform does not have."""
    counts = hospital.stats()
    return int(counts["ready"] + counts["sending"] + counts["held"])


#: Everything that the package and the service make.
LEFT = (
    ETC,
    "opt/kiosk-agent",
    "usr/bin/kiosk-agent",
    "usr/lib/kiosk-agent",
    "usr/share/doc/kiosk-agent",
    "var/lib/kiosk-agent",
    "run/kiosk-agent",
    "etc/systemd/system/kiosk-agent.service.d",
    "etc/systemd/system/multi-user.target.wants/kiosk-agent.service",
)


def test_read_only_root_another_name_another_zone(debian: Machine) -> None:
    hospital = Hospital(debian)
    hospital.open()
    debian.power_cut()
    inside, state = debian.root / "var/lib/kiosk-agent", debian.upper.parent / "state"
    subprocess.run(["cp", "-a", str(inside), str(state)], check=True)
    # A summer time to be wrong by, too.
    (debian.root / "etc/localtime").unlink()
    (debian.root / "etc/localtime").symlink_to("/usr/share/zoneinfo/America/New_York")
    shared = f"--bind={state}:/var/lib/kiosk-agent"
    debian.boot("--read-only", shared, "--hostname=another-desk")
    hospital.wait_active()
    assert "E3122" not in debian.journal(), "the machine is the same one under another name"
    hospital.platform()
    hospital.registrar(1)
    wait_for("a record arrives", lambda: len(hospital.accepted()) == 1)
    told = hospital.accepted()[0]["verifyTime"]
    said = datetime.strptime(f"{told} +0800", "%Y-%m-%d %H:%M:%S %z")
    assert abs(datetime.now(SHANGHAI) - said) < timedelta(minutes=5)


def test_the_bundle_installs_and_removes_without_a_package_manager(deb: Path) -> None:
    with machine(SUITE) as debian:
        installed_from(debian, deb)


def installed_from(debian: Machine, deb: Path) -> None:
    """Install, upgrade, refuse and purge by install.sh."""
    (bundle,) = deb.parent.glob("kiosk-agent-*-py3.*.tar")
    subprocess.run(["tar", "-C", str(debian.root / "srv"), "-xf", str(bundle)], check=True)
    folder = f"/srv/{bundle.stem}"
    assert "kiosk-agent 已安装，尚未启动" in debian.run(f"{folder}/install.sh").stdout
    hospital = Hospital(debian)
    hospital.open()
    debian.run(f"{folder}/install.sh")
    assert in_force(debian).endswith(f"+{RELEASE}-2")
    hospital.wait_active()
    # One byte changed on the way, and nothing is installed.
    wheel = next((debian.root / folder.lstrip("/") / "wheels").glob("click-*.whl"))
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"!")
    assert "文件校验失败" in debian.run(f"{folder}/install.sh", check=False).stderr
    debian.run(f"{folder}/install.sh", "--purge", "--yes")
    assert [place for place in LEFT if (debian.root / place).exists()] == []


def test_systemd_257_and_an_interpreter_that_comes_along(deb: Path) -> None:
    assert deb.exists(), "its fixture says whether systems can be booted at all"
    with quick_folder() as folder, machine("trixie") as debian:
        other = package("debian13", folder)
        assert "systemd 257" in debian.run("systemctl", "--version").stdout
        dpkg(debian, other)
        verified_and_exposed(debian, 1.3)
        hospital = Hospital(debian)
        hospital.platform()
        hospital.open()
        verified_and_exposed(debian, 1.2)
        hospital.registrar(1)
        wait_for("a record arrives", lambda: len(hospital.accepted()) == 1)
        assert hospital.accepted()[0]["faceResult"] == "1"
        debian.run("systemctl", "reload", "kiosk-agent")
        debian.run("systemctl", "stop", "kiosk-agent")
        assert debian.show("Result") == "success"
