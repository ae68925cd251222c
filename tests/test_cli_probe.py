"""`probe` as a field engineer types it: at a terminal, into a file, with Ctrl-C, against every obstacle."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import codes_seen
import pytest
import yaml
from e2e_support import Site, wait_for

from agent import inservice
from agent.clock import SystemClock
from agent.config import load
from agent.ownership import owning
from agent.simulate import site
from agent.simulate.dialect import Dialect
from agent.simulate.faults import Faults
from agent.simulate.platform import SimulatedPlatform
from agent.uploader.memory import RememberedSigning

PATIENCE_S = 60
COMMAND = [sys.executable, "-m", "agent", "probe"]


class Bench:
    """A platform, and a site that is to be commissioned with it."""

    def __init__(self, folder: Path, dialect: Dialect) -> None:
        self.credentials = site.Credentials.made_up()
        self.platform = SimulatedPlatform(
            self.credentials.secret, site.ORG_APP_ID, self.credentials.ticket, dialect=dialect
        )
        self.config = site.build(
            folder / "site", self.credentials, base_url=self.platform.url, reader_port="auto", camera="none"
        )

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the command without a terminal."""
        arguments = [*COMMAND, "--config", str(self.config), "--interval", "0", "--yes", *options]
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        codes_seen.saw(done.stdout, done.stderr)
        return done

    def verb(self, *verb: str) -> subprocess.CompletedProcess[str]:
        """Run another verb of this site without a terminal."""
        done = subprocess.run(
            [*COMMAND[:-1], *verb, "--config", str(self.config)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        codes_seen.saw(done.stdout, done.stderr)
        return done

    def json(self, *options: str) -> tuple[int, dict[str, Any]]:
        done = self.run("--json", *options)
        found: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path, Dialect(sign_encoding="base64", cipher_encoding="hex"))
    with one.platform:
        yield one


class Terminal:
    """The command at a terminal of its own."""

    def __init__(self, bench: Bench, *options: str) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execv(COMMAND[0], [*COMMAND, "--config", str(bench.config), *options])
        self.shown = ""

    def until(self, text: str) -> None:
        """Read until a text is shown."""
        while text not in self.shown:
            self.shown += self._read().decode("utf-8", "replace")

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def end(self) -> int:
        """Read the rest and return the exit status."""
        with contextlib.suppress(EOFError):
            while True:
                self.shown += self._read().decode("utf-8", "replace")
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> bytes:
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            data = b""
        if not data:
            raise EOFError(self.shown)
        return data


def test_json_names_the_conventions_with_the_keys_of_the_configuration(bench: Bench) -> None:
    status, found = bench.json()
    assert status == 0
    assert found["found"] is True
    assert (found["conventions"]["sign_encoding"], found["conventions"]["cipher_encoding"]) == (
        "base64",
        "hex",
    )
    assert (found["cause"], found["already_registered"]) == (None, False)
    # Put into the file as they are, they are a configuration that the platform understands at once.
    content = yaml.safe_load(bench.config.read_text("utf-8"))
    content["platform"]["conventions"] = found["conventions"]
    bench.config.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    assert load(bench.config).platform.conventions.sign_encoding == "base64"
    status, again = bench.json()
    assert (status, again["requests"], again["already_registered"]) == (0, 1, True)


def test_the_yaml_can_be_pasted_and_says_why_it_is_sure(bench: Bench) -> None:
    done = bench.run("--lang", "en")
    assert done.returncode == 0
    assert "the platform says 200: it read the device's values" in done.stdout
    assert "verifies with our secret (answer_time: auto)" in done.stdout
    pasted = yaml.safe_load(re.search(r"^platform:\n(?:  .*\n)+", done.stdout, re.MULTILINE)[0])  # type: ignore[index]
    assert pasted["platform"]["encrypt"] is True
    assert pasted["platform"]["conventions"]["cipher_encoding"] == "hex"
    assert "sex_width" not in pasted["platform"]["conventions"], "only what was proven"
    assert "Then run kiosk-agent check and kiosk-agent reload" in done.stdout


def test_what_only_a_restart_changes_is_not_left_to_a_reload(bench: Bench) -> None:
    content = yaml.safe_load(bench.config.read_text("utf-8"))
    content["platform"]["encrypt"] = False
    bench.config.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    done = bench.run("--lang", "en")
    assert done.returncode == 0
    assert "Then run kiosk-agent check and systemctl restart kiosk-agent" in done.stdout
    # Switching encryption on needs nobody's word.
    assert "in writing" not in done.stdout


def test_every_step_is_explained_in_both_languages(bench: Bench) -> None:
    zh, en = bench.run(), bench.run("--lang", "en")
    assert "签名被拒：排除这种写法" in zh.stdout
    assert "sign_encoding=base64" in zh.stdout
    assert "the signature is refused: this way is ruled out" in en.stdout
    assert "the signature passed; the cipher is not understood" in en.stdout


def test_without_a_terminal_it_does_not_ask_and_secrets_are_never_shown(bench: Bench) -> None:
    for options in ([], ["--json"], ["--dry-run"], ["--debug"]):
        done = bench.run(*options)
        assert done.returncode == 0
        for secret in (bench.credentials.secret, bench.credentials.ticket):
            assert secret not in done.stdout + done.stderr


def test_a_dry_run_shows_the_request_and_sends_nothing(bench: Bench) -> None:
    done = bench.run("--dry-run")
    assert bench.platform.requests == 0
    assert "hmpt-portal-org-app-id: " + site.ORG_APP_ID in done.stdout
    assert re.search(r"Authorization: … \(\d+\)", done.stdout)
    assert re.search(r"hmpt-portal-sign: [0-9a-f]{6}… \(64\)", done.stdout)
    assert "sign_encoding=base64" in done.stdout
    assert "没有发送任何请求" in done.stdout


def test_a_dry_run_tells_programs_what_is_planned(bench: Bench) -> None:
    done = bench.run("--dry-run", "--json")
    told = json.loads(done.stdout)
    assert bench.platform.requests == 0
    assert told["request"]["url"].endswith("/machine/info")
    assert re.fullmatch(r"… \(\d+\)", told["request"]["headers"]["Authorization"])
    assert (told["planned"][0]["number"], told["planned"][0]["sign_encoding"]) == (1, "hex")
    assert "base64" in {one["sign_encoding"] for one in told["planned"]}
    for secret in (bench.credentials.secret, bench.credentials.ticket):
        assert secret not in done.stdout + done.stderr


def test_at_a_terminal_the_exact_values_are_shown_and_no_sends_nothing(bench: Bench) -> None:
    terminal = Terminal(bench)
    terminal.until("[y/N]")
    for value in ("产科（演示）", "SIM-0000777", "TSR-R3", "2024-06-01", "不能撤销"):
        assert value in terminal.shown
    terminal.type("n\n")
    assert terminal.end() == 130
    assert "没有发送任何请求" in terminal.shown
    assert bench.platform.requests == 0


def test_at_a_terminal_yes_goes_on_a_second_apart(bench: Bench) -> None:
    terminal = Terminal(bench, "--lang", "en")
    terminal.until("[y/N]")
    started = time.monotonic()
    terminal.type("y\n")
    assert terminal.end() == 0
    assert "cipher_encoding: hex" in terminal.shown
    # A lower bound, which a slow machine cannot break.
    assert time.monotonic() - started >= bench.platform.requests - 1


def test_ctrl_c_in_between_says_how_far_it_came(bench: Bench) -> None:
    terminal = Terminal(bench, "--yes", "--interval", "30")
    terminal.until("签名被拒")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert "已中断：问了 1 次" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert bench.platform.requests == 1


def test_ctrl_c_while_an_answer_is_waited_for(bench: Bench) -> None:
    bench.platform.faults = Faults(on="all", hang=1)
    terminal = Terminal(bench, "--yes")
    while bench.platform.requests == 0:
        time.sleep(0.05)
    os.kill(terminal.pid, signal.SIGINT)
    assert terminal.end() == 130
    assert "已中断" in terminal.shown


OBSTACLES: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({}, {"skew": 3600}, "clock", "E5202"),
    ({}, {"unauthorized": 1}, "ticket", "E4303"),
    ({}, {"missing": 1}, "address", "E4302"),
    ({}, {"html": 1}, "page", "E4305"),
    ({}, {"limited": 1}, "lock", "E4306"),
    ({}, {"unavailable": 1}, "busy", "E4201"),
    ({}, {"garbage": 1}, "garbled", "E5002"),
    ({}, {"lost_answer": 1}, "silence", "E4105"),
    ({}, {"wrong_id": 1}, "foreign", "E5209"),
    ({}, {"forge": 1}, "answer_signature", "E5205"),
    ({"sign_template": "{time}|{time}|{id}"}, {}, "secret", "E5201"),
    ({"sm4_key": "sm3", "content_type": "text/json"}, {}, "media", "E4304"),
    ({"sm4_key": "first16", "padding": "zero"}, {"refuse": 1}, "nothing_fits", "E5206"),
]


@pytest.mark.parametrize(("dialect", "faults", "cause", "code"), OBSTACLES, ids=str)
def test_obstacles_are_told_apart_with_69_and_what_to_do(
    bench: Bench, dialect: dict[str, Any], faults: dict[str, Any], cause: str, code: str
) -> None:
    bench.platform.dialect = Dialect(**dialect)
    bench.platform.faults = Faults(on="all", **faults)
    done = bench.run("--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["found"], found["cause"], found["code"]) == (69, False, cause, code)
    assert f"（{code}）" in done.stderr
    assert "  1. " in done.stderr
    if cause == "clock":
        assert found["skew_s"] == pytest.approx(3600, abs=60)
        assert re.search(r"快 \+3[56]\d\d 秒", done.stderr)


@pytest.mark.parametrize("fault", ["lost_answer", "garbage", "unavailable"])
def test_a_probe_without_an_answer_promises_no_record_s_second_try(bench: Bench, fault: str) -> None:
    bench.platform.faults = Faults(on="all", **{fault: 1})
    done = bench.run()
    assert done.returncode == 69
    assert "  1. 没有发出任何记录" in done.stderr
    assert "自动重" not in done.stderr


def test_a_wrong_organisation_a_missing_prefix_and_refused_values(bench: Bench) -> None:
    text = bench.config.read_text("utf-8")
    bench.config.write_text(text.replace(site.ORG_APP_ID, "ORG-OTHER"), "utf-8")
    assert bench.json()[1]["code"] == "E5203"
    bench.config.write_text(text, "utf-8")
    bench.platform._party = bench.platform._judge.party = type(bench.platform._party)(
        bench.credentials.secret.encode(), site.ORG_APP_ID, "Bearer " + bench.credentials.ticket
    )
    assert bench.json()[1]["code"] == "E5207"
    bench.platform._judge.party = type(bench.platform._party)(
        bench.credentials.secret.encode(), site.ORG_APP_ID, bench.credentials.ticket
    )
    bench.platform.dialect = Dialect(length_unit="utf8")
    bench.config.write_text(text.replace("产科（演示）", "产科" * 10), "utf-8")
    status, found = bench.json()
    assert (status, found["code"]) == (69, "E5204")
    assert found["conventions"]["sign_encoding"] == "hex", "what was understood is told all the same"


def test_a_cipher_that_no_key_of_the_secret_opens(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from agent.simulate import wire

    monkeypatch.setattr(wire, "cipher_key", lambda _dialect, _secret: b"of another house")
    bench.platform.dialect = Dialect(answer_time="unsigned")
    assert bench.json()[1]["code"] == "E5208"


def test_a_dead_network_is_told_with_the_network_s_own_code(bench: Bench) -> None:
    bench.platform.close()
    status, found = bench.json()
    assert (status, found["cause"], found["code"], found["requests"]) == (69, "network", "E4101", 1)


def test_a_real_platform_is_not_asked_faster_than_once_a_second(bench: Bench) -> None:
    text = bench.config.read_text("utf-8").replace(bench.platform.url, "http://192.0.2.1:8080")
    bench.config.write_text(re.sub(r"kind: simulated", "kind: command", text), "utf-8")
    done = bench.run()
    assert (done.returncode, "--interval" in done.stderr) == (2, True)
    assert bench.run("--max-requests", "41").returncode == 2


def test_an_installation_that_saw_signed_answers_doubts_unsigned_ones_in_every_verb(bench: Bench) -> None:
    config = load(bench.config)
    with owning(config, SystemClock()) as own:
        RememberedSigning(own.outbox, config.platform.base_url).saw()
    bench.platform.dialect = Dialect(answer_time="unsigned")
    done = bench.run()
    assert done.returncode == 69
    assert "接受，但应答没有签名，而此前的都有" in done.stdout
    assert "还不能用" in done.stdout
    assert "（没有签名）" in done.stderr
    assert "kiosk-agent platform accept-unsigned" in done.stderr
    assert bench.json()[1]["cause"] == "unsigned"
    registered = bench.verb("register", "--yes")
    assert (registered.returncode, "（E5009）" in registered.stderr) == (75, True)
    assert bench.verb("platform", "accept-unsigned", "--yes").returncode == 0
    assert bench.json()[0] == 0
    assert bench.verb("register", "--yes").returncode == 0


# --- the trail ----------------------------------------------------------------------------------------


def probed(bench: Bench) -> list[dict[str, Any]]:
    """Return what the audit trail of the bench's site says of probes."""
    path = Path(load(bench.config).state_dir) / "audit.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [line for line in lines if line["what"] == "platform.probed"]


def test_a_probe_before_anything_is_installed_makes_nothing(bench: Bench) -> None:
    state = Path(load(bench.config).state_dir)
    assert not state.exists()
    assert bench.json()[0] == 0
    assert bench.platform.ledger.devices()
    assert not state.exists()
    state.mkdir()
    assert bench.json()[0] == 0
    assert list(state.iterdir()) == [], "a trail is begun by the service, not by a probe"


def test_a_probe_is_in_the_trail_with_who_asked_and_what_came_of_it(bench: Bench) -> None:
    config = load(bench.config)
    with owning(config, SystemClock()):
        pass
    bench.run("--dry-run")
    assert bench.json()[0] == 0
    bench.platform.faults = Faults(missing=1, on="all")
    assert bench.json()[0] == 69
    first, second = probed(bench)
    assert (first["object"], first["device"]) == (config.platform.base_url, config.device.device_no)
    assert first["who"] not in {"", "service"}
    assert (first["result"], first["registered"]) == ("found", "yes")
    assert (second["result"], second["registered"], second["requests"]) == ("address", "no", "1")


def test_a_probe_beside_a_daemon_is_written_down_by_it(tmp_path: Path) -> None:
    site_ = Site(tmp_path / "site")
    with site_.platform(), site_.daemon() as daemon:
        wait_for("I5001", lambda: "I5001" in daemon.text())
        assert site_.cli("probe", "--yes", "--interval", "0", "--json").returncode == 0
        lines = (Path(load(site_.config).state_dir) / "audit.jsonl").read_text("utf-8")
    (line,) = [json.loads(text) for text in lines.splitlines() if '"platform.probed"' in text]
    assert (line["result"], line["registered"], line["requests"]) == ("found", "already", "1")


def test_an_interrupted_probe_is_written_down(bench: Bench) -> None:
    with owning(load(bench.config), SystemClock()):
        pass
    bench.platform.faults = Faults(delay=2, on="all")
    terminal = Terminal(bench, "--yes")
    terminal.until("→")
    os.kill(terminal.pid, signal.SIGINT)
    assert terminal.end() != 0
    (line,) = probed(bench)
    assert line["result"] == "interrupted"


def test_a_device_out_of_service_is_probed_as_one(bench: Bench) -> None:
    config = load(bench.config)
    with owning(config, SystemClock()) as own:
        inservice.say(own.outbox, config.device, inservice.DISABLED, "somebody", own.clock.now())
    done = bench.run()
    assert "1（停用）" in done.stdout
    device = (config.device.machine_code, config.device.device_no)
    assert device in bench.platform.ledger.devices()
    assert not bench.platform.ledger.enabled(device)


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may act for another user")
def test_root_probes_with_secrets_that_are_the_service_user_s_own() -> None:
    # Not below pytest's own folder, which nobody else may enter.
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), Dialect())
        state = Path(load(bench.config).state_dir)
        state.mkdir(mode=0o700)
        for path in (state, *(bench.config.parent / name for name in ("org_app_secret", "esb_ticket"))):
            os.chown(path, 65534, 65534)
        for above in (bench.config.parent, bench.config.parent.parent):
            above.chmod(0o755)
        with bench.platform:
            status, found = bench.json()
        assert (status, found["found"]) == (0, True)
