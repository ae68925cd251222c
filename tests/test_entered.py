"""What a person enters into a record's fields: understood as typed, refused when the platform never takes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from admin_support import answered, history, owned, refused
from e2e_support import Site
from hmpt_support import PICTURES
from hypothesis import given
from hypothesis import strategies as st
from outbox_support import verification

from agent.catalogue import AgentError, describe
from agent.cli.outbox_words import FIELDS
from agent.config.schema import Conventions
from agent.hmpt import checks, entered, shown
from agent.hmpt.codes import NATIONS
from agent.hmpt.render import texts
from agent.outbox import SettleParked
from agent.records import ENTERED, Verification

PLAIN = Conventions()


def told(name: str, text: object, **knobs: Any) -> AgentError | None:
    """Return why a value is refused, None when it is taken."""
    try:
        entered.values(verification(), {name: text}, Conventions(**knobs))
    except AgentError as error:
        return error
    return None


def code(name: str, text: object, **knobs: Any) -> str:
    """Return under which code a value is refused, "" when it is taken."""
    error = told(name, text, **knobs)
    return "" if error is None else error.code


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("nationalCode", "ZZ", "E3133"),
        ("nationalCode", "57", "E3133"),
        ("nationalCode", "00", "E3133"),
        ("nationalCode", "０８", "E3133"),
        ("nationalCode", "", "E3132"),
        ("nationalCode", None, "E3132"),
        ("sexCode", "3", "E3133"),
        ("sexCode", "女性", "E3133"),
        ("address", "路" * 400, "E3134"),
        ("address", "  ", "E3132"),
        ("address", "一\u202e二", "E3135"),
        ("address", "一\x1b[2J二", "E3135"),
        ("address", "\ud800", "E3135"),
        ("police", ["局"], "E3132"),
        ("police", "局" * 101, "E3134"),
        ("operationUser", "十一个字的名字实在太长", "E3134"),
        ("cardStartDate", "2024-13-01", "E3138"),
        ("cardStartDate", "20230229", "E3138"),
        ("cardStartDate", "长期", "E3138"),
        ("cardStartDate", "２０２０0101", "E3138"),
        ("cardEndDate", "soon", "E3138"),
        ("cardEndDate", "2019-12-31", "E3139"),
        ("cardStartDate", "2040-01-02", "E3139"),
        ("cardStartDate", "2026-03-02", "E3139"),
        ("cardStartDate", "1989-12-31", "E3139"),
    ],
)
def test_what_the_platform_never_takes_is_refused(name: str, text: object, expected: str) -> None:
    error = told(name, text)
    assert error is not None
    assert error.code == expected
    for lang in ("zh", "en"):
        said = describe(error, lang)
        assert name in said
        assert "?" not in said, "a fact is missing"
        assert len(str(text)) < 3 or str(text) not in said


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("nationalCode", "8", "08"),
        ("nationalCode", " 壮族 ", "08"),
        ("nationalCode", "土家", "15"),
        ("nationalCode", "土", "30"),
        ("sexCode", "02", "2"),
        ("sexCode", "女", "2"),
        ("address", " 南宁市　某路  1号 ", "南宁市 某路 1号"),
        ("address", "\ue000村", "\ue000村"),
        ("cardStartDate", "2020.01.01", "20200101"),
        ("cardStartDate", "2020年01月01日", "20200101"),
        ("cardEndDate", "-", "长期"),
        ("cardEndDate", "长期", "长期"),
        ("cardEndDate", "2026-02-28", "20260228"),  # she came with an expired card
    ],
)
def test_it_is_understood_as_people_write_it(name: str, text: str, kept: str) -> None:
    assert entered.values(verification(), {name: text}, PLAIN) == {ENTERED[name]: kept}


def test_the_sites_conventions_decide() -> None:
    assert code("address", "路" * 34) == ""
    assert code("address", "路" * 34, length_unit="utf8") == "E3134"
    assert code("address", "路" * 50, length_unit="gbk") == ""
    assert code("address", "路" * 51, length_unit="gbk") == "E3134"
    assert code("operationUser", "王医生甲") == ""
    assert code("operationUser", "王医生甲", length_unit="utf8") == "E3134"
    assert code("address", "\ue000村", private_use="hold") == "E3135"
    assert code("cardEndDate", "99991231") == ""
    assert code("cardEndDate", "无期", permanent_date="无期") == ""


knobs = st.fixed_dictionaries(
    {
        "length_unit": st.sampled_from(["chars", "utf8", "gbk"]),
        "types": st.sampled_from(["table", "example"]),
        "sex_width": st.sampled_from([1, 2]),
        "card_dates": st.sampled_from(["date", "datetime"]),
        "private_use": st.sampled_from(["send", "hold"]),
        "address": st.sampled_from(["printed", "newest"]),
    }
)
words = (
    st.text(max_size=120)
    | st.sampled_from([*NATIONS, *NATIONS.values(), "1", "2", "长期", "-"])
    | st.dates(date(1980, 1, 1)).map(str)
)


@given(st.dictionaries(st.sampled_from(sorted(ENTERED)), words, min_size=1), knobs)
def test_whatever_is_taken_is_what_the_platform_takes(
    given_values: dict[str, str], site: dict[str, Any]
) -> None:
    conventions, one = Conventions(**site), verification()
    refusals = {"E3132", "E3133", "E3134", "E3135", "E3138", "E3139"}
    try:
        changes: dict[str, Any] = entered.values(one, given_values, conventions)
    except AgentError as error:
        refusals.remove(error.code)
        return
    pictures = dict.fromkeys(PICTURES, b"\xff\xd8\xff\xd9")
    assert checks.problems(replace(one, **changes), pictures, conventions, 10**6) == []


def test_help_show_and_dry_run_use_the_same_names() -> None:
    assert list(FIELDS) == list(ENTERED)
    printed = {field.name for field in shown.fields(verification(), PICTURES, PLAIN)}
    assert set(ENTERED) <= printed


@pytest.fixture
def site(tmp_path: Any) -> Site:
    return Site(tmp_path / "site")


def test_amend_refuses_and_changes_nothing(site: Site) -> None:
    ids = history(site)
    for change, expected in (
        ("nationalCode=ZZ", "E3133"),
        ("address=" + "路" * 400, "E3134"),
        ("cardEndDate=2024-02-30", "E3138"),
        ("cardNo=450102199001010041", "E3123"),  # a wrong check digit, and not a person's to correct
        ("nation_code=08", "E3123"),
    ):
        said = refused(site, expected, "outbox", "amend", ids["parked"], "--set", change)
        assert change.partition("=")[0] in said
        assert change.partition("=")[2] not in said
    assert "08 壮" in refused(site, "E3133", "outbox", "amend", ids["parked"], "--set", "nationalCode=ZZ")
    assert answered(site, "outbox", "show", ids["parked"])["state"] == "parked"
    assert answered(site, "outbox", "stats")["accepted"] == len(ids)
    once = site.cli("outbox", "amend", ids["parked"], "--set", "address=甲", "--set", "address=乙")
    assert once.returncode == 2


def parked(site: Site, one: Verification) -> str:
    """Leave a record that the platform refused. Return its id."""
    with owned(site) as own:
        own.outbox.put(one, PICTURES, person="p", holds={})
        claim = own.outbox.claim(own.clock.now())
        assert claim is not None
        own.outbox.settle(claim, SettleParked("E5101", ""))
    return one.id


def test_an_amended_address_is_the_one_that_is_sent_whatever_the_chip_holds(site: Site) -> None:
    old = parked(site, replace(verification(), newest_address="芯片中的新住址"))
    new = answered(site, "outbox", "amend", old, "--set", "address=南宁市某路一号")
    with owned(site) as own:
        corrected = own.outbox.verification(new["id"])
        assert own.outbox.verification(old).newest_address == "芯片中的新住址"
    for which in ("printed", "newest"):
        assert texts(corrected, Conventions(address=which))["address"] == "南宁市某路一号"


def test_what_else_stands_in_the_way_is_told_at_once(site: Site) -> None:
    old = parked(site, replace(verification(), issuer="局" * 120))
    new = answered(site, "outbox", "amend", old, "--set", "address=南宁市某路一号")
    assert new["state"] == "held"
    held = answered(site, "outbox", "show", new["id"])["holds"]
    assert held == {"field": "police: 120 chars, at most 100"}
