"""The registrar's page in Chromium, before the daemon, a reader on a pty, a camera file and the platform."""

from __future__ import annotations

import json
import re
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import requests
from codes_seen import saw
from e2e_support import wait_for
from page_support import KIOSK, SIDE_SCREEN, DeskSite, browser, needs_chromium, violations
from playwright.sync_api import Browser, Page, expect

pytestmark = needs_chromium

#: What a person's card must not leave anywhere but in one revealed record.
WAIT_MS = 30_000
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeskSite]:
    with DeskSite(tmp_path_factory.mktemp("desk") / "site") as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture
def page(desk: DeskSite, chromium: Browser) -> Iterator[Page]:
    """Return an opened page; whatever its scripts complain of fails the test."""
    context = chromium.new_context(viewport=KIOSK)
    context.set_default_timeout(WAIT_MS)
    complaints: list[str] = []
    context.on(
        "console", lambda message: complaints.append(message.text) if message.type == "error" else None
    )
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    opened = desk.open(context)
    yield opened
    context.close()
    # A daemon that is stopped is a refused connection, and Chromium says so itself.
    assert [text for text in complaints if "net::ERR_" not in text] == []


def state(page: Page, wanted: str) -> None:
    """Wait until the large part shows a state."""
    expect(page.locator("#stage")).to_have_attribute("data-state", wanted)


def lay(desk: DeskSite, page: Page, card: Any) -> None:
    """Lay a card down and wait until it has been dealt with; then take it away."""
    before = len(desk.site.kept())
    desk.reader.place(card)
    wait_for("the record is kept", lambda: len(desk.site.kept()) > before)
    state(page, "kept")
    desk.reader.lift()


def sign_in(page: Page, name: str = "李静") -> None:
    """Choose an operator from the list, by keyboard."""
    page.keyboard.press("F2")
    page.get_by_label(name).check()
    page.keyboard.press("Enter")
    expect(page.locator("#operator-name")).to_have_text(name)


def audited(desk: DeskSite, what: str) -> list[dict[str, Any]]:
    """Return the lines of the trail of one kind."""
    trail = (desk.site.folder / "state/audit.jsonl").read_text("utf-8").splitlines()
    return [line for line in map(json.loads, trail) if line["what"] == what]


def test_without_an_operator_verification_goes_on_and_the_record_waits_for_one(
    desk: DeskSite, page: Page
) -> None:
    state(page, "ready")
    expect(page.locator("#headline")).to_have_text("可以刷卡")
    expect(page.locator("#operator-name")).to_have_text("未签到")
    lay(desk, page, desk.cards[2])
    expect(page.locator("#held li", has_text="缺操作人")).to_have_count(1)
    page.keyboard.press("F2")
    page.get_by_label("或输入姓名").fill("一二三四五六七八九十")
    page.keyboard.press("Enter")
    expect(page.locator("#operator-name")).to_have_text("一二三四五六七八九十")
    expect(page.locator("#held li", has_text="缺操作人")).to_have_count(0)
    wait_for("it is delivered", lambda: desk.site.stats()["delivered"] == 1)
    sign_in(page)
    assert [line["object"] for line in audited(desk, "operator.signed_in")] == [
        "一二三四五六七八九十",
        "李静",
    ]


def test_ready_working_and_kept_with_steps_and_the_last_person_masked(desk: DeskSite, page: Page) -> None:
    expect(page.locator("#notice")).to_contain_text("用途")
    expect(page.locator("#notice")).to_contain_text("24 小时")
    desk.reader.place(desk.passing)
    state(page, "busy")
    expect(page.locator("#headline")).to_have_text("正在处理")
    expect(page.locator("#preview")).to_be_visible()
    expect(page.locator("#picture")).to_have_attribute("src", re.compile("^blob:"))
    state(page, "kept")
    desk.reader.lift()
    expect(page.locator("#headline")).to_have_text("请继续登记")
    expect(page.locator("#preview")).to_be_hidden()
    expect(page.locator("#picture")).not_to_have_attribute("src", re.compile("."))
    expect(page.locator("#steps li[data-state=done]")).to_have_count(4)
    person = page.locator("#person")
    expect(person).to_contain_text(desk.passing.name[0] + "*")
    expect(person).to_contain_text(desk.passing.number[-2:])
    assert desk.passing.name not in page.content()
    assert desk.passing.number not in page.content()


def test_a_failed_one_is_told_alike_and_stands_on_the_list_until_somebody_settles_it(
    desk: DeskSite, page: Page
) -> None:
    lay(desk, page, desk.cards[4])
    alike = ("#headline", "#said", "#announce")
    passed = [page.locator(part).text_content() for part in alike]
    chimes = page.evaluate("Number(document.body.dataset.chimes)")
    lay(desk, page, desk.failing)
    expect(page.locator("#person")).to_contain_text(desk.failing.number[-2:])
    # Whoever sees and hears the large part learns no more than that the record is kept.
    assert [page.locator(part).text_content() for part in alike] == passed
    assert page.locator("#mark").get_attribute("href") == "#i-kept"
    assert page.evaluate("Number(document.body.dataset.chimes)") == chimes + 1
    assert not re.search("未通过|失败|不符", page.locator("#stage").inner_text())
    row = page.locator("#todo > li", has_text="核验未通过")
    expect(row).to_contain_text("按规定通知公安机关核查")
    row.get_by_role("button", name="显示").click()
    expect(page.locator("#reveal-name")).to_have_text(desk.failing.name)
    expect(page.locator("#reveal-number")).to_have_text(desk.failing.number)
    page.keyboard.press("Escape")
    expect(page.locator("#reveal-name")).to_have_text("")
    assert desk.failing.name not in page.content()
    assert len(audited(desk, "followup.revealed")) == 1
    row.get_by_role("button", name="办结").click()
    expect(page.locator("#settle")).to_contain_text("办结人：李静")
    page.get_by_label("已按规定通知公安机关核查").check()
    page.locator("#settle").get_by_role("button", name="办结").click()
    expect(page.locator("#todo > li.none")).to_have_count(1)
    closed = audited(desk, "followup.closed")
    assert [line["who"].rpartition("/")[2] for line in closed] == ["李静"]
    assert [line["how"] for line in closed] == ["已按规定通知公安机关核查"]


def test_a_companions_card_is_announced_and_called_off(desk: DeskSite, page: Page) -> None:
    desk.before_the_camera(None)
    desk.reader.place(desk.companions)
    expect(page.locator("#said")).to_contain_text("男性")
    state(page, "busy")
    page.keyboard.press("F8")
    expect(page.locator("#said")).to_contain_text("拿错证件")
    state(page, "ready")
    desk.reader.lift()
    assert len(audited(desk, "attempt.wrong_card")) == 1
    expect(page.locator("#todo > li.none")).to_have_count(1)


def test_she_may_refuse_and_goes_on_without_a_word_about_it(desk: DeskSite, page: Page) -> None:
    desk.reader.place(desk.cards[3])
    state(page, "busy")
    expect(page.locator("#hint")).to_contain_text("没有看到人脸")
    page.keyboard.press("F4")
    page.get_by_label("她拒绝拍摄").check()
    page.keyboard.press("Enter")
    state(page, "declined")
    expect(page.locator("#headline")).to_have_text("请继续登记")
    assert "拒绝" not in page.locator("#stage").inner_text()
    desk.reader.lift()
    expect(page.locator("#todo > li", has_text="未核验：拒绝拍摄")).to_have_count(1)
    assert len(audited(desk, "attempt.refused")) == 1
    desk.before_the_camera("collins")


def test_a_record_held_for_its_nation_is_completed_at_the_desk(desk: DeskSite, page: Page) -> None:
    lay(desk, page, desk.without_nation)
    row = page.locator("#held > li", has_text="缺民族")
    expect(row).to_have_count(1)
    row.get_by_role("button", name="补全").click()
    expect(page.locator("#complete")).to_contain_text(desk.without_nation.name[0] + "*")
    page.get_by_label("民族").select_option("08")
    page.get_by_role("button", name="保存").click()
    expect(page.locator("#complete")).to_be_hidden()
    expect(page.locator("#held > li.none")).to_have_count(1)
    expect(page.locator("#platform")).to_contain_text("平台连接正常")
    wait_for("all is delivered", lambda: desk.site.stats()["ready"] + desk.site.stats()["held"] == 0)


def test_fifty_who_want_a_stream_do_not_keep_a_card_from_being_read(desk: DeskSite, page: Page) -> None:
    token = next(one for one in page.context.cookies() if one["name"] == "kiosk_page")["value"]
    got: list[int] = []
    done = threading.Event()

    def ask() -> None:
        with requests.Session() as session:
            session.trust_env = False
            session.cookies.set("kiosk_page", token)
            with session.get(f"{desk.url}/api/events", stream=True, timeout=60) as answer:
                got.append(answer.status_code)
                if answer.status_code == 200:
                    done.wait(60)

    askers = [threading.Thread(target=ask) for _ in range(50)]
    for asker in askers:
        asker.start()
    try:
        wait_for("each was answered", lambda: len(got) == 50)
        lay(desk, page, desk.cards[8])
        with requests.Session() as session:
            session.trust_env = False
            assert session.get(f"{desk.url}/healthz", timeout=60).status_code == 200
    finally:
        done.set()
        for asker in askers:
            asker.join(60)
    # The page has one of the six places, or lost it to nobody: it was there before.
    assert sorted(set(got)) == [200, 503]
    assert got.count(200) == 5


def test_the_whole_desk_by_keyboard_alone(desk: DeskSite, page: Page) -> None:
    def press(*keys: str) -> None:
        for key in keys:
            page.keyboard.press(key)

    lay(desk, page, desk.cards[5])
    expect(page.locator("#todo > li", has_text="核验未通过")).to_have_count(1)
    press("F2", "ArrowDown", "Enter")  # the operator: the second of the list
    expect(page.locator("#operator-name")).to_have_text("覃秀兰")
    page.locator("#tab-desk").focus()
    press("ArrowRight")
    expect(page.locator("#it")).to_be_visible()
    press("ArrowLeft")
    expect(page.locator("#desk")).to_be_visible()
    press("F9")
    expect(page.locator(":focus")).to_have_text("办结")
    press("Tab")
    expect(page.locator(":focus")).to_have_text("显示")
    press("Enter")
    expect(page.locator("#reveal")).to_be_visible()
    press("Escape")
    expect(page.locator("#reveal")).to_be_hidden()
    cases = page.locator("#todo > li:not(.none)")
    while left := cases.count():
        press("F9", "Enter", "Space", "Enter")
        expect(cases).to_have_count(left - 1)
    assert audited(desk, "followup.closed")[-1]["who"].endswith("/覃秀兰")
    sign_in(page)


def test_nothing_serious_stands_in_a_question(desk: DeskSite, page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.keyboard.press("F2")
    expect(page.locator("#sign-in")).to_be_visible()
    assert violations(page) == []


def test_the_screen_that_faces_her_has_no_list(desk: DeskSite, page: Page) -> None:
    page.goto(f"{desk.url}/?view=facing")
    page.wait_for_selector("body[data-live=yes]")
    expect(page.locator("#headline")).to_be_visible()
    expect(page.locator("#notice")).to_be_visible()
    for part in ("#todo", "#held", "#operator", "#person", "#answers", "#tab-it"):
        expect(page.locator(part)).to_be_hidden()


def test_the_reader_unplugged_and_back(desk: DeskSite, page: Page) -> None:
    state(page, "kept")
    desk.reader.unplug()
    state(page, "attention")
    expect(page.locator("#headline")).to_have_text("请联系信息科")
    expect(page.locator("#code")).to_have_text("代码 E1103")
    expect(page.locator("#do")).to_contain_text("重新插好数据线")
    state(page, "ready")


def test_the_platform_down_stops_nobody(desk: DeskSite, page: Page) -> None:
    desk.platform.kill()
    lay(desk, page, desk.cards[0])
    expect(page.locator("#platform")).to_contain_text("记录已保存，恢复后自动上传")
    expect(page.locator("#platform")).to_contain_text("未送达 1 条")
    page.get_by_role("tab", name="信息科").click()
    problem = page.locator(".problem", has_text="E4101")
    expect(problem).to_contain_text("连不上平台")
    expect(problem).to_contain_text("检查网线与政务外网")
    expect(page.locator("#it")).to_contain_text("下次尝试")
    for card in desk.cards:
        for field in card.personal_fields():
            assert field not in page.content()


def test_the_language_changes_and_stays(desk: DeskSite, page: Page) -> None:
    page.get_by_role("link", name="English").click()
    page.wait_for_selector("body[data-live=yes]")
    assert page.locator("html").get_attribute("lang") == "en"
    expect(page.locator("#notice")).to_contain_text("Purpose")
    page.goto(desk.url)
    page.wait_for_selector("body[data-live=yes]")
    expect(page.locator("#tab-it")).to_have_text("For IT")
    assert not re.search(r"[\u4e00-\u9fff]", page.locator(".bar .tabs, #stage, #line").first.inner_text())
    page.get_by_role("link", name="中文").click()
    expect(page.locator("#tab-it")).to_have_text("信息科")


@pytest.mark.parametrize("light", ["light", "dark"])
@pytest.mark.parametrize("tab", ["desk", "it"])
def test_nothing_serious_stands_in_the_way_of_anybody(
    page: Page, light: Literal["light", "dark"], tab: str
) -> None:
    page.emulate_media(color_scheme=light, reduced_motion="reduce")
    page.locator(f"#tab-{tab}").click()
    page.wait_for_selector(f"#{tab} .panel")
    assert violations(page) == []


@pytest.mark.parametrize("size", [KIOSK, SIDE_SCREEN], ids=["1024x768", "1080p"])
def test_everything_fits_on_the_screen(page: Page, size: Any) -> None:
    page.set_viewport_size(size)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    for part in ("#stage", "#notice", "#line", "#headline"):
        assert page.locator(part).evaluate("e => e.scrollWidth <= e.clientWidth + 1"), part


def test_a_page_without_a_session_shows_the_way_and_nobody(desk: DeskSite, chromium: Browser) -> None:
    context = chromium.new_context(viewport=KIOSK)
    stranger = context.new_page()
    stranger.goto(desk.url)
    expect(stranger.locator("#stage")).to_have_attribute("data-state", "closed")
    expect(stranger.locator("#headline")).to_have_text("请从桌面打开")
    for card in desk.cards:
        assert card.name[0] + "*" not in stranger.content()
    stranger.goto(f"{desk.url}/open#made-up")
    expect(stranger.locator("#said")).to_contain_text("E8407")
    context.close()


def test_the_desktop_entry_opens_the_page_and_no_command_line_holds_the_code(
    desk: DeskSite, chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    fake = tmp_path / "browser"
    fake.write_text(
        f'#!{sys.executable}\nimport sys\nopen({str(told)!r}, "w").write("\\n".join(sys.argv[1:]))\n'
    )
    fake.chmod(0o755)
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    answer = desk.site.cli("page", "--browser", f"{fake} --full")
    assert answer.returncode == 0, answer.stderr
    switch, address = told.read_text().splitlines()
    assert switch == "--full"
    file = Path(address.removeprefix("file://"))
    assert file.parent == runtime
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    code = re.search(r"#([\w-]+)", file.read_text())
    assert code is not None
    assert code.group(1) not in address
    context = chromium.new_context()
    opened = context.new_page()
    opened.goto(address)
    opened.wait_for_selector("body[data-live=yes]")
    assert opened.url == f"{desk.url}/"
    context.close()


def test_no_browser_and_no_page_are_told(desk: DeskSite) -> None:
    missing = desk.site.cli("page", "--browser", "/no/such/browser")
    assert (missing.returncode, "E8412" in missing.stderr) == (69, True)


def test_a_daemon_that_is_gone_is_told_and_its_return_needs_nobody(desk: DeskSite, page: Page) -> None:
    """Last: the daemon is started again."""
    desk.stop()
    expect(page.locator("#code")).to_have_text("代码 E8411")
    saw("E8411")
    expect(page.locator("#headline")).to_have_text("请联系信息科")
    expect(page.locator("#held li")).to_have_count(0)
    desk.start()
    state(page, "ready")
