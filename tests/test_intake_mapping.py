"""Mappings: the public examples, every code explicit, dates and pictures in all their forms, faults with places."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from console_support import configuration
from hypothesis import given
from hypothesis import strategies as st
from intake_support import base64_of, picture, submission
from outbox_support import NAME, NUMBER
from pictures_support import PICTURE_CHILD

from agent.clock import SystemClock
from agent.config import Config, ConfigError
from agent.intake import dates, fetch, pictures
from agent.intake.candidate import Candidate, fetchers, interpreted
from agent.intake.faults import Rejected
from agent.intake.form import Form, examine, read, shipped
from agent.intake.mapping import Fetchers, mapped
from agent.records import FaceResult, PictureKind
from drivers.card import CardKind

NOW = datetime(2026, 3, 1, 1, 0, tzinfo=timezone.utc)
CARD, LIVE = picture(11), picture(12)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return configuration(tmp_path_factory.mktemp("site"))


def understood(config: Config, form: Form, data: Any, folder: Path | None = None) -> Candidate:
    sources = fetchers(config, folder, SystemClock())
    return interpreted(
        data, config, form, sources, PICTURE_CHILD.accepted, NOW, trusted=True, operator="测试员"
    )


def faults(config: Config, form: Form, data: Any, folder: Path | None = None) -> list[tuple[str, str]]:
    with pytest.raises(Rejected) as caught:
        understood(config, form, data, folder)
    return sorted((fault.code, fault.pointer) for fault in caught.value.faults)


# --- the public examples ----------------------------------------------------------------------------

EASTCOMS = {
    "deviceNo": "0000777",
    "name": NAME,
    "cardno": NUMBER,
    "cardImg": "data:image/jpeg;base64," + base64_of(CARD),
    "spotImg": base64_of(LIVE),
    "score": 87,
    "threshold": 60,
    "validateType": 1,
    "faceResult": 1,
    "fingerResult": 3,
}


@pytest.mark.parametrize(
    ("code", "result"),
    [(1, FaceResult.PASSED), (2, FaceResult.FAILED), (3, FaceResult.NOT_VERIFIED), ("2", FaceResult.FAILED)],
)
def test_the_eastcoms_form(config: Config, code: object, result: FaceResult) -> None:
    found = understood(config, read("eastcoms-m20"), {**EASTCOMS, "faceResult": code})
    facts = found.verification
    assert facts.face.result is result
    assert facts.face.score == (None if result is FaceResult.NOT_VERIFIED else 0.87)
    assert (facts.name, facts.number, facts.birth, facts.sex_code) == (NAME, NUMBER, "19900101", "2")
    assert facts.verified_at == NOW
    assert facts.card_kind is CardKind.RESIDENT
    assert found.pictures == {PictureKind.CARD: CARD, PictureKind.CAMERA: LIVE}
    assert {hold.value for hold in found.holds} == {"nation", "address", "issuer", "field"}


def test_a_result_that_nobody_mapped_is_refused(config: Config) -> None:
    form = read("eastcoms-m20")
    for code in (0, 4, True, "1.0", " 9 ", 1.0):
        assert faults(config, form, {**EASTCOMS, "faceResult": code}) == [("E8519", "/faceResult")], code
    for blank in ("", None, " "):
        assert faults(config, form, {**EASTCOMS, "faceResult": blank}) == [("E8510", "/faceResult")]
    assert faults(config, form, {**EASTCOMS, "deviceNo": "0000778"}) == [("E8517", "/deviceNo")]


def test_the_same_eastcoms_form_again_is_the_same_verification(config: Config) -> None:
    form = read("eastcoms-m20")
    sources = fetchers(config, None, SystemClock())
    later = datetime(2026, 3, 2, tzinfo=timezone.utc)
    first = interpreted(EASTCOMS, config, form, sources, PICTURE_CHILD.accepted, NOW, trusted=True)
    again = interpreted(
        dict(reversed(EASTCOMS.items())), config, form, sources, PICTURE_CHILD.accepted, later, trusted=True
    )
    other = interpreted(
        {**EASTCOMS, "score": 88}, config, form, sources, PICTURE_CHILD.accepted, NOW, trusted=True
    )
    assert (first.caller_id, first.content) == (again.caller_id, again.content)
    assert first.caller_id != other.caller_id


GATE = {
    "DeviceCode": "0000777",  # names count whatever their case
    "type": "NI",
    "id": NUMBER,
    "name": NAME,
    "engName": "CESHI",
    "validFromDate": "2020-01-01",
    "validToDate": "长期",
    "authority": "测试市公安局",
    "address": "广西测试市测试路一号",
    "birthday": "1990-01-01",
    "nation": "壮",
    "gender": "F",
    "PHOTO": base64_of(CARD),
    "similarity": 0.98,
    "facePhoto": base64_of(LIVE),
    "result": "passed",
}


def test_the_security_gate_form(config: Config) -> None:
    form = read("security-gate")
    found = understood(config, form, GATE)
    facts = found.verification
    assert found.holds == {}
    assert (facts.nation_code, facts.sex_code, facts.valid_until) == ("08", "2", "长期")
    assert (facts.face.result, facts.face.score) == (FaceResult.PASSED, 0.98)
    none = understood(config, form, {**GATE, "similarity": -1, "result": "not_verified"})
    assert (none.verification.face.result, none.verification.face.score) == (FaceResult.NOT_VERIFIED, None)
    passport = understood(config, form, {**GATE, "type": "PP", "nation": "越南", "id": "E12345678"})
    assert passport.verification.card_kind is CardKind.OTHER
    assert {hold.value for hold in passport.holds} == {"nation"}
    assert faults(config, form, {key: value for key, value in GATE.items() if key != "result"}) == [
        ("E8510", "/result")
    ]


def test_the_read_host_form(config: Config) -> None:
    data = {
        "Name": NAME,
        "Sex": "女",
        "Nation": "壮族",
        "Birthday": "19900101",
        "Address": "广西测试市测试路一号",
        "Id": NUMBER.lower(),
        "Department": "测试市公安局",
        "StartDate": "20200101",
        "EndDate": "长期",
        "PhotoBase64": base64_of(CARD),
        "cameraPhotoBase64": base64_of(LIVE),
        "result": "failed",
        "score": 12.5,
    }
    found = understood(config, read("idcard-read-host"), data)
    assert found.holds == {}
    assert found.verification.number == NUMBER
    assert (found.verification.face.result, found.verification.face.score) == (FaceResult.FAILED, 0.125)


def test_the_read_service_form_takes_pictures_from_files(config: Config, tmp_path: Path) -> None:
    (tmp_path / "card.jpg").write_bytes(CARD)
    (tmp_path / "day").mkdir()
    (tmp_path / "day" / "live.jpg").write_bytes(LIVE)
    data = {
        "Name": NAME,
        "SexName": "女",
        "NationName": "壮",
        "Born": "19900101",
        "Address": "广西测试市测试路一号",
        "IDCardNo": NUMBER,
        "GrantDept": "测试市公安局",
        "ValidBegin": "20200101",
        "ValidEnd": "2040-01-01",
        "cardPhoto": "card.jpg",
        "cameraPhoto": f"{tmp_path}/day/live.jpg",
        "result": "passed",
        "score": 90,
    }
    form = read("idcard-read-service")
    found = understood(config, form, data, tmp_path)
    assert found.pictures == {PictureKind.CARD: CARD, PictureKind.CAMERA: LIVE}
    assert found.verification.valid_until == "20400101"
    assert found.holds == {}
    assert faults(config, form, data) == [("E8520", "/cameraPhoto"), ("E8520", "/cardPhoto")]


def test_the_tuya_form_takes_pictures_from_this_machine(config: Config, pictures_server: str) -> None:
    data = {
        "hotel_code": "x",
        "id_card_type": "SFZ",
        "id_card_no": NUMBER,
        "name": NAME,
        "gender": "女",
        "ethnicity": "壮",
        "address": "广西测试市测试路一号",
        "birth_date": "1990-01-01",
        "expire_start": "2020-01-01",
        "expire_end": "2040-01-01",
        "spot_picture_url": f"{pictures_server}/live.jpg",
        "id_card_picture_url": f"{pictures_server}/card.jpg",
        "auth_result": True,
        "score": 91,
    }
    form = read("tuya-psb")
    found = understood(config, form, data)
    assert found.pictures == {PictureKind.CARD: CARD, PictureKind.CAMERA: LIVE}
    assert found.verification.face.result is FaceResult.PASSED
    away = {**data, "spot_picture_url": "https://example.cn/live.jpg", "auth_result": 1}
    assert faults(config, form, away) == [("E8519", "/auth_result"), ("E8520", "/spot_picture_url")]


def test_every_shipped_mapping_reads_and_is_documented_and_tested() -> None:
    here = Path(__file__)
    document = (here.parent.parent / "docs/intake.md").read_text("utf-8")
    for name in shipped():
        assert examine(name)[1] == []
        assert f"`{name}`" in document
        assert f'read("{name}")' in here.read_text("utf-8")


# --- where pictures may come from -------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures_server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = {"/live.jpg": LIVE, "/card.jpg": CARD, "/huge": bytes(pictures.MAX_BYTES + 1)}.get(
                self.path
            )
            if self.path == "/away":
                self.send_response(302)
                self.send_header("Location", "/live.jpg")
                self.end_headers()
                return
            self.send_response(200 if body else 404)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        serving.join()


@pytest.mark.parametrize("path", ["/away", "/nowhere", "/huge"])
def test_an_address_that_leads_on_is_not_followed(pictures_server: str, path: str) -> None:
    assert fetch.url(SystemClock(), f"{pictures_server}/live.jpg") == LIVE
    with pytest.raises(pictures.Forbidden):
        fetch.url(SystemClock(), pictures_server + path)


@pytest.mark.parametrize(
    "address",
    [
        "http://10.0.0.1/a.jpg",
        "http://example.cn/a.jpg",
        "http://127.0.0.1.example.cn/",
        "http://localhost.example.cn/",
        "http://127.0.0.1@example.cn/a.jpg",
        "http://user:pass@127.0.0.1/a.jpg",
        "http://[::ffff:10.0.0.1]/",
        "http://0.0.0.0/",
        "http://169.254.169.254/latest",
        "http://2130706433/",
        "https://127.0.0.1/a.jpg",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "//127.0.0.1/a.jpg",
        "http://127.0.0.1:99999/",
        "http://",
        "not an address",
    ],
)
def test_no_other_host_is_ever_asked(address: str) -> None:
    with pytest.raises(pictures.Forbidden) as caught:
        fetch.url(SystemClock(), address)
    assert caught.value.reason == "not an http address on this machine"


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "in.jpg").write_bytes(CARD)
    (outside / "secret.jpg").write_bytes(CARD)
    (root / "link.jpg").symlink_to(outside / "secret.jpg")
    (root / "linked").symlink_to(outside)
    (root / "dir.jpg").mkdir()
    os.mkfifo(root / "pipe.jpg")
    assert fetch.file(root, "in.jpg") == CARD == fetch.file(root, f"{root}/in.jpg")
    names = ["../outside/secret.jpg", f"{outside}/secret.jpg", "link.jpg", "linked/secret.jpg", "dir.jpg"]
    names += ["pipe.jpg", "", ".", "..", "/", "a//b", "in.jpg/", "in.jpg\0", "missing.jpg", f"{root}x/in.jpg"]
    names += ["C:\\pictures\\1.jpg", "./in.jpg", "x/../in.jpg"]
    for name in names:
        with pytest.raises(pictures.Forbidden):
            fetch.file(root, name)
    with pytest.raises(pictures.Forbidden):
        fetch.file(None, "in.jpg")


# --- properties -------------------------------------------------------------------------------------


@given(st.binary(max_size=200), st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_base64_is_read_however_it_is_written(
    raw: bytes, uri: bool, url_safe: bool, broken: bool, bare: bool
) -> None:
    text = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(raw).decode()
    text = text.rstrip("=") if bare else text
    text = "\r\n".join(text[at : at + 19] for at in range(0, len(text), 19)) if broken else text
    assert pictures.from_base64(("data:image/jpeg;base64," if uri else "") + text) == raw


@given(st.text(max_size=40))
def test_any_text_is_base64_or_unusable(text: str) -> None:
    with contextlib.suppress(pictures.Unusable):
        assert isinstance(pictures.from_base64(text), bytes)


FORMS = ["yyyyMMddHHmmss", "yyyy-MM-dd HH:mm:ss", "yyyy年MM月dd日 HH时mm分ss秒", "iso", "seconds", "millis"]


@given(
    st.integers(946_684_800, 3_786_912_000).map(lambda at: datetime.fromtimestamp(at, timezone.utc)),
    st.sampled_from(FORMS),
)
def test_a_time_comes_back_from_every_form(moment: datetime, form: str) -> None:
    written = {"iso": moment.isoformat(), "seconds": str(int(moment.timestamp()))}
    written["millis"] = str(int(moment.timestamp() * 1000))
    text = written.get(form) or (
        form.replace("yyyy", f"{moment.year:04}")
        .replace("MM", f"{moment.month:02}")
        .replace("dd", f"{moment.day:02}")
        .replace("HH", f"{moment.hour:02}")
        .replace("mm", f"{moment.minute:02}")
        .replace("ss", f"{moment.second:02}")
    )
    assert dates.known(form)
    assert dates.parsed(text, form, timezone.utc) == moment
    assert form == "iso" or dates.parsed(text + "0", form, timezone.utc) != moment


@given(st.text(max_size=20), st.sampled_from(FORMS))
def test_any_text_is_a_time_or_none(text: str, form: str) -> None:
    found = dates.parsed(text, form, timezone.utc)
    assert found is None or found.tzinfo is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_whatever_a_kiosk_sends_is_a_submission_or_faults_at_its_own_places(
    config: Config, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(shipped()))
    form = read(name)
    paths = [rule.path for rule in form.rules().values() if rule.path is not None]
    sent = data.draw(st.dictionaries(st.sampled_from(paths) | st.text(max_size=5), json_values) | json_values)
    nothing = Fetchers(_nothing, _nothing)
    with pytest.raises(Rejected) as caught:
        interpreted(sent, config, form, nothing, PICTURE_CHILD.accepted, NOW, trusted=True)
    ours = {"/verified_at", "/id", "/card", "/card/kind", ""}
    for fault in caught.value.faults:
        assert fault.pointer.removeprefix("/") in paths or fault.pointer in ours, fault
        assert fault.as_json("en")["title"]


def _nothing(_name: str) -> bytes:
    raise pictures.Forbidden("HTTP 404")


@given(st.sampled_from(["passed", "failed"]), st.integers(0, 100))
def test_a_verdict_is_handed_on_and_never_computed(result: str, hundredths: int) -> None:
    codes = {"passed": 1, "failed": 2}
    found = mapped(
        read("eastcoms-m20"),
        {**EASTCOMS, "faceResult": codes[result], "score": hundredths, "cardImg": "", "spotImg": ""},
        Fetchers(_nothing, _nothing),
        NOW,
    )
    # A passed result with a score of nothing stays passed: whose judgement it is, is not ours to say.
    assert found.values["result"] == result
    # Exactly: the platform's two decimals are cut off, and 0.5699999 would become 0.56.
    assert found.values["score"] == hundredths / 100


# --- mapping files ----------------------------------------------------------------------------------

OWN = """\
about: test
fields:
  id: {path: a.b.0}
  verified_at: {path: t, forms: [millis]}
  kind: {value: resident}
  name: {path: nm}
  number: {path: m}
  card_picture: {path: c, picture: base64}
  camera_picture: {path: d, picture: base64}
  valid_from: {path: v, split: "~", forms: [yyyy.MM.dd]}
  valid_until: {path: v, split: "~", take: 1, forms: [yyyy.MM.dd]}
  score: {path: s}
  result: {path: r, codes: {ok: passed, no: failed}}
"""


def told(text: str, folder: Path) -> list[str]:
    path = folder / "own.yaml"
    path.write_text(text, "utf-8")
    return [f"{finding.place.line} {finding.code}" for finding in examine(str(path))[1]]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", []),
        ("about: test\n", "", ["1 E6020"]),
        ("  name: {path: nm}\n", "", ["2 E6020"]),
        ("{path: nm}", "{path: nm, value: x}", ["6 E6052"]),
        ("{path: nm}", "{split: x}", ["6 E6052"]),
        ("{path: nm}", "{made: digest}", ["6 E6052"]),
        ("{path: nm}", "{pth: nm}", ["6 E6052", "6 E6016"]),
        ("{value: resident}", "{value: passport}", ["5 E6024"]),
        (", codes: {ok: passed, no: failed}", "", ["13 E6053"]),
        ("no: failed", "no: maybe", ["13 E6024"]),
        ("no: failed", "no: ''", ["13 E6024"]),
        ("no: failed", "ok: failed", ["13 E6014"]),
        ("result: {path: r, codes: {ok: passed, no: failed}}", "result: {value: passed}", ["13 E6053"]),
        ("{path: c, picture: base64}", "{path: c}", ["8 E6054"]),
        ("picture: base64}\n  camera", "picture: blob}\n  camera", ["8 E6024"]),
        ("forms: [millis]", "forms: [yyyy]", ["4 E6055"]),
        ("forms: [millis]", "forms: [yyyyMMddMM]", ["4 E6055"]),
        ("about: test", "about: test\nzone: Shanghai", ["2 E6025"]),
        ("about: test", "about： test", ["1 E6007"]),
    ],
)
def test_a_mapping_files_mistakes_are_told_with_their_place(
    old: str, new: str, expected: list[str], tmp_path: Path
) -> None:
    assert old in OWN
    assert told(OWN.replace(old, new, 1) if old else OWN, tmp_path) == expected


def test_a_mapping_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert [finding.code for finding in examine("eastcom-m20")[1]] == ["E6051"]
    assert examine("eastcom-m20")[1][0].facts["meant"] == "eastcoms-m20"
    assert [finding.code for finding in examine(str(tmp_path / "none.yaml"))[1]] == ["E6002"]
    assert [finding.code for finding in examine(f"{tmp_path}/")[1]] == ["E6002"]
    with pytest.raises(ConfigError):
        read("no-such")


def test_a_mapping_of_ones_own(config: Config, tmp_path: Path) -> None:
    assert told(OWN, tmp_path) == []
    form = read(str(tmp_path / "own.yaml"))
    data = {
        "a": {"b": ["caller-1"]},
        "t": 1772326800000,
        "nm": NAME,
        "m": NUMBER,
        "c": base64_of(picture(1, ".png")),
        "d": base64_of(LIVE),
        "v": "2020.01.01~长期",
        "s": 0.5,
        "r": "no",
    }
    found = understood(config, form, json.loads(json.dumps(data)))
    facts = found.verification
    assert found.caller_id == "caller-1"
    assert facts.verified_at == NOW
    assert (facts.valid_from, facts.valid_until) == ("20200101", "长期")
    assert found.pictures[PictureKind.CARD].startswith(b"\xff\xd8\xff")  # a PNG must be made a JPEG
    assert found.pictures[PictureKind.CAMERA] == LIVE  # a JPEG that can be sent is left alone
    wrong = {**data, "t": "soon", "v": "2020.13.01~x", "a": {"b": ["not so"]}, "c": "§"}
    assert faults(config, form, wrong) == [
        ("E8513", "/a/b/0"),
        ("E8513", "/t"),
        ("E8513", "/v"),
        ("E8513", "/v"),
        ("E8515", "/c"),
    ]


def test_while_the_clock_is_not_trusted_only_a_time_of_arrival_is_held(config: Config) -> None:
    sources = fetchers(config, None, SystemClock())
    arrived = interpreted(
        EASTCOMS, config, read("eastcoms-m20"), sources, PICTURE_CHILD.accepted, NOW, trusted=False
    )
    assert "clock" in {hold.value for hold in arrived.holds}
    given_time = interpreted(submission(), config, None, sources, PICTURE_CHILD.accepted, NOW, trusted=False)
    assert given_time.holds == {}


@given(st.text(max_size=300))
def test_any_file_is_a_mapping_or_findings(text: str) -> None:
    from agent.intake.form import _examined

    form, findings = _examined("x.yaml", text.encode("utf-8", "surrogatepass"))
    assert (form is None) is bool(findings)


def test_every_mapping_says_what_document_it_follows() -> None:
    from agent.intake.form import SHIPPED

    for name in shipped():
        assert yaml.safe_load(SHIPPED.joinpath(f"{name}.yaml").read_text("utf-8"))["about"]
