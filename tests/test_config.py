"""The worst YAML files, each told with its place; the example; anything at all."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from agent.catalogue import AgentError
from agent.cli.main import cli
from agent.config import Config, ConfigError, Finding, examine, load, rules, shape
from agent.config.described import keys
from agent.config.forms import FORMS
from agent.config.schema import Section
from agent.config.writing import config_file, in_force
from agent.hmpt import client
from agent.intake.form import Form

EXAMPLE = Path(__file__).parent.parent / "config.example.yaml"

GOOD = """\
platform:
  base_url: "http://127.0.0.1:8080"
  org_app_id: 0123
  org_app_secret: {credential: a}
  authorization: {file: /b}
  encrypt: true
device:
  dept_id: 1
  dept_name: 产科
  manufacturer: M
  purchase_date: 2024-06-01
  machine_code: M0000777
  device_no: 0000777
  register_user: 甲
"""


def examined(text: str | bytes, folder: Path) -> tuple[Config | None, list[Finding]]:
    path = folder / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return examine(path, {})


def told(text: str | bytes, folder: Path) -> list[str]:
    return [f"{f.place.line}:{f.place.column} {f.code}" for f in examined(text, folder)[1]]


def test_digits_in_text_keys_stay_as_written_and_dates_need_no_quotes(tmp_path: Path) -> None:
    config, findings = examined(GOOD, tmp_path)
    assert findings == []
    assert config is not None
    assert config.platform.org_app_id == "0123"
    assert config.device.device_no == "0000777"
    assert config.device.purchase_date.isoformat() == "2024-06-01"
    assert config.platform.register_ == "auto"
    assert config.outbox.max_bytes == 20 * 2**30


LENGTHS = GOOD.replace("  encrypt: true\n", "  encrypt: true\n  conventions: {length_unit: utf8}\n")


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (changed("encrypt: true", "encrypt: yes"), ["6:12 E6019"]),
        (changed("encrypt: true", "encrypt: no"), ["6:12 E6019"]),
        (changed("encrypt: true\n", "encrypt: true\n  encrypt: false\n"), ["7:3 E6014"]),
        (changed("  encrypt: true\n", ""), ["1:1 E6020"]),
        (changed("encrypt: true", "encrypt: null"), ["6:12 E6020"]),
        (changed("  encrypt", "\tencrypt"), ["6:1 E6006"]),
        (changed("encrypt: true", "encrypt： true"), ["6:10 E6007"]),
        (changed("dept_name: 产科", "dept_name: “产科”"), ["9:14 E6007"]),
        (changed("encrypt: true", "encrpyt: true"), ["1:1 E6020", "6:3 E6016"]),
        (changed("dept_name: 产科", "dept_name: no"), ["9:14 E6017"]),
        (changed("dept_name: 产科", "dept_name: 'no'"), []),
        (changed("dept_name: 产科", "dept_name: ''"), ["9:14 E6026"]),
        (changed("dept_name: 产科", "dept_name: " + "长" * 51), ["9:14 E6022"]),
        (changed("dept_name: 产科", "dept_name: {a: b}"), ["9:14 E6021"]),
        (changed("dept_name: 产科", "dept_name: [a]"), ["9:14 E6021"]),
        (changed("purchase_date: 2024-06-01", "purchase_date: 2024-06-31"), ["11:18 E6021"]),
        (GOOD + "reader: {poll_interval_s: 0.1}\n", ["15:27 E6023"]),
        (GOOD + "reader: {poll_interval_s: 007}\n", ["15:27 E6018"]),
        (GOOD + "reader: {poll_interval_s: 1:30}\n", ["15:27 E6021"]),
        (GOOD + "reader: {poll_interval_s: fast}\n", ["15:27 E6021"]),
        (GOOD + "reader: {source: stt}\n", ["15:18 E6024"]),
        (GOOD + "reader: {baud: 14400}\n", ["15:16 E6024"]),
        (GOOD + "reader: {baud: 9600}\n", []),
        (GOOD + "reader: sdt\n", ["15:9 E6021"]),
        (GOOD + "face: {engine: onnx}\n", ["15:1 E6034"]),
        (GOOD + "face: {onnx: {far_1e3: 0.4, far_1e4: 0.3}}\n", ["15:38 E6033"]),
        (GOOD + "face: {threshold: 0.3}\n", ["15:19 E6023"]),
        (changed("machine_code: M0000777", "machine_code: Ｍ００００７７７"), ["12:17 E6038"]),
        (changed("device_no: 0000777", "device_no: ００００７７７"), ["13:14 E6038"]),
        (changed("device_no: 0000777", "device_no: '０000777 '"), ["13:14 E6038"]),
        (changed("org_app_id: 0123", "org_app_id: ＯＲＧ－１"), ["3:15 E6038"]),
        (changed("org_app_id: 0123", "org_app_id: '0123 '"), ["3:15 E6037"]),
        (changed("dept_id: 1", "dept_id: 产科Ａ"), ["8:12 E6038"]),
        (changed("dept_id: 1", "dept_id: 产科（一）"), []),
        (changed("machine_code: M0000777", "machine_code: 'M0000777 '"), ["12:17 E6037"]),
        (changed("machine_code: M0000777", "machine_code: M0000777\u3000"), ["12:17 E6037"]),
        (changed("machine_code: M0000777", 'machine_code: "M000\\u200b0777"'), ["12:17 E6037"]),
        (changed("dept_name: 产科", "dept_name: ' 产科'"), ["9:14 E6037"]),
        (changed("dept_name: 产科", "dept_name: |\n    产科"), ["9:14 E6037"]),
        (changed("dept_name: 产科", "dept_name: 产科Ａ区（１）"), []),
        (changed("manufacturer: M", "manufacturer: Ｍ．１"), ["10:17 W6105"]),
        (GOOD + "operators: {default: '甲 ', list: [甲, ' 乙']}\n", ["15:22 E6037", "15:38 E6037"]),
        (changed("encrypt: true", "encrypt: true\n  conventions: {substitutes: {address: '不详 '}}"), ["7:40 E6037"]),
        (changed("dept_name: 产科", "dept_name: *"), ["9:14 E6028"]),
        (changed("dept_name: 产科", "dept_name:  *  # a").replace("org_app_id: 0123", "org_app_id: *"),
            ["3:15 E6028", "9:15 E6028"]),
        (changed("dept_name: 产科", "dept_name: '*'"), []),
        (changed("{credential: a}", "{credential: *}"), ["4:32 E6012"]),
        (changed("{credential: a}", "{credential: a"), ["4:19 E6010"]),
        (changed("{credential: a}", "{credential: 'a'"), ["4:19 E6010"]),
        (GOOD + "operators: {list: [甲, 乙}\nlang: zh\n", ["15:24 E6010"]),
        (GOOD + "operators: {list: [甲, 乙]\nlang: zh\n", ["15:12 E6010"]),
        (GOOD + "audit: {keep_days: 183}\n", ["15:20 E6023"]),
        (GOOD + "operators: {default: 一二三四五六七八九十一}\n", ["15:22 E6022"]),
        (GOOD + "operators: {list: [甲, '']}\n", ["15:23 E6026"]),
        (LENGTHS + "operators: {default: 王医生, list: [甲, 王医生甲]}\n", ["16:37 E6035"]),
        (GOOD + "console: {listen: everywhere}\n", ["15:19 E6025"]),
        (GOOD + "console: {listen: none}\n", []),
        (GOOD + "intake: {http: true}\n", ["15:16 E6050"]),
        (GOOD + "intake: {http: true, token: {credential: a}}\n", []),
        (GOOD + "intake: {http: true, token: {credential: a}}\nconsole: {listen: none}\n", ["15:16 E6050"]),
        (GOOD + "reader: {source: none}\n", ["15:18 W6150"]),
        (GOOD + "reader: {source: none}\nintake: {http: true, token: {credential: a}}\n", []),
        (GOOD + "console: {listen: '[::1]:8765'}\n", []),
        (GOOD + "console: {listen: '0.0.0.0:8765'}\n", ["15:19 W6103"]),
        (GOOD + "console: {listen: '127.0.0.1:70000'}\n", ["15:19 E6032"]),
        (GOOD + "console: {listen: '127.0.0.999:80'}\n", ["15:19 E6032"]),
        (GOOD + "keys: {seal: {credential: a, file: b}}\n", ["15:8 E6027"]),
        (GOOD + "outbox: {max_bytes: 20 GiB}\n", []),
        (GOOD + "outbox: {max_bytes: 20 apples}\n", ["15:21 E6021"]),
        (changed("org_app_secret: {credential: a}", "org_app_secret: s3cret"), ["4:19 E6027"]),
        (changed("org_app_secret: {credential: a}", "org_app_secret: [s3cret]"), ["4:19 E6027"]),
        (changed("encrypt: true", "encrypt:true"), ["6:10 E6009"]),
        (changed("encrypt: true", "encrypt:true").replace("dept_id: 1", "dept_id:1"), ["6:10 E6009", "8:10 E6009"]),
        ("lang:zh\n" + GOOD, ["1:5 E6009"]),
        (GOOD + "console:\n  listen:none\n  notice:x\n", ["16:9 E6009", "17:9 E6009"]),
        (GOOD + "operators: {list: [lang:zh]}\nconsole: {notice: lang:zh}\n", []),
        (GOOD + "console:\n  notice: |\n    lang:zh\n", []),
        (changed("dept_name: 产科", "dept_name:\u3000产科"), ["9:13 E6007"]),
        (changed("dept_name: 产科", "dept_name: \u00a0产科"), ["9:14 E6007"]),
        (changed("dept_name: 产科", 'dept_name: "产科') + "console: {notice: \"a\"}\n", ["9:14 E6010"]),
        (changed("dept_name: 产科", "dept_name: '产科"), ["9:14 E6010"]),
        (GOOD + "operators:\n  list:\n    - '甲\n    - '乙'\n", ["17:7 E6010"]),
        (GOOD + "console: {notice: 'one line,\n  another'}\n", []),
        *[(changed("127.0.0.1:8080", host), ["2:13 E6032"]) for host in (
            "[::1", "10.0.0.256", "10.0.0", "10.0.0.1:80a", "10.0.0.1:99999", "10.0.0.1:0", "10.0.0.1:", "a..b",
            "http://10.0.0.1", "[::g]", "x" * 64)],
        *[(changed("127.0.0.1:8080", host), ["2:13 E6025"]) for host in (
            "u:p@10.0.0.1", "10.0.0.1?a=1", "10.0.0.1/esb?a=1", "10.0.0.1/#x", "10.0.0.1\\\\esb")],
        *[(changed("127.0.0.1:8080", host), []) for host in (
            "10.0.0.1", "[fd00::1]:80/esb", "esb.gx", "esb_1.gx.", "平台.gx:80/a/b/")],
        *[(changed("127.0.0.1:8080", f"127.0.0.1:8080/esb{end}"), ["2:13 E6036"]) for end in (
            "/machine/info", "/machine/info/", "/Machine/Info", "/verification/pregnant_woman/first")],
        *[(changed("127.0.0.1:8080", f"127.0.0.1:8080{prefix}"), []) for prefix in ("/esb", "/machine", "/")],
        (GOOD.replace("  encrypt: true", "  encrypt: true\n  proxy: http://10.0.0.9:x"), ["7:10 E6032"]),
        (GOOD + "camera: {source: 'rtsp://[::1/live'}\n", ["15:18 E6032"]),
        (changed("manufacturer: M", "manufacturer: &a M"), ["10:17 E6012"]),
        (changed("manufacturer: M", "manufacturer: *a"), ["10:17 E6012"]),
        (changed("manufacturer: M", "manufacturer: !!str M"), ["10:17 E6012"]),
        (GOOD + "---\nlang: zh\n", ["15:1 E6010"]),
        (GOOD + "? [a]\n: b\n", ["15:3 E6015"]),
        (GOOD + '"\\uD800": b\n', ["15:1 E6015"]),
        (GOOD + '"\\e[2J": b\n', ["15:1 E6015"]),
        (GOOD + "x: " + "[" * 40 + "]" * 40 + "\n", ["15:15 E6013"]),
        ("platform: [", ["1:12 E6010"]),
        ("", ["1:1 E6011"]),
        ("- a\n- b\n", ["1:1 E6011"]),
        ("just text", ["1:1 E6011"]),
        (GOOD.encode("utf-16"), ["1:1 E6008"]),
        (b"\xfe\xff" + GOOD.encode("utf-16-be"), ["1:1 E6008"]),
        (changed("  encrypt", "\u3000encrypt"), ["6:1 E6007"]),
        (changed("  encrypt", " \u00a0encrypt"), ["6:2 E6007"]),
        (changed("{credential: a}", "{credential：a}"), ["4:30 E6007"]),
        (changed("{credential: a}", "｛credential: a｝"), ["4:19 E6007"]),
        (GOOD + "＃ 注释\n", ["15:1 E6007"]),
        (GOOD + "operators: {list: [甲，乙]}\n", ["15:21 E6007"]),
        (GOOD + "operators: {list: ['甲，乙']}  # ：，“”\n", []),
        (changed("dept_name: 产科", "dept_name: 产科（东区）：一楼，“新”"), []),
        (GOOD + "face: {attempts: ３}\n", ["15:18 E6007"]),
        (changed("encrypt: true", "encrypt: ｔrue"), ["6:12 E6007"]),
        (GOOD + "reader: {poll_interval_s: 0x1}\n", ["15:27 E6021"]),
        (GOOD + "reader: {poll_interval_s: 1_0}\n", ["15:27 E6021"]),
        (GOOD + "reader: {poll_interval_s: .inf}\n", ["15:27 E6021"]),
        (changed("encrypt: true", "<<: {encrypt: true}"), ["1:1 E6020", "6:3 E6016"]),
        (GOOD.encode("gbk"), ["9:1 E6004"]),
        (b"lang: zh\n\xff\xfe\x00", ["2:1 E6005"]),
        (b"x: \x00", ["1:4 E6010"]),
        (changed("产科", "产\a科"), ["9:15 E6010"]),
        (changed("产科", '"\\U00110000"'), ["9:15 E6010"]),
        (changed("产科", '"\\UFFFFFFFF"'), ["9:15 E6010"]),
        (changed("产科", '"\\uD800"'), ["9:14 E6021"]),
        (changed("产科", '"a\\0b"'), ["9:14 E6021"]),
        (changed("产科", "产科\t"), ["9:16 E6006"]),
        (changed("dept_name: 产科", "dept_name:\t产科"), ["9:13 E6006"]),
        (changed("encrypt: true", "encrypt: 'no'"), ["6:12 E6019"]),
        (changed("2024-06-01", "86400"), ["11:18 E6021"]),
        (changed("2024-06-01", "'2024-06-01'"), []),
        (GOOD + "outbox: {max_bytes: 'twoGiB'}\n", ["15:21 E6021"]),
        (GOOD + "outbox: {max_bytes: '1e999999999GiB'}\n", ["15:21 E6021"]),
        (GOOD + "face: {onnx: {mean: 'nan'}}\n", ["15:21 E6021"]),
        (GOOD + "reader: {poll_interval_s: '007'}\n", ["15:27 E6018"]),
        (GOOD + "reader: {poll_interval_s: ''}\n", ["15:27 E6021"]),
        (GOOD + "reader: {poll_interval_s: '0.5'}\n", []),
        (GOOD + "state_dir: data\nintake: {folder: in}\n", ["15:12 E6059", "16:18 E6059"]),
        (GOOD + "a: &a [x, x]\nb: &b [*a, *a]\n", ["15:4 E6012", "16:4 E6012", "16:8 E6012", "16:12 E6012"]),
        ("- " * 5000 + "x", ["1:25 E6013"]),
        ("# only\n# comments\n", ["1:1 E6011"]),
        ("   \n\n", ["1:1 E6011"]),
        (b"a" * 10_000_000, ["1:1 E6003"]),
        (b"#" * 300_000, ["1:1 E6003"]),
        (b"\xef\xbb\xbf" + GOOD.encode(), []),
        (GOOD.replace("\n", "\r\n"), []),
    ],
)  # fmt: skip
def test_each_trap_is_told_at_its_place(text: str | bytes, expected: list[str], tmp_path: Path) -> None:
    assert told(text, tmp_path) == expected


def test_everything_is_told_at_once_in_order(tmp_path: Path) -> None:
    text = (
        changed("encrypt: true", "encrypt: no").replace("dept_name", "dept_nam") + "face: {engine: magic}\n"
    )
    assert [line.split()[1] for line in told(text, tmp_path)] == ["E6019", "E6020", "E6016", "E6024"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + "camra: {source: auto}\n", "did you mean camera?"),
        (GOOD + "face: {engine: buildin}\n", "did you mean builtin?"),
        (changed("device_no", "deviceno"), "did you mean device_no?"),
        (changed("machine_code: M0000777", "machine_code: ' Ｍ－0000777 '"), "did you mean M-0000777?"),
        (changed("machine_code: M0000777", "machine_code: 'M0000777 '"), "did you mean M0000777?"),
        (changed("manufacturer: M", "manufacturer: Ｍ．１"), "did you mean M.1?"),
    ],
)
def test_a_near_miss_is_named(text: str, words: str, tmp_path: Path) -> None:
    lines = [finding.line("en") for finding in examined(text, tmp_path)[1]]
    assert any(words in line for line in lines)
    assert all(re.match(r".*c\.yaml:\d+:\d+ [EW]6\d{3} ", line) for line in lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (changed("{credential: a}", "{credential: a"), "括号没有闭合，或缺少逗号"),
        (changed("dept_name: 产科", "dept_name: *"), "dept_name 带星号，必须填写，尚未填写"),
        (GOOD + "outbox: {max_bytes: 20G}\n", "字节数，写成 20GiB、20GB、500MB 或纯数字"),
    ],
)
def test_a_slip_is_told_in_words_of_the_file(text: str, words: str, tmp_path: Path) -> None:
    (finding,) = examined(text, tmp_path)[1]
    assert words in finding.line("zh")


def test_no_finding_quotes_a_value_because_it_may_be_a_secret(tmp_path: Path) -> None:
    text = changed("org_app_secret: {credential: a}", "org_app_secret: TOPSECRET").replace(
        "encrypt: true", "encrypt: TOPSECRET"
    )
    for finding in examined(text, tmp_path)[1]:
        for lang in ("zh", "en"):
            assert "TOPSECRET" not in finding.line(lang)
            assert "TOPSECRET" not in str(finding.as_json(lang))


def test_no_finding_quotes_a_persons_name(tmp_path: Path) -> None:
    names = (
        changed("register_user: 甲", "register_user: '甲乙 '")
        + "operators: {default: '甲乙 ', list: [ＡＢ]}\n"
    )
    findings = examined(names, tmp_path)[1]
    assert [finding.code for finding in findings] == ["E6037", "E6037", "W6105"]
    assert not re.search("甲乙|AB", "".join(finding.line("zh") for finding in findings))


def elsewhere(addition: str) -> str:
    return changed("http://127.0.0.1:8080", "http://10.0.0.1:8080") + addition


@pytest.mark.parametrize(
    "addition",
    [
        "camera: {source: people.png}\n",
        "reader: {port: /dev/pts/0}\n",
        "reader: {photo_decoder: {kind: simulated}}\n",
    ],
)
def test_test_sources_never_meet_a_real_platform(addition: str, tmp_path: Path) -> None:
    assert [line.split()[1] for line in told(elsewhere(addition), tmp_path)] == ["E6030"]
    assert told(GOOD + addition, tmp_path) == []
    # What a proxy takes for this machine is the proxy.
    through = changed("encrypt: true", "encrypt: true\n  proxy: http://10.0.0.9:3128") + addition
    assert [line.split()[1] for line in told(through, tmp_path)] == ["E6030"]
    assert told(through.replace("10.0.0.9", "127.0.0.1"), tmp_path) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (elsewhere("").replace("encrypt: true", "encrypt: false"), "W6101"),
        (changed("M0000777", "M777x"), "W6102"),
        (GOOD + "console: {listen: '0.0.0.0:8765'}\n", "W6103"),
        (GOOD + "console: {mask: {number: '6+4'}}\n", "W6104"),
    ],
)
def test_doubtful_choices_are_warned_of_and_taken(text: str, code: str, tmp_path: Path) -> None:
    config, findings = examined(text, tmp_path)
    assert config is not None
    assert [finding.code for finding in findings] == [code]


@pytest.mark.parametrize(
    ("addition", "code"),
    [
        ("reader: {photo_decoder: {kind: library}}\n", "E6050"),
        ("reader: {photo_decoder: {kind: library, library: {path: lib.so}}}\n", "E6025"),
        ("reader: {port: 'usb:400:c35a'}\n", "E6025"),
        ("reader: {port: ttyUSB0}\n", "E6025"),
    ],
)
def test_a_reader_that_could_not_be_opened_is_refused(addition: str, code: str, tmp_path: Path) -> None:
    assert [line.split()[1] for line in told(GOOD + addition, tmp_path)] == [code]


def patterns(schema: Any) -> Iterator[str]:
    """Yield every pattern of a JSON schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        schema = list(schema.values())
    for inner in schema if isinstance(schema, list) else ():
        yield from patterns(inner)


@pytest.mark.parametrize("model", [Config, Form], ids=lambda model: model.__name__)
def test_every_form_is_told_in_words(model: type[BaseModel]) -> None:
    found = set(patterns(model.model_json_schema()))
    assert found <= set(FORMS)
    assert found


def test_a_wrong_form_shows_no_regular_expression(tmp_path: Path) -> None:
    (finding,) = examined(GOOD + "reader: {port: ttyUSB0}\n", tmp_path)[1]
    assert "usb:VID:PID（各四位十六进制" in finding.line("zh")
    assert "usb:VID:PID (four hex digits each" in finding.line("en")
    assert not any(sign in finding.line(lang) for lang in ("zh", "en") for sign in "^$\\")


@pytest.mark.parametrize("port", ["auto", "usb:0400:c35a", "usb:0400:C35A:A1", "/dev/ttyUSB0", "replay:/x"])
def test_every_form_of_a_port_is_taken(port: str, tmp_path: Path) -> None:
    assert told(GOOD + f"reader: {{port: '{port}'}}\n", tmp_path) == []


def test_a_file_that_cannot_be_had(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "none", "E6001"), (tmp_path, "E6002")):
        with pytest.raises(ConfigError) as wrong:
            load(path)
        assert [finding.code for finding in wrong.value.findings] == [code]


def test_systemds_state_directory_wins(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(GOOD)
    assert load(tmp_path / "c.yaml", {"STATE_DIRECTORY": "/srv/state"}).state_dir == "/srv/state"
    assert load(tmp_path / "c.yaml", {}).state_dir == "/var/lib/kiosk-agent"


def test_the_example_is_accepted_as_it_stands() -> None:
    config, findings = examine(EXAMPLE, {})
    assert config is not None
    assert findings == []


def defaults(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        key = prefix + (info.alias or name)
        value = None if info.is_required() else info.get_default(call_default_factory=True)
        inner = info.annotation if isinstance(info.annotation, type) else None
        if inner is not None and issubclass(inner, Section) and inner.__name__ != "Secret":
            found |= defaults(inner, key + ".")
        else:
            found[key] = ... if info.is_required() else value
    return found


def flattened(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, dict) and not set(value) & {"credential", "file"}:
            found |= flattened(value, prefix + name + ".")
        else:
            found[prefix + name] = value
    return found


def test_the_example_names_every_key_with_its_default() -> None:
    known, written = defaults(Config), flattened(yaml.safe_load(EXAMPLE.read_text("utf-8")))
    assert set(written) == set(known)
    config, _ = examine(EXAMPLE, {})
    assert config is not None
    loaded = flattened(config.model_dump(by_alias=True))
    for key, default in known.items():
        if default is not ...:
            assert loaded[key] == default, key


def test_every_starred_key_is_starred_and_no_other() -> None:
    required = {key.split(".")[-1] for key, default in defaults(Config).items() if default is ...}
    starred = set(re.findall(r"^\s+(\w+):[^\n]*# \*", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE))
    assert starred == required


STARRED = re.compile(r"^(\s+)(\w+):  # \*.*$", flags=re.MULTILINE)
FILLED = {
    "base_url": "http://127.0.0.1:8080",
    "org_app_secret": "{credential: a}",
    "authorization": "{file: /b}",
    "encrypt": "true",
    "purchase_date": "2024-06-01",
    "machine_code": "A1",
    "device_no": "A1",
}


def test_the_generated_file_is_accepted_once_its_starred_keys_are_filled(tmp_path: Path) -> None:
    text = config_file()
    missing = examined(text, tmp_path)[1]
    assert {finding.code for finding in missing} == {"E6020"}
    assert (
        len(missing) == len(STARRED.findall(text)) == len([v for v in defaults(Config).values() if v is ...])
    )
    filled = STARRED.sub(lambda found: f"{found[1]}{found[2]}: {FILLED.get(found[2], '一')}", text)
    config, findings = examined(filled, tmp_path)
    assert findings == []
    minimal, _ = examined(changed("http", "http"), tmp_path)
    assert config is not None
    assert minimal is not None
    assert config.model_dump(exclude={"platform", "device"}) == minimal.model_dump(
        exclude={"platform", "device"}
    )


def test_what_is_in_force_marks_defaults_and_shows_no_password(tmp_path: Path) -> None:
    text = (
        GOOD
        + "camera: {source: 'rtsp://u:hun@t/er2@10.0.0.9/live?user=u&password=hunter2'}\noutbox: {max_bytes: 5 GiB}\n"
    )
    config, _ = examined(text, tmp_path)
    assert config is not None
    rows = {row.name: row for row in in_force(config)}
    assert (rows["outbox.max_bytes"].value, rows["outbox.max_bytes"].default) == ("5GiB", False)
    assert (rows["face.engine"].value, rows["face.engine"].default) == ("builtin", True)
    assert rows["platform.org_app_secret"].value == "{credential: a}"
    assert rows["camera.source"].value == '"rtsp://***@10.0.0.9/live?***"'
    assert "er2" not in str(rows)
    assert set(rows) == set(defaults(Config))


def test_config_generate_and_show_as_typed(tmp_path: Path) -> None:
    out = tmp_path / "c.yaml"
    runner = CliRunner()
    assert runner.invoke(cli, ["config", "generate", "--example", "--out", str(out)]).exit_code == 0
    assert out.read_text("utf-8") == EXAMPLE.read_text("utf-8")
    assert isinstance(runner.invoke(cli, ["config", "generate", "--out", str(out)]).exception, AgentError)
    shown = runner.invoke(cli, ["config", "show", "--config", str(out)])
    assert "platform.drain_per_minute: 60" in shown.output
    assert runner.invoke(cli, ["config", "generate"]).output == config_file()
    told = json.loads(runner.invoke(cli, ["config", "show", "--config", str(out), "--json"]).output)
    file = {"default": False, "origin": "file"}
    assert told["platform.base_url"] == {"value": "http://127.0.0.1:8080", **file}
    assert told["platform.encrypt"] == {"value": True, **file}
    assert told["platform.org_app_secret"]["value"] == {"credential": "org_app_secret", "file": None}
    assert told["operators.list"] == {"value": [], "default": True, "origin": "file"}
    assert told["outbox.max_bytes"]["value"] == 20 * 2**30


def test_generate_leaves_a_file_that_others_cannot_read_and_never_half_of_one(tmp_path: Path) -> None:
    out = tmp_path / "c.yaml"
    command = [sys.executable, "-m", "agent", "config", "generate", "--lang", "en", "--out"]
    done = subprocess.run([*command, str(out)], capture_output=True, text=True, check=False)
    stars = len(STARRED.findall(config_file()))
    assert f"({stat.S_IMODE(out.stat().st_mode):04o}). Fill in the {stars} starred keys" in done.stdout
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    out.write_text("mine")
    again = subprocess.run([*command, str(out)], capture_output=True, text=True, check=False)
    assert (again.returncode, out.read_text()) == (2, "mine")
    full = subprocess.run([*command, "/dev/full"], capture_output=True, text=True, check=False)
    assert full.returncode == 2, "it is there, so it is not written to"


def test_in_the_service_s_folder_its_group_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Path, str, str]] = []
    monkeypatch.setattr("agent.keys.SECRETS", tmp_path / "secrets")
    monkeypatch.setattr("agent.cli.setup.shutil.chown", lambda *whose: given.append(whose))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    out = tmp_path / "config.yaml"
    done = CliRunner().invoke(cli, ["config", "generate", "--lang", "en", "--out", str(out)])
    assert "(0640 root:kiosk-agent)" in done.output
    assert (stat.S_IMODE(out.stat().st_mode), given) == (0o640, [(out, "root", "kiosk-agent")])


def test_show_tells_who_said_it(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(GOOD, "utf-8")
    env = {"STATE_DIRECTORY": "/srv/kiosk"}
    done = CliRunner().invoke(
        cli, ["config", "show", "--json", "--config", str(tmp_path / "c.yaml")], env=env
    )
    told = {key: row["origin"] for key, row in json.loads(done.output).items()}
    assert told["state_dir"] == "environment"
    assert told["platform.encrypt"] == "file"
    assert told["face.engine"] == "default"


def test_the_shape_follows_the_schema() -> None:
    top = shape.of_model(Config)
    assert set(top.members) == set(Config.model_fields)
    assert "register" in top.members["platform"].members
    assert top.members["platform"].members["conventions"].members["absent_finger"].words == ("omit", "null")


fragments = st.lists(
    st.sampled_from(
        [*GOOD.splitlines(), "  a: b", "- x", "{", "]", "\t", "&a", "? b", "：", "'", "0777", "lang: zh"]
    ),
    max_size=25,
)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=200), fragments.map("\n".join).map(str.encode)))
def test_any_file_is_a_configuration_or_findings(raw: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        config, findings = examined(raw, Path(folder))
        assert (config is None) == any(finding.fatal for finding in findings)
        for finding in findings:
            assert finding.line("zh")
            assert finding.line("en")


KEYS = [key.path for key in keys() if not key.section]
values = st.one_of(
    st.text(max_size=20),
    st.from_regex(r"\A(https?|rtsp)://[\[\]:@/.a0?#%]{0,9}\Z"),
    st.sampled_from(["\ud800", "1e999999999GiB", "０", "nan", "no", "1:30", "/x\0y", "9" * 5000, "\u2028"]),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)


@settings(deadline=None)
@given(path=st.sampled_from(KEYS), value=values, escaped=st.booleans())
def test_any_value_of_any_key_is_taken_whole_or_told(
    path: tuple[str, ...], value: object, escaped: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What is taken can be shown, digested and handed on; what is not is told at a place in the file."""
    content = yaml.safe_load(GOOD)
    section = content
    for name in path[:-1]:
        section = section.setdefault(name, {})
    section[path[-1]] = value
    # JSON is YAML in one line, its escapes included; a lone half of a character can only be written as one.
    text = json.dumps(content, ensure_ascii=escaped, default=str)
    config, findings = examined(text.encode("utf-8", "surrogatepass"), tmp_path_factory.getbasetemp())
    assert (config is None) == any(finding.fatal for finding in findings)
    if config is not None:
        assert json.loads(config.model_dump_json())
        assert all(json.dumps(row.data) and row.value is not None for row in in_force(config))
    for finding in findings:
        assert finding.place.line >= 1
        assert finding.line("zh").encode()


def test_every_call_of_the_platform_is_known_where_its_address_is_checked() -> None:
    assert set(rules.CALLS) == {client.REGISTER, client.VERIFY}
