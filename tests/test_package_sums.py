"""What a site checks before it installs: one list of digests, and a signature over it with the releaser's key."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parent.parent / "packaging"
needs_gpg = pytest.mark.skipif(shutil.which("gpg") is None, reason="needs gpg")


@pytest.fixture
def dist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(PACKAGING))
    (tmp_path / "kiosk-agent_0.1.0+debian12_amd64.deb").write_bytes(b"a package")
    (tmp_path / "kiosk-agent-0.1.0+debian12-x86_64-py3.11.tar").write_bytes(b"a bundle")
    (tmp_path / "notes.txt").write_bytes(b"not ours")
    return tmp_path


def checked(dist: Path) -> int:
    command = ["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"]
    return subprocess.run(command, cwd=dist, capture_output=True, check=False).returncode


def test_the_list_holds_every_package_and_an_altered_one_is_noticed(dist: Path) -> None:
    import build

    (sums,) = build.write_sums(dist, None)
    assert [line.split()[1] for line in sums.read_text().splitlines()] == [
        "kiosk-agent-0.1.0+debian12-x86_64-py3.11.tar",
        "kiosk-agent_0.1.0+debian12_amd64.deb",
    ]
    assert checked(dist) == 0
    (dist / "kiosk-agent_0.1.0+debian12_amd64.deb").write_bytes(b"another one")
    assert checked(dist) != 0


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A throw-away key. Its agent's socket wants a short path."""
    import tempfile

    with tempfile.TemporaryDirectory(dir="/run", prefix="gpg") as home:
        monkeypatch.setenv("GNUPGHOME", home)
        name = "release@hospital.invalid"
        command = ["gpg", "--batch", "--passphrase", "", "--quick-generate-key", name, "ed25519"]
        subprocess.run(command, check=True, capture_output=True)
        yield name
        subprocess.run(["gpgconf", "--kill", "all"], check=False)


@needs_gpg
@pytest.mark.skipif(sys.platform != "linux", reason="/run")
def test_a_signature_over_the_list_verifies_and_an_old_one_does_not_stay(dist: Path, key: str) -> None:
    import build

    sums, signature = build.write_sums(dist, key)
    verify = ["gpg", "--verify", str(signature), str(sums)]
    assert subprocess.run(verify, capture_output=True, check=False).returncode == 0
    build.write_sums(dist, key)  # again: over the old one
    sums.write_text(sums.read_text().replace("a", "b"), "ascii")
    assert subprocess.run(verify, capture_output=True, check=False).returncode != 0
    build.write_sums(dist, None)
    assert not signature.exists()
