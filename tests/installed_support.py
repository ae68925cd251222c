"""The built package, and a made-up hospital inside a booted system: simulators, secrets, configuration."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import yaml
from booted_support import Machine, cache
from e2e_support import wait_for

from agent.simulate import portraits, site

ROOT = Path(__file__).parent.parent
ETC = "etc/kiosk-agent"
PORT = 8080
LEDGER = "/run/platform/ledger"
#: The Python that a release brings, where the tests let the package use it.
BRINGS = {"debian12": (3, 11), "ubuntu2204": (3, 10), "ubuntu2404": (3, 12)}
#: Lays cards down as a person does: the next one when this one was accepted, once more when nothing comes of it.
REGISTRAR = f"""
import pathlib, sys, time
from agent.simulate import portraits
from drivers.simulator import cards
from drivers.simulator.reader import SimulatedReader
ledger, laid = pathlib.Path("{LEDGER}"), cards.generate(1, int(sys.argv[1]))
accepted = lambda: ledger.read_text().count("requestId") if ledger.exists() else 0
with SimulatedReader(laid, [portraits.path("collins")]) as reader:
    reader.link(pathlib.Path("/run/simulated/reader"))
    for card in laid:
        before = accepted()
        while accepted() == before:
            reader.place(card)
            given_up = time.monotonic() + 20
            while accepted() == before and time.monotonic() < given_up:
                time.sleep(0.05)
            reader.lift()
            time.sleep(0.4)
    time.sleep(10**6)
"""
#: Hands files in as a kiosk's program does, with what any Debian has. Prints each answer's status and body.
KIOSK = """
import json, sys, urllib.error, urllib.request
address, token, *files = sys.argv[1:]
for file in files:
    headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
    request = urllib.request.Request(address, open(file, "rb").read(), headers)
    try:
        answer = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        answer = error
    print(json.dumps([answer.status, json.load(answer)]))
"""


def package(release: str, out: Path) -> Path:
    """Build .deb and bundle for a release. Return the .deb, uncompressed: packing takes longest, proves nothing.

    The release's own Python when the tests run under the same minor version, else one that is taken along.
    """
    command = [sys.executable, str(ROOT / "packaging/build.py"), "--compression", "none"]
    command += ["--release", release, "--out", str(out), "--work", str(out / "work"), "--cache", str(cache())]
    if sys.version_info[:2] != BRINGS.get(release):
        archive = python_dist(out)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        command += ["--what", "deb", "--python-dist", str(archive), "--sha256", digest]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(out / "work")
    (deb,) = out.glob(f"*+{release}_*.deb")
    return deb


def python_dist(out: Path) -> Path:
    """Pack an interpreter as one to take along: Debian's own, which needs no library beside it, else the tests'."""
    minor = "python{}.{}".format(*sys.version_info)
    base = next(base for base in (Path("/usr"), Path(sys.base_prefix)) if (base / "bin" / minor).exists())
    stage = out / "python"
    (stage / "bin").mkdir(parents=True)
    (stage / "lib").mkdir()
    shutil.copy((base / "bin" / minor).resolve(), stage / "bin" / minor)
    (stage / "bin/python3").symlink_to(minor)
    leave_out = shutil.ignore_patterns(
        "test", "tests", "__pycache__", "site-packages", "dist-packages", "idlelib", "config-*"
    )
    shutil.copytree(base / "lib" / minor, stage / "lib" / minor, ignore=leave_out)
    archive = out / "python.tar"
    subprocess.run(["tar", "-C", str(out), "-cf", str(archive), "python"], check=True)
    return archive


def variant(deb: Path, version: str, changes: Mapping[str, str] | None = None) -> Path:
    """Repack a .deb as another version, with modules of the program replaced: path in site-packages -> text."""
    stage = deb.parent / f"variant-{version}"
    subprocess.run(["dpkg-deb", "-R", str(deb), str(stage)], check=True)
    (dist,) = (stage / "opt/kiosk-agent/dist").iterdir()
    old = dist.name
    for script in (stage / "DEBIAN").iterdir():
        script.write_text(script.read_text("utf-8").replace(old, version), "utf-8")
    packages = next(dist.glob("lib/python*/site-packages"))
    for name, text in (changes or {}).items():
        (packages / name).write_text(text, "utf-8")
        # The compiled form is never compared with its source: see packaging/tree.py.
        for compiled in (packages / name).parent.glob(f"__pycache__/{Path(name).stem}.*"):
            compiled.unlink()
    dist.rename(dist.with_name(version))
    made = deb.parent / f"kiosk-agent_{version}.deb"
    options = ["--root-owner-group", "-Znone"]
    subprocess.run(["dpkg-deb", *options, "-b", str(stage), str(made)], check=True, capture_output=True)
    shutil.rmtree(stage)
    return made


class Hospital:
    """What stands around the service in one booted system. Everything in it is made up."""

    def __init__(self, machine: Machine, changes: Mapping[str, Any] | None = None) -> None:
        self.machine = machine
        self.credentials = site.Credentials.made_up()
        folder = machine.root / "root/site"
        self._reader_link = "/run/simulated/reader"
        camera = machine.root / "srv/camera.png"
        cv2.imwrite(str(camera), portraits.live("collins"))
        written = site.build(
            folder,
            self.credentials,
            base_url=f"http://127.0.0.1:{PORT}",
            reader_port=self._reader_link,
            camera="/srv/camera.png",
            changes={
                "platform": {"drain_per_minute": 6000, "retry_budget_per_hour": 100000},
                "reader": {"poll_interval_s": 0.3},
                **(changes or {}),
            },
        )
        self.content: dict[str, Any] = yaml.safe_load(written.read_text("utf-8"))
        # The platform reads its secrets from files, the service gets them as credentials.
        inside = {"org_app_secret": {"file": "/root/site/org_app_secret"}}
        inside["authorization"] = {"file": "/root/site/esb_ticket"}
        self._write(folder / "platform.yaml", self.content["platform"] | inside)
        self.content["platform"] |= {
            "org_app_secret": {"credential": "org_app_secret"},
            "authorization": {"credential": "esb_ticket"},
        }
        del self.content["state_dir"]
        self.configure()

    def _write(self, path: Path, platform: Mapping[str, Any]) -> None:
        content = {**self.content, "platform": platform}
        path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), "utf-8")

    def configure(self) -> None:
        """Write the configuration as an administrator does."""
        self._write(self.machine.root / ETC / "config.yaml", self.content["platform"])

    def put_secrets(self) -> None:
        """Put the secrets where `setup` looks for them."""
        for name, source in {"org_app_secret": "org_app_secret", "esb_ticket": "esb_ticket"}.items():
            place = self.machine.root / ETC / "secrets" / name
            shutil.copy(self.machine.root / "root/site" / source, place)
            place.chmod(0o400)

    def put_secret(self, name: str, secret: str) -> None:
        """Put one more there."""
        place = self.machine.root / ETC / "secrets" / name
        place.write_text(secret + "\n", "utf-8")
        place.chmod(0o400)

    def open(self) -> None:
        """Put the secrets in and start the service as an administrator does."""
        self.put_secrets()
        done = self.machine.run("kiosk-agent", "setup", check=False)
        assert done.returncode == 0, done.stdout + done.stderr + self.machine.journal()

    def platform(self) -> None:
        """Start the simulated platform."""
        self.machine.run("install", "-d", "-m", "0755", LEDGER.rpartition("/")[0])
        self.machine.run("install", "-m", "0644", "/dev/null", LEDGER)
        options = ("--config", "/root/site/platform.yaml", "--port", str(PORT), "--ledger", LEDGER)
        self._start("platform", "kiosk-agent", "simulate", "platform", *options)

    def registrar(self, cards: int) -> None:
        """Let a registrar lay so many cards down, on a reader that is the service's to open."""
        self.machine.run("install", "-d", "-o", "kiosk-agent", "/run/simulated")
        python = "/opt/kiosk-agent/current/bin/python3"
        self._start("registrar", python, "-I", "-c", REGISTRAR, str(cards), user="kiosk-agent")

    def _start(self, which: str, *command: str, user: str = "root") -> None:
        self.machine.run("systemd-run", f"--unit=simulated-{which}", f"--uid={user}", "--quiet", *command)

    def accepted(self) -> list[dict[str, Any]]:
        """Return what the platform wrote down, a line for each accepted record."""
        written = self.machine.run("cat", LEDGER, check=False).stdout.splitlines()
        lines = [json.loads(line) for line in written if line.endswith("}")]
        return [line for line in lines if line.get("kind") != "device"]

    def hand_in(
        self, address: str, token: str, *results: Mapping[str, Any]
    ) -> list[tuple[int, dict[str, Any]]]:
        """Hand results in from within, one after the other. Return each answer's status and body."""
        files = []
        for number, result in enumerate(results):
            file = self.machine.root / f"srv/result-{number}"
            file.write_text(json.dumps(result), "utf-8")
            files.append(f"/srv/{file.name}")
        told = self.machine.run("python3", "-I", "-c", KIOSK, address, token, *files).stdout
        return [(status, body) for status, body in map(json.loads, told.splitlines())]

    def children(self) -> list[str]:
        """Return which of our programs the service has started, by their modules."""
        listed = f"/proc/{self.machine.show('MainPID')}/task/*/children"
        shown = 'for one in $(cat $1); do tr "\\0" " " < /proc/$one/cmdline && echo; done'
        told = self.machine.run("sh", "-c", shown.replace("$1", listed), check=False).stdout
        # Not what it asks for a moment: timedatectl, a decoder.
        return sorted(word for word in told.split() if word.startswith("agent.vision."))

    def stats(self) -> dict[str, Any]:
        """Return the outbox's counters."""
        counters: dict[str, Any] = json.loads(
            self.machine.run("kiosk-agent", "outbox", "stats", "--json").stdout
        )
        return counters

    def wait_active(self, state: str = "active") -> None:
        """Wait until systemd calls the service so."""
        wait_for(f"the service is {state}", lambda: self.machine.show("ActiveState") == state)
