"""`doctor` beside real parts: reader and platform simulated as processes, sockets, certificates, held devices."""

from __future__ import annotations

import datetime as dt
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from e2e_support import Site, free_port, wait_for

from agent.catalogue import entry
from agent.cli.doctor_words import FACTS, LABELS
from agent.clock import SystemClock
from agent.config import Config, load
from agent.ops import conditions, devices, host, machine, reach
from agent.ops.checking import Check, Found, Result, run
from agent.ops.doctor import Doctor
from agent.ops.reach import Way
from drivers import photo
from drivers.access import Account, holders, may_use

#: What a made-up site on a test machine is told in any case.
USUAL = {"W8602", "W8603", "W7502", "W7306", "W7307", "W8611", "W8612", "W2425"}
NOW = dt.datetime(2026, 11, 24, tzinfo=dt.timezone.utc)


def examined(site: Site) -> dict[str, dict[str, Any]]:
    told = site.cli("doctor", "--json")
    found = {check["check"]: check for check in json.loads(told.stdout)}
    assert set(found) <= set(LABELS), "each has a name on a Chinese screen"
    seen = {fact for check in found.values() if check["ok"] for fact in check["facts"]}
    assert seen <= set(FACTS), "and so has what it saw"
    return found


def codes(found: dict[str, dict[str, Any]]) -> set[str]:
    return {check["code"] for check in found.values() if check["code"]} - USUAL


def looked(look: Found) -> Result:
    """Return one look as `doctor` would tell it."""
    return run([Check("it", lambda: look)], 60)[0]


def of_machine(condition: str, path: Path, *, daemon: bool = True) -> str | None:
    """Return a condition's code where `path` is the state directory and the root of the file system."""
    found = conditions.NAMED[condition].found({"daemon": daemon, "machine": host.look(path, path)}, NOW)
    assert found is not None
    return found[0]


def changed(config: Config, section: str, **values: Any) -> Config:
    part = getattr(config, section).model_copy(update=values)
    return config.model_copy(update={section: part})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


@pytest.fixture
def config(site: Site) -> Config:
    return load(site.config)


def test_without_a_daemon_every_part_is_looked_at_and_with_one_it_is_asked(site: Site) -> None:
    with site.platform(), site.reader(1):
        alone = examined(site)
        assert codes(alone) == set()
        assert alone["daemon"]["code"] == "W8602"
        assert alone["signature"]["facts"] == {"device": "0000777"}
        assert (alone["desk"]["follows"], alone["intake"]["ok"]) == ("daemon", True)
        assert alone["reader"]["facts"]["sam_id"].count("-") >= 3
        assert abs(int(alone["skew"]["facts"]["seconds"])) < 60
        with site.daemon() as daemon:
            wait_for("the reader is ready", lambda: "[I1003]" in daemon.text())
            wait_for("the device is registered", lambda: "[I5004]" in daemon.text())
            beside = examined(site)
            assert codes(beside) == set()
            assert beside["daemon"]["code"] is None
            assert not any(check["follows"] for check in beside.values())
            assert beside["reader"]["facts"]["state"] == "ok"
            assert beside["signature"]["facts"]["state"] == "ok"
            assert daemon.terminate(20) == 0
    assert list(alone) == list(beside)


def test_a_failure_is_told_once_and_what_needs_it_follows(site: Site) -> None:
    found = examined(site)
    assert (found["port"]["code"], found["reader"]["follows"]) == ("E1101", "port")
    assert (found["line"]["code"], found["certificate"]["follows"]) == ("E4101", "line")
    assert (found["skew"]["follows"], found["signature"]["follows"]) == ("line", "line")
    assert (found["port"]["who"], found["port"]["do"][0][:2]) == ("it", "检查")
    told = site.cli("doctor")
    assert told.returncode == 1
    assert "未检查：先解决 读卡器端口" in told.stdout


def test_a_wrong_secret_is_found_at_the_signature(site: Site) -> None:
    with site.platform():
        (site.folder / "org_app_secret").write_text("not-the-secret!!\n")
        found = examined(site)
    assert found["line"]["ok"]
    assert found["signature"]["severity"] == "error"
    assert "not-the-secret" not in json.dumps(found)


def test_whatever_hangs_is_named_within_the_time() -> None:
    release = threading.Event()

    def hang() -> Found:
        release.wait()
        return None, {}

    def broken() -> Found:
        raise ZeroDivisionError

    checks = [Check("a", hang), Check("b", lambda: (None, {}), ("a",)), Check("c", broken)]
    results = run(checks, 0.2)
    release.set()
    assert (results[0].code, results[2].code) == ("E8604", "E8203")
    # At the very end of the time: whether the follower was still told or not, it is not called broken.
    assert results[1].follows == "a" or results[1].code == "E8604"


def test_loops_that_do_not_answer_and_a_clock_behind_are_told(config: Config) -> None:
    loop = {"name": "uploader", "late_s": 3.0, "alive": True, "restarts": 0}
    live = {"daemon": True, "loops": [loop], "topics": {}, "version": "1", "clock_trust": "behind"}
    doctor = Doctor(config, lambda: live, {"status": live}.__getitem__, SystemClock())
    found = {result.check: result for result in doctor.examine()}
    assert (found["loops"].code, found["loops"].facts["loops"]) == ("E8605", "uploader")
    assert found["clock"].code == "E7503"


# --- the machine ------------------------------------------------------------------------------------


def test_somebody_else_who_owns_our_names_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account("x", os.geteuid(), frozenset())
    assert machine.package(account)[0] is None
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("drivers\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    result = looked(machine.package(account))
    assert (result.code, result.facts) == ("E8601", {"name": "drivers", "owner": "other"})


def test_a_journal_in_memory_is_told(tmp_path: Path) -> None:
    assert of_machine("journal", tmp_path) is None
    (tmp_path / "run/log/journal").mkdir(parents=True)
    assert of_machine("journal", tmp_path) == "W8603"
    (tmp_path / "var/log/journal").mkdir(parents=True)
    assert of_machine("journal", tmp_path) is None


def test_a_state_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    assert of_machine("disk", tmp_path / "none") == "E8302"
    assert of_machine("disk", tmp_path / "none", daemon=False) is None, "the first start makes it"
    assert of_machine("disk", tmp_path) is None
    (tmp_path / "somebody's").mkdir(0o500)
    os.chown(tmp_path / "somebody's", 64321, 64321)
    assert of_machine("disk", tmp_path / "somebody's") == "E8302"


@pytest.mark.parametrize(
    ("free", "ballast", "code"),
    [(70, False, "E3119"), (70, True, None), (15, True, "E3119"), (90, False, None), (15, None, "E3119")],
)
def test_a_disk_is_full_when_no_new_record_would_be_taken(
    free: int, ballast: bool | None, code: str | None
) -> None:
    machine = {"hindrance": None, "state_dir": "/x", "free": free * 2**20, "ballast": ballast}
    found = conditions.NAMED["disk"].found({"daemon": True, "machine": machine}, NOW)
    assert found is not None
    assert found[0] == code


def test_the_kernel_knows_whether_a_source_of_time_sets_the_clock(tmp_path: Path) -> None:
    assert of_machine("time source", tmp_path) in {None, "W7502"}


def test_a_taken_address_is_told(config: Config) -> None:
    port = free_port()
    ours = changed(config, "console", listen=f"127.0.0.1:{port}")
    assert looked(machine.listening(ours, daemon=False)).code is None
    with HTTPServer(("127.0.0.1", port), BaseHTTPRequestHandler):
        assert looked(machine.listening(ours, daemon=False)).code == "E8401"
        assert looked(machine.listening(ours, daemon=True)).code is None, "the daemon's own"


def test_a_record_that_waits_for_days_is_told() -> None:
    queue = {"waiting": 3, "oldest_waiting": (NOW - dt.timedelta(hours=30)).isoformat()}
    age = conditions.NAMED["queue"]
    assert age.found({"queue": queue}, NOW) == ("W3150", {"waiting": 3, "hours": "30.0"})
    assert age.found({"queue": queue}, NOW - dt.timedelta(hours=20)) == (
        None,
        {"waiting": 3, "hours": "10.0"},
    )


# --- devices ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "owner", "group", "may"),
    [
        (0o660, 0, 20, True),  # by group dialout
        (0o660, 0, 5, False),
        (0o600, 7, 5, True),  # by ownership
        (0o060, 7, 20, False),  # the owner's class decides, though the group would do
        (0o640, 0, 20, False),  # reading is not enough
        (0o666, 0, 5, True),
    ],
)
def test_the_first_class_that_an_account_belongs_to_decides(
    mode: int, owner: int, group: int, may: bool
) -> None:
    assert may_use(mode, owner, group, 7, {20, 44}) is may
    assert may_use(0, 1, 1, 0, set())


@contextmanager
def held(path: Path) -> Iterator[int]:
    program = "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield holder.pid


def test_who_holds_a_device_is_named(tmp_path: Path, config: Config) -> None:
    port = tmp_path / "port"
    port.touch()
    account = Account("x", os.geteuid(), frozenset())
    reader = changed(config, "reader", port=str(port))
    assert devices.reader_port(reader, account, daemon=False)[0] is None
    with held(port) as pid:
        assert [holder.pid for holder in holders(port)] == [pid]
        result = looked(devices.reader_port(reader, account, daemon=False))
        assert result.code == "E1114"
        assert result.facts["holder"].startswith("python")
        assert result.facts["holder"].endswith(f"({pid})")
    if os.access("/dev/shm", os.W_OK):
        lens = Path("/dev/shm") / f"kiosk-agent-test-{os.getpid()}"
        lens.touch()
        try:
            camera = changed(config, "camera", source=str(lens))
            with held(lens):
                assert looked(devices.camera_device(camera, account, daemon=False)).code == "E2150"
        finally:
            lens.unlink()


def test_a_fault_that_the_daemon_knows_of_is_told_with_its_facts() -> None:
    facts = {"expected": "05.01-1", "received": "05.01-2"}
    topics = {"reader": {"state": "down", "code": "E1109", "facts": facts}}
    code, found = conditions.NAMED["reader"].found({"topics": topics}, NOW) or (None, {})
    assert code == "E1109"
    assert facts.items() <= found.items()
    assert "05.01-2" in entry("E1109").title("en", found)
    well = {"topics": {"reader": {"state": "ok", "sam_id": "x", "since": "y"}}}
    assert conditions.NAMED["reader"].found(well, NOW) == (None, {"state": "ok", "sam_id": "x"})


def test_missing_rights_name_the_group(tmp_path: Path, config: Config) -> None:
    port = tmp_path / "port"
    port.touch(mode=0o600)
    stranger = Account("kiosk-agent", 64321, frozenset({64321}))
    reader = changed(config, "reader", port=str(port))
    result = looked(devices.reader_port(reader, stranger, daemon=False))
    assert result.code == "E1102"
    assert "mode 0600 of" in result.facts["reason"]
    assert (
        looked(devices.reader_port(changed(config, "reader", port="/none"), stranger, daemon=False)).code
        == "E1101"
    )


@pytest.mark.parametrize(
    ("program", "fails"),
    [
        ("cat >/dev/null; exit 3", False),  # refuses a blank block, as it should
        ("cat >/dev/null; printf 'BM'", False),
        ("cat >/dev/null; kill -SEGV $$", True),
        ("exec sleep 60", True),
        (None, True),
    ],
)
def test_a_decoder_is_fine_when_it_starts_and_answers(
    tmp_path: Path, config: Config, program: str | None, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "decoder"
    if program is not None:
        script.write_text(f"#!/bin/sh\n{program}\n")
        script.chmod(0o755)
    chosen = config.reader.photo_decoder.model_copy(
        update={"kind": "command", "command": (str(script),), "timeout_s": 1}
    )
    result = run(
        [Check("decoder", lambda: devices.decoder(changed(config, "reader", photo_decoder=chosen)))], 60
    )
    assert result[0].code == ("E1301" if fails else None)
    assert photo.PHOTO_BYTES == 1024


def test_a_decoder_that_failed_on_a_real_card_fails(config: Config) -> None:
    topics = {
        "decoder": {"state": "down", "code": "E1301", "facts": {"reason": "the decoder ended with status 3"}}
    }
    live = {"daemon": True, "topics": topics}
    checks = Doctor(config, lambda: live, {"status": live}.__getitem__, SystemClock()).checks()
    found = run([one for one in checks if one.name in {"daemon", "database", "decoder"}], 60)
    assert [one.code for one in found if one.check == "decoder"] == ["E1301"]
    assert found[-1].facts["reason"] == "the decoder ended with status 3"


def test_a_process_that_cannot_look_at_pictures_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check("pictures", devices.pictures)
    assert run([check], 60)[0].code is None
    monkeypatch.setattr("agent.vision.pictures.program", lambda _module: ["/bin/false"])
    (found,) = run([check], 60)
    assert (found.code, found.facts) == ("E2308", {"reason": "it ended with status 1"})


def test_a_camera_that_is_not_there_is_told_without_its_password(config: Config) -> None:
    closed = free_port()
    source = f"rtsp://nurse:hunter2@127.0.0.1:{closed}/live"
    camera = changed(config, "camera", source=source)
    assert looked(devices.camera_device(camera, Account("x", 0, frozenset()), daemon=False)).code is None
    result = run([Check("c", lambda: devices.camera_frame(camera))], 60)[0]
    assert result.code == "E2101"
    assert "hunter2" not in str(result.facts)
    assert "nurse" not in str(result.facts)


def test_where_a_kiosk_compares_its_devices_are_not_ours_to_look_at(config: Config, tmp_path: Path) -> None:
    stranger = Account("x", 65534, frozenset())
    desk = changed(config, "face", weights_dir=str(tmp_path))
    desk = changed(desk, "camera", source="/dev/video-nowhere")

    def found(config: Config) -> list[str | None]:
        looks: list[Callable[[], Found]] = [
            lambda: devices.reader_port(config, stranger, daemon=False),
            lambda: devices.reader(config),
            lambda: devices.camera_device(config, stranger, daemon=False),
            lambda: devices.camera_frame(config),
            lambda: devices.models(config),
        ]
        return [run([Check("it", look)], 60)[0].code for look in looks]

    assert found(desk) == ["E1101", "E1101", "E2101", "E2101", "E2201"]
    assert found(changed(desk, "reader", source="none")) == [None] * 5


# --- the way to the platform ------------------------------------------------------------------------


def platform_at(config: Config, url: str, **more: Any) -> Config:
    return changed(config, "platform", base_url=url, **more)


def test_an_unknown_name_and_a_closed_port_are_two_findings(config: Config) -> None:
    assert looked(Way(platform_at(config, "http://no.such.host.invalid:1")).name()).code == "E4120"
    way = Way(platform_at(config, f"http://127.0.0.1:{free_port()}"))
    assert looked(way.name()).code is None
    assert looked(way.line()).code == "E4101"
    through = Way(platform_at(config, "http://10.0.0.1", proxy=f"http://127.0.0.1:{free_port()}"))
    assert looked(through.line()).code == "E4107"


class _Server(HTTPServer):
    ahead = dt.timedelta()


class _Dated(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def date_time_string(self, timestamp: float | None = None) -> str:
        assert isinstance(self.server, _Server)
        return f"{dt.datetime.now(dt.timezone.utc) + self.server.ahead:%a, %d %b %Y %H:%M:%S GMT}"

    def log_message(self, *_: object) -> None:
        """Keep the screen clean."""


@contextmanager
def serving(server: HTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(("ahead_s", "code"), [(0, None), (3600, "W7501"), (-90, "W7501")])
def test_the_platforms_date_shows_how_far_our_clock_is_off(
    config: Config, ahead_s: int, code: str | None
) -> None:
    server = _Server(("127.0.0.1", 0), _Dated)
    server.ahead = dt.timedelta(seconds=ahead_s)
    with serving(server) as port:
        way = Way(platform_at(config, f"http://127.0.0.1:{port}"))
        result = run([Check("skew", lambda: way.clock(SystemClock()))], 60)[0]
    assert result.code == code
    assert int(result.facts["seconds"]) == pytest.approx(-ahead_s, abs=30)


def test_half_a_second_behind_is_no_minus_nothing() -> None:
    assert reach._skew(dt.timedelta(seconds=-0.4)) == (None, {"seconds": "+0"})
    assert reach._skew(dt.timedelta(seconds=-61)) == ("W7501", {"seconds": "-61"})


def certificate(folder: Path, issuer: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)])
    now = dt.datetime.now(dt.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "cert.pem").write_bytes(pem)
    (folder / "both.pem").write_bytes(pem + secret)
    return folder / "cert.pem"


def test_a_certificate_that_does_not_verify_is_told_with_its_issuer(tmp_path: Path, config: Config) -> None:
    trusted = certificate(tmp_path, "Gateway of the Hospital")
    server = _Server(("127.0.0.1", 0), _Dated)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server) as port:
        url = f"https://localhost:{port}"
        known = Way(platform_at(config, url, ca_file=str(trusted)))
        assert "Gateway of the Hospital" in looked(known.certificate()).facts["issuer"]
        unknown = Way(platform_at(config, url))
        result = looked(unknown.certificate())
    assert result.code == "E4103"
    assert "Gateway of the Hospital" in result.facts["detail"]
    assert looked(Way(platform_at(config, "http://127.0.0.1:1")).certificate()).facts == {"tls": "none"}
