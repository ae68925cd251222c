"""Every key of the schema, changed alone, before the real reload: taken over at once, or a restart is asked for."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import codes_seen
import pytest
import yaml
from admin_support import answered, trail
from e2e_support import Site, wait_for

from agent import logs
from agent.catalogue import AgentError
from agent.clock import SystemClock
from agent.config.described import Key, keys
from agent.live import reloadable
from agent.ops.surroundings import configured
from agent.ownership import owning
from agent.service import Agent

#: What the interface promises to take over without a restart, and what we take over besides.
PROMISED = (
    "platform.conventions.", "platform.drain_per_minute", "platform.retry_budget_per_hour", "operators.", "images.",
    "face.threshold", "console.clear_after_s", "console.notice", "console.mask.", "logging.",
)  # fmt: skip
BESIDES = ("lang", "platform.correct_skew", "intake.mapping", "intake.pictures")
#: Keys whose values have a form that the schema does not tell, or that only go with another key.
VALUES: dict[str, Any] = {
    "platform.base_url": "http://127.0.0.1:2",
    "platform.proxy": "http://127.0.0.1:3",
    "platform.conventions.cert_status.expired": 7,
    "device.device_no": "0000778",
    "reader.port": "/dev/pts/4095",
    "camera.source": "auto",
    "face.onnx.sha256": "0" * 64,
    "console.listen": "127.0.0.1:18765",
    "console.mask.number": "1+1",
    "face.engine": "none",
    "images.target_bytes": 200_000,
    "platform.conventions.substitutes.nation_code": "01",
}
ALL = [key for key in keys() if not key.section]


class Desk:
    """An agent that was never started, and its file."""

    def __init__(self, site: Site, agent: Agent) -> None:
        self.site, self.agent = site, agent
        self.good = yaml.safe_load(site.config.read_text("utf-8"))

    def reload(self, values: dict[str, Any]) -> None:
        data = yaml.safe_load(yaml.safe_dump(self.good))
        for dotted, value in values.items():
            *above, last = dotted.split(".")
            section = data
            for name in above:
                section = section.setdefault(name, {})
            section[last] = value
        self.site.config.write_text(yaml.safe_dump(data, allow_unicode=True), "utf-8")
        self.agent.reload(configured(self.site.config, {}))

    def value(self, dotted: str) -> Any:
        value: Any = self.agent.live.config().model_dump(mode="json", by_alias=True)
        for name in dotted.split("."):
            value = value[name]
        return value


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("reload")
    (folder / "secret").write_text("another-secret-1")
    (folder / "secret").chmod(0o600)
    for name in ("folder", "mine"):
        (folder / name).mkdir()
    (folder / "ca.pem").write_text("")
    site = Site(folder / "site", {"intake": {"folder": str(folder / "folder"), "mapping": "tuya-psb"}})
    config, clock = configured(site.config, {}), SystemClock()
    with owning(config, clock) as own:
        yield Desk(site, Agent(config, own, clock))


def another(key: Key, old: Any, folder: Path) -> Any:
    """Return a value that a key takes and does not have."""
    kind = key.kind
    if key.name in VALUES:
        return VALUES[key.name]
    if key.secret:
        return {"file": str(folder / "secret")}
    if "enum" in kind:
        return next(word for word in kind["enum"] if word not in {old, "library"})
    if kind["type"] == "boolean":
        return not old
    if kind["type"] in {"integer", "number"}:
        base = kind.get("minimum", 0.5) if old is None else old
        step = 0.05 if kind.get("exclusiveMaximum") == 1 else 1
        return base + step if base + step <= kind.get("maximum", 10**12) else base - step
    if kind["type"] == "array":
        return ["/bin/true"] if "command" in key.name or "helper" in key.name else ["甲", "乙"]
    if kind.get("format") == "date":
        return "2020-02-29"
    if key.name in {"state_dir", "face.weights_dir", "face.onnx.model", "intake.folder", "intake.pictures"}:
        return str(folder / "mine")
    return {"platform.ca_file": str(folder / "ca.pem"), "intake.mapping": "eastcoms-m20"}.get(key.name, "/x")


@pytest.mark.parametrize("key", ALL, ids=lambda key: key.name)
def test_each_key_is_taken_over_or_asks_for_a_restart(key: Key, desk: Desk) -> None:
    desk.reload({})
    old, before = desk.value(key.name), desk.agent.live.config()
    new = another(key, old, desk.site.folder.parent)
    assert new != old
    secret = {"file": str(desk.site.folder.parent / "secret")}
    named = {key.name: new}
    if key.name == "intake.http":  # which alone would be refused for what it needs
        named |= {"console.listen": "127.0.0.1:18765", "intake.token": secret}
    if key.name.startswith(PROMISED) or key.name in BESIDES:
        assert reloadable(key.name)
        desk.reload(named)
        assert desk.value(key.name) == new
        return
    assert not reloadable(key.name)
    with pytest.raises(AgentError) as refused:
        desk.reload(named)
    assert refused.value.code == "E8105"
    told = refused.value.facts["keys"].split(", ")
    assert all(name.startswith(key.name) or name in named for name in told), told
    assert any(name.startswith(key.name) for name in told)
    assert desk.agent.live.config() is before, "nothing is taken over in part"


def test_a_daemon_is_not_told_to_read_another_file_than_its_own(tmp_path: Path) -> None:
    site = Site(tmp_path / "site")
    other, link = tmp_path / "other.yaml", tmp_path / "link.yaml"
    other.write_text(site.config.read_text("utf-8").replace("lang: zh", "lang: en"), "utf-8")
    link.symlink_to(site.config)
    with site.daemon():
        wait_for("the daemon answers", lambda: answered(site, "status")["daemon"])
        assert answered(site, "status")["config_file"] == str(site.config)
        assert run(site, "reload", str(site.config)).returncode == 0
        assert run(site, "reload", str(link)).returncode == 0, "the same file by another way"
        refused = run(site, "reload", str(other))
        assert (refused.returncode, "E8210" in refused.stderr) == (2, True)
        assert f"kiosk-agent reload --config {site.config}" in refused.stderr
        os.link(site.config, tmp_path / "hard.yaml")
        assert run(site, "reload", str(tmp_path / "hard.yaml")).returncode == 0
    results = [line["result"] for line in trail(site) if line["what"] == "config.reload"]
    assert results == ["ok", "ok", "E8210", "ok"], "the refusal is in the trail"


def test_a_file_that_is_not_what_is_in_force_is_told_until_it_is(tmp_path: Path) -> None:
    """A refused reload is soon forgotten; the next start goes by the file."""
    site = Site(tmp_path / "site")
    good = site.config.read_text("utf-8")

    def codes() -> set[str]:
        by_status = {problem["code"] for problem in answered(site, "status")["problems"]}
        return by_status & {"E8617", "W8618"}

    with site.daemon():
        wait_for("the daemon answers", lambda: answered(site, "status")["daemon"])
        assert codes() == set()
        site.config.write_text(f"# a remark\n{good}", "utf-8")
        assert codes() == set(), "it says the same"
        site.config.write_text(f"{good}langg: en\nlogging: {{level: loud}}\n", "utf-8")
        assert run(site, "reload", str(site.config)).returncode == 78
        assert codes() == {"E8617"}
        assert site.cli("status", "--nagios").returncode == 2
        site.config.write_text(f"{good}logging: {{level: debug}}\n", "utf-8")
        (told,) = [one for one in answered(site, "status")["problems"] if one["code"] == "W8618"]
        assert "logging.level" in told["title"]
        doctors = json.loads(site.cli("doctor", "--json").stdout)
        checked = {check["check"]: check["code"] for check in doctors}
        assert checked["file"] == "W8618"
        assert run(site, "reload", str(site.config)).returncode == 0
        assert codes() == set()
        site.config.unlink()
        assert codes() == {"E8617"}


def run(site: Site, verb: str, config: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent", verb, "--config", config]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=site.folder)
    codes_seen.saw(done.stderr)
    return done


def test_another_language_is_spoken_from_the_next_line_on(desk: Desk) -> None:
    out = io.StringIO()
    logs.set_up("zh", "info", out, {})
    desk.reload({"lang": "en"})
    desk.reload({"lang": "zh"})
    lines = [line for line in out.getvalue().splitlines() if "[I8004]" in line]
    assert ["configuration reloaded" in line for line in lines] == [True, False]
