"""What `setup` writes from a configuration: credentials by name, addresses without a way out."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from admin_support import open_way
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from agent import dropins, keys
from agent.catalogue import AgentError
from agent.cli import setup as verb
from agent.cli.main import cli
from agent.config import Config
from agent.ops.access import acting_as
from drivers.access import Account

EXAMPLE = Path(__file__).parent.parent / "config.example.yaml"
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


def config(**changes: object) -> Config:
    """Return the example's configuration with sections changed."""
    content = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    for section, values in changes.items():
        content[section] = {**content[section], **values}  # type: ignore[dict-item]  # one test's own words
    content = {name: value for name, value in content.items() if value is not None}
    return Config.model_validate(_without_nulls(content))


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return value


def test_every_credential_that_is_named_is_handed_over_and_no_other() -> None:
    named = dropins.credentials(
        config(keys={"seal": {"credential": "seal_key"}, "audit": {"file": "/srv/audit"}})
    )
    assert named == {
        "org_app_secret": "platform.org_app_secret",
        "esb_ticket": "platform.authorization",
        "seal_key": "keys.seal",
    }
    text = dropins.credentials_text(dropins.sources(named, Path("/etc/kiosk-agent/secrets")))
    assert "LoadCredential=seal_key:/etc/kiosk-agent/secrets/seal_key\n" in text
    assert text.count("LoadCredential=") == 3


def test_what_systemd_encrypted_and_a_key_that_is_to_follow_are_handed_over_too(tmp_path: Path) -> None:
    named = {"esb_ticket": "platform.authorization", "seal_key": "keys.seal"}
    for name in ("esb_ticket.cred", "esb_ticket.next", "seal_key", "seal_key.cred", "seal_key.next"):
        (tmp_path / name).touch()
    assert dropins.credentials_text(dropins.sources(named, tmp_path)).splitlines()[2:] == [
        f"LoadCredentialEncrypted=esb_ticket:{tmp_path}/esb_ticket.cred",
        f"LoadCredential=seal_key:{tmp_path}/seal_key",
        f"LoadCredential=seal_key.next:{tmp_path}/seal_key.next",
    ]


def test_a_plain_file_is_not_taken_for_an_encrypted_one_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "hospital.cred").touch()
    text = dropins.credentials_text(dropins.sources({"hospital.cred": "platform.authorization"}, tmp_path))
    assert text.splitlines()[2:] == [f"LoadCredential=hospital.cred:{tmp_path}/hospital.cred"]


def test_a_kiosks_folder_is_opened_and_nothing_else() -> None:
    assert dropins.folders_text(config()) is None
    text = dropins.folders_text(config(intake={"folder": "/srv/100% results"}))
    assert text is not None
    assert text.splitlines()[1:] == ["[Service]", 'ReadWritePaths="-/srv/100%% results"']


def test_whom_it_talks_to_is_the_platform_or_the_proxy_and_a_network_camera() -> None:
    assert dropins.hosts(config(platform={"base_url": "http://10.1.2.3:8080/esb"})) == ["10.1.2.3"]
    proxied = config(platform={"base_url": "http://platform.gx/", "proxy": "http://10.9.9.9:3128"})
    assert dropins.hosts(proxied) == ["10.9.9.9"]
    both = config(platform={"base_url": "http://[fd00::1]:80"}, camera={"source": "rtsp://10.0.0.7/live"})
    assert dropins.hosts(both) == ["fd00::1", "10.0.0.7"]


@given(st.lists(ADDRESSES, max_size=5))
def test_the_list_names_each_address_once_and_never_all(allowed: list[str]) -> None:
    lines = dropins.addresses_text(dropins.addresses(allowed)).splitlines()
    assert lines[1:4] == ["[Service]", "IPAddressDeny=any", "IPAddressAllow=localhost"]
    named = [line.removeprefix("IPAddressAllow=") for line in lines[4:]]
    assert set(named) == {host for host in allowed if not ipaddress.ip_address(host).is_loopback}
    assert len(named) == len(set(named))
    assert not any("/" in address for address in named)


def test_a_name_is_looked_up_and_its_name_servers_are_reachable() -> None:
    found = dropins.addresses(["platform.gx", "10.0.0.7"], lambda host: ["10.1.1.1", "10.1.1.2"])
    assert found == ["10.1.1.1", "10.1.1.2", "10.0.0.7"]
    assert dropins.named(["platform.gx", "10.0.0.7", "localhost", "::1"]) == ["platform.gx"]
    servers = dropins.name_servers(
        "# made\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\nsearch gx\nnameserver\n"
    )
    assert servers == ["10.0.0.53", "fe80::1"]
    with pytest.raises(AgentError) as caught:
        dropins.addresses(["no-such-host.invalid"])
    assert caught.value.code == "E8312"


def setup(*options: str, user: int | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", "setup", *options],
        capture_output=True,
        text=True,
        check=False,
        user=user,
    )


def test_a_dry_run_shows_each_file_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    text = EXAMPLE.read_text("utf-8").replace("http://127.0.0.1:8080", "http://10.1.2.3")
    path.write_text(text.replace("  folder: null", "  folder: /srv/results"), "utf-8")
    shown = setup("--dry-run", "--config", str(path))
    assert shown.returncode == 0, shown.stderr
    assert "LoadCredential=esb_ticket:" in shown.stdout
    assert "IPAddressAllow=10.1.2.3" in shown.stdout
    assert 'ReadWritePaths="-/srv/results"' in shown.stdout
    path.write_text(path.read_text("utf-8").replace("10.1.2.3", "platform.invalid"), "utf-8")
    named = setup("--dry-run", "--config", str(path))
    assert "W8311" in named.stderr
    assert "IPAddressDeny" not in named.stdout
    assert "E8312" in setup("--dry-run", "--resolve", "--config", str(path)).stderr


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="acting as another account needs root")
def test_who_may_not_see_the_secrets_is_told_to_use_sudo_and_may_look_at_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_way(tmp_path)
    monkeypatch.setattr(keys, "SECRETS", tmp_path / "secrets")
    keys.SECRETS.mkdir(mode=0o700)
    (tmp_path / "config.yaml").write_bytes(EXAMPLE.read_bytes())
    arguments = ["setup", "--config", str(tmp_path / "config.yaml")]
    CliRunner().invoke(cli, [*arguments, "--dry-run"])  # all that is imported, while it may be read
    with acting_as(Account("registrar", 64321, frozenset({64321}))):
        refused = CliRunner().invoke(cli, arguments)
        shown = CliRunner().invoke(cli, [*arguments, "--dry-run"])
    assert isinstance(refused.exception, AgentError), refused.exception
    assert refused.exception.code == "E8310"
    assert (shown.exception, f"LoadCredential=esb_ticket:{keys.SECRETS}/esb_ticket\n" in shown.stdout) == (
        None,
        True,
    )


def test_without_a_running_systemd_setup_says_that_nothing_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(dropins, "FOLDER", tmp_path / "drop-ins")
    monkeypatch.setattr(keys, "SECRETS", tmp_path / "etc/secrets")
    monkeypatch.setattr(verb, "SYSTEMD", tmp_path / "none")
    keys.SECRETS.mkdir(parents=True)
    for name in ("org_app_secret", "esb_ticket"):
        (keys.SECRETS / name).write_text("made-up")
    done = CliRunner().invoke(cli, ["setup", "--config", str(EXAMPLE)])
    assert done.exit_code == 0, done.output
    assert "没有运行 systemd，服务没有启动" in done.output
    assert (tmp_path / "drop-ins/credentials.conf").exists()
