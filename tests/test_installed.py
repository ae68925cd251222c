"""The package installed without a network in a booted Debian 12, and the service under its real systemd."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from booted_support import Machine, machine, why_not
from installed_support import package

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.timeout(600),
    pytest.mark.skipif(why_not() is not None, reason=f"no system can be booted: {why_not()}"),
]


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built once for all tests here."""
    return package("debian12", tmp_path_factory.mktemp("packages"))


@pytest.fixture
def debian(tmp_path: Path) -> Iterator[Machine]:
    """A Debian 12, booted, without the agent."""
    with machine("bookworm", tmp_path) as booted:
        yield booted


Install = Callable[[Path], str]


@pytest.fixture
def install(debian: Machine) -> Install:
    """Install a package in there; returns what was printed."""

    def dpkg(package: Path) -> str:
        shutil.copy(package, debian.root / package.name)
        done = debian.run("dpkg", "-i", f"/{package.name}")
        return done.stdout

    return dpkg


def test_installing_says_how_to_go_on_and_starts_nothing(
    debian: Machine, install: Install, deb: Path
) -> None:
    told = install(deb)
    assert "kiosk-agent 已安装，尚未启动。接下来" in told
    assert "kiosk-agent config generate --out /etc/kiosk-agent/config.yaml" in told
    assert (debian.show("ActiveState"), debian.show("UnitFileState")) == ("inactive", "enabled")
    checked = debian.run("systemd-analyze", "verify", "--man=no", "kiosk-agent.service")
    assert (checked.stdout, checked.stderr) == ("", "")
    debian.run("systemd-analyze", "security", "--threshold=13", "kiosk-agent.service")
    # Started without a configuration: it says so, and is not started again and again.
    assert debian.run("systemctl", "start", "kiosk-agent", check=False).returncode != 0
    assert (debian.show("ExecMainStatus"), debian.show("NRestarts")) == ("78", "0")
    assert "E6001" in debian.journal()
