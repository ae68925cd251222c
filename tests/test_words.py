"""Facts in words: Chinese sentences hold no English, and English stays what the program wrote."""

from __future__ import annotations

import ast
import json
import logging
import string
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import messages_seen
import pytest
import yaml
from hypothesis import strategies as st

from agent import logs, words
from agent.catalogue import AgentError, describe, entries, entry
from agent.cli import doctor_words
from agent.hmpt import checks
from agent.ops import conditions, devices, machine, reach

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("agent/**/*.py"), *ROOT.glob("drivers/**/*.py")])
CODES = frozenset(entries())
#: Facts of these names are shown in a sentence of some code.
SHOWN = frozenset[str]().union(*(messages_seen.placeholders(code) for code in entries()))


@pytest.mark.parametrize(
    ("fact", "chinese"),
    [
        ("not there", "不存在"),
        ("answer to find card", "“找卡”的应答"),
        ("spoilt frame (checksum)", "损坏的帧（校验和不符）"),
        ("realName: 15 bytes in UTF-8, VARCHAR(10)", "姓名（realName）：UTF-8 编码 15 字节，超过 10"),
        ("station, uploader", "刷卡、上传"),
        ("parked/discarded", "被拒、已放弃"),
        ("/dev/console/ready: not there", "/dev/console/ready：不存在"),
        ("self-signed certificate; issuer CN=Gateway", "自签名证书；签发者“CN=Gateway”"),
        ("/var/lib/ready,held", "/var/lib/ready,held"),
        ("12,345", "12,345"),
        ("auto | none", "auto | none"),
        ("no knob 'x'; there are padding | types", "没有旋钮 'x'；可用：padding | types"),
        ("no value 'x' of padding; there are pkcs7 | zero", "padding 没有值 'x'；可用：pkcs7 | zero"),
        ("value 'x' of window_s is no number", "window_s 的值 'x' 不是数字"),
        ("invalid literal for int() with base 10: 'x'", "'x' 不是整数"),
        ("on: there are records | all", "on 可用：records | all"),
        ("at least 1", "最少 1"),
        ("impossible date", "日期不存在"),
        ("unknown code", "代码不在表中"),
        ("differs from number", "与证件号码不一致"),
        ("private-use character", "含私用区字符，请人工核对"),
        ("broken character", "含残缺的字符，请人工核对"),
        ("rare character", "含生僻字，请人工核对"),
    ],
)
def test_a_fact_reads_as_chinese_and_stays_english_in_english(fact: str, chinese: str) -> None:
    assert words.said(fact, "zh") == chinese
    assert words.said(fact, "en") == fact


@pytest.mark.parametrize("key", ["platform", "device", "platform.base_url", "model", "number", "a, platform"])
def test_a_key_of_the_configuration_stays_as_it_is_typed(key: str) -> None:
    assert key in entry("E6014").title("zh", {"key": key, "first": "3:1"})
    assert key in entry("E8105").title("zh", {"keys": key})


def test_a_code_word_is_spelt_out_in_english_too() -> None:
    error = AgentError("I2004", reason="below_threshold")
    assert describe(error, "en") == "faces not compared (below the threshold) (I2004)"
    assert describe(error, "zh") == "未能比对人脸（低于阈值）（I2004）"


def test_what_is_only_explained_says_what_will_stand_there() -> None:
    assert entry("E1101").title("zh") == "未找到读卡器（〈端口〉）"
    assert entry("E1101").title("en") == "card reader not found (<port>)"
    assert entry("E7208").steps("zh")[0].startswith("把密钥放入 〈目录〉")


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_every_placeholder_has_a_name_in_both_languages(name: str) -> None:
    zh, en = words.placeholder(name, "zh"), words.placeholder(name, "en")
    assert zh[0] + zh[-1] == "〈〉"
    assert not messages_seen.WORD.findall(zh)
    assert en.isascii()


@hypothesis.given(st.text(max_size=40))
def test_whatever_a_fact_holds_it_can_be_said(fact: str) -> None:
    assert bool(words.said(fact, "zh")) == bool(fact)


@pytest.mark.parametrize("code", sorted(entries()))
def test_a_chinese_sentence_holds_no_english_of_its_own(code: str) -> None:
    assert messages_seen.english(entry(code).title("zh")) == []


def literals(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield the facts that a module writes beside a code as plain text: line, name, value."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        beside = [*node.args, *node.keywords] if isinstance(node, ast.Call) else getattr(node, "elts", [])
        coded = any(isinstance(one, ast.Constant) and one.value in CODES for one in beside)
        raised = isinstance(node, ast.Call) and "Error" in ast.unparse(node.func)
        if not coded and not raised:
            continue
        facts = [(one.arg, one.value) for one in beside if isinstance(one, ast.keyword)]
        for one in beside:
            if isinstance(one, ast.Dict):
                facts += [
                    (str(getattr(k, "value", "")), v) for k, v in zip(one.keys, one.values, strict=True)
                ]
        for name, value in facts:
            if name in SHOWN - messages_seen.GIVEN and isinstance(value, (ast.Constant, ast.JoinedStr)):
                yield value.lineno, str(name), _text(value)


def _text(value: ast.Constant | ast.JoinedStr) -> str:
    """Return a constant, or an f-string with a number in each of its holes."""
    if isinstance(value, ast.Constant):
        return str(value.value)
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in value.values)


def test_what_the_program_writes_into_a_sentence_has_chinese_words() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}={text}"
        for path in SOURCES
        for line, name, text in literals(path)
        if messages_seen.english(words.said(text, "zh"))
    ]
    assert found == []


def test_a_run_is_judged_by_what_was_filled_in() -> None:
    told = ['["E1102", {"port": "/dev/x", "reason": "nobody translated this"}]', '["E1101", {}]']
    said = messages_seen.faults(told)
    assert [fault.partition(":")[0] for fault in said] == ["E1101", "E1102"]
    assert "nobody says what port is" in said[0]
    assert "nobody translated this" in said[1]
    assert messages_seen.faults(['["E1102", {"port": "/dev/x", "reason": "not there"}]']) == []


def test_both_languages_of_the_words_have_the_same_holes() -> None:
    def holes(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text.replace("'}'", "")) if name}

    for english, given in words.table()["values"].items():
        chinese = given if isinstance(given, str) else given[0]
        assert holes(chinese) <= holes(english), english


@pytest.mark.parametrize(
    ("code", "facts"),
    [
        ("E3132", {}),
        ("E3133", {"allowed": "0, 1, 2"}),
        *(
            ("E3134", {"length": "12", "unit": unit, "limit": "10"})
            for unit in ("chars", "utf8", "gbk", "base64")
        ),
        ("E3135", {"character": "U+1F600"}),
        ("E3136", {}),
        ("E3137", {}),
    ],
)
def test_why_a_record_is_held_is_one_chinese_sentence_in_the_log(code: str, facts: dict[str, str]) -> None:
    named = "; ".join(checks.Problem(name, code, facts).told("en") for name in ("operationUser", "headImg"))
    record = logging.makeLogRecord({"agent_code": "W3002", "agent_facts": {"problems": named}})
    sentence = logs.LineFormatter("zh", bare=True).format(record).partition(" [W3002]")[0]
    assert not messages_seen.english(sentence)
    assert "操作人（operationUser）" in sentence


# --- words of other programs ------------------------------------------------------------------------


def yaml_problems() -> Iterator[str]:
    """Yield what PyYAML can say of a file, from its own source, filled in with an example."""
    for module in ("scanner", "parser", "composer"):
        tree = ast.parse((Path(str(yaml.__file__)).parent / f"{module}.py").read_text("utf-8"))
        for node in ast.walk(tree):
            if not (
                isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and len(node.exc.args) >= 3
            ):
                continue
            for said in ast.walk(node.exc.args[2]):
                if isinstance(said, ast.Constant) and isinstance(said.value, str):
                    yield said.value.replace("%r", "'@'").replace("%d", "8")


def test_whatever_pyyaml_says_of_a_file_is_said_in_chinese() -> None:
    said = set(yaml_problems())
    assert len(said) > 30
    assert not [one for one in said if messages_seen.faults([json.dumps(["E6010", {"problem": one}])])]
    ids = {token.id for token in vars(yaml.tokens).values() if hasattr(token, "id")}
    assert "<block end>" in ids
    assert not [one for one in ids if "<" in one and words.said(repr(one), "zh").isascii()]


def test_what_doctor_saw_has_a_name_in_chinese() -> None:
    names = set()
    for module in (conditions, devices, machine, reach):
        tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))
        found = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value]
        dicts = [one for value in found for one in ast.walk(value) if isinstance(one, ast.Dict)]
        names |= {key.value for one in dicts for key in one.keys if isinstance(key, ast.Constant)}
    assert len(names) > 20
    of_a_problem = {"code", "facts", "severity", "who", "title", "do"} | {
        "topics",
        "told",
        "face",
    }  # and of a report
    assert names - of_a_problem <= set(doctor_words.FACTS) | SHOWN | {"epoch"}
    texts = [*doctor_words.FACTS.values(), *doctor_words.LABELS.values(), *doctor_words.VALUES.values()]
    assert [text for text in texts if text.isascii()] == ["Python", "TLS"]
    assert doctor_words.seen("state", "ok", "zh") == "状态 正常"
    assert doctor_words.seen("free", str(300 * 2**20), "zh") == "剩余空间 300 MiB"
    assert doctor_words.seen("sent", "nothing, platform.register is never", "zh").startswith("发送 未发送（")
