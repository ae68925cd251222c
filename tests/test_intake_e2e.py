"""A kiosk and the daemon as its own process: killed, poured upon, beside the desk and without one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import codes_seen
import cv2
import psutil
import pytest
import requests
from e2e_support import PATIENCE_S, Site, free_port, wait_for
from intake_support import PATH, TOKEN, base64_of, picture, submission
from outbox_support import NAME, NUMBER
from vision_support import card, need_weights

from agent import images
from agent.simulate import portraits

STOP_S = 5.0
#: A daemon that is killed as soon as a result is durable, before it can say so.
KILLED_AFTER_THE_COMMIT = """
import os, signal, sys
from pathlib import Path
from agent.intake.keeping import Intake
from agent.service import serve
take = Intake.take
def take_and_die(self, candidate):
    take(self, candidate)
    os.kill(os.getpid(), signal.SIGKILL)
Intake.take = take_and_die
serve(Path(sys.argv[1]))
"""


class Kiosk:
    """A site whose daemon takes results in, and a program that hands them in."""

    def __init__(self, folder: Path, changes: dict[str, Any] | None = None) -> None:
        folder.mkdir(exist_ok=True)
        token = folder / "token"
        token.write_text(TOKEN + "\n", "utf-8")
        token.chmod(0o400)
        self.drop = folder / "drop"
        self.drop.mkdir()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        made = {
            "console": {"listen": f"127.0.0.1:{port}"},
            "intake": {"http": True, "token": {"file": str(token)}, "folder": str(self.drop)},
        }
        self.site = Site(folder / "site", {**made, **(changes or {})})

    def post(self, data: Any) -> requests.Response:
        """Hand in. ConnectionError when nobody answers."""
        with requests.Session() as session:
            session.trust_env = False
            body = data if isinstance(data, bytes) else json.dumps(data).encode()
            headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
            return session.post(self.url + PATH, data=body, headers=headers, timeout=PATIENCE_S)

    def health(self) -> int:
        """Return the status of /healthz, 0 while nobody listens."""
        try:
            with requests.Session() as session:
                session.trust_env = False
                return session.get(f"{self.url}/healthz", timeout=PATIENCE_S).status_code
        except requests.ConnectionError:
            return 0

    def screen(self) -> str:
        """Return the code that the registrar's screen shows."""
        with requests.Session() as session:
            session.trust_env = False
            state = session.get(f"{self.url}/api/state", timeout=PATIENCE_S).json()
        code = str(state["topics"]["screen"]["code"])
        codes_seen.saw(code)
        return code

    def up(self) -> bool:
        """Return whether the daemon answers and is healthy."""
        return self.health() == 200


def test_killed_between_commit_and_answer_the_repeat_meets_the_one_record(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path, {"reader": {"source": "none"}})
    results = [submission(), submission(result="failed", score=0.2)]
    for number, result in enumerate(results, start=1):
        with (tmp_path / "doomed.log").open("ab") as output:
            doomed = subprocess.Popen(
                [sys.executable, "-c", KILLED_AFTER_THE_COMMIT, str(kiosk.site.config)],
                stdout=output,
                stderr=output,
            )
        wait_for("the doomed daemon listens", kiosk.up)
        with pytest.raises(requests.ConnectionError):
            kiosk.post(result)
        assert doomed.wait(PATIENCE_S) == -signal.SIGKILL
        assert kiosk.site.stats()["accepted"] == number
    with kiosk.site.platform(), kiosk.site.daemon() as daemon:
        wait_for("the daemon listens", kiosk.up)
        assert kiosk.screen() == "I1007", "nobody lays a card down here"
        answers = [kiosk.post(result) for result in results]
        assert [answer.status_code for answer in answers] == [200, 200]
        records = {answer.json()["record"] for answer in answers}
        wait_for("both arrive", lambda: set(kiosk.site.accepted()) == records)
        counts = kiosk.site.stats()
        assert (counts["accepted"], counts["difference"]) == (2, 0)
        assert kiosk.post(submission()).status_code == 201
        assert kiosk.screen() == "I3001", "without a reader the screen follows the kiosk"
        assert not re.search(r"\[(I2002|E2101|E1101)\]", kiosk.site.log()), "the camera is the kiosk's own"
        wait_for("the third arrives", lambda: len(set(kiosk.site.accepted())) == 3)
        assert daemon.terminate(STOP_S) == 0
    assert len(kiosk.site.accepted()) == 3, "each arrived once"


def test_a_thousand_malformed_requests_do_not_stop_the_desk(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    whole = json.dumps(submission()).encode()
    malformed = [b"{", b"[]", whole[:-1], b'{"id": "a", "id": "b"}', b"[" * 50_000, b'{"card": ' * 2000, b""]
    malformed += [json.dumps(submission(card_picture=base64_of(os.urandom(90_000)))).encode()]
    wanted, cards = 1000, 3
    statuses: list[int] = []
    enough = threading.Event()

    def pour() -> None:
        while not enough.is_set():
            statuses.append(kiosk.post(malformed[len(statuses) % len(malformed)]).status_code)

    with kiosk.site.platform(), kiosk.site.daemon() as daemon:
        wait_for("the daemon listens", kiosk.up)
        hands = [threading.Thread(target=pour) for _ in range(4)]
        for hand in hands:
            hand.start()
        try:
            wait_for("they pour in", lambda: len(statuses) > 20)
            # A card lies there until it is kept, however long that takes on a busy machine.
            with kiosk.site.registrar(cards):
                wait_for("the desk keeps its cards meanwhile", lambda: len(kiosk.site.kept()) >= cards)
                wait_for("and they arrive", lambda: kiosk.site.kept() <= set(kiosk.site.accepted()))
            wait_for("a thousand were answered", lambda: len(statuses) >= wanted)
            # While the desk works most are put off; the rest is looked at and refused.
            wait_for("half a thousand were judged", lambda: statuses.count(400) > wanted // 2)
        finally:
            enough.set()
            for hand in hands:
                hand.join(PATIENCE_S)
        assert set(statuses) <= {400, 429}
        assert kiosk.up()
        assert kiosk.post(submission()).status_code == 201
        assert daemon.terminate(STOP_S) == 0
    assert "E8101" not in kiosk.site.log(), "no loop died"
    assert kiosk.site.log().count("[W8501]") < 10, "told, but not a thousand times"


def test_desk_http_and_folder_work_side_by_side_and_each_record_keeps_its_source(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    posted, dropped = submission(), submission(result="not_verified", score=None)
    with kiosk.site.platform(), kiosk.site.daemon() as daemon, kiosk.site.reader(1):
        wait_for("the daemon listens", kiosk.up)
        assert kiosk.post(posted).status_code == 201
        draft = kiosk.drop / ".draft"
        draft.write_text(json.dumps(dropped), "utf-8")
        draft.rename(kiosk.drop / f"{NUMBER}.json")
        wait_for("three arrive", lambda: len(set(kiosk.site.accepted())) == 3)
        wait_for("the file is gone", lambda: not any(kiosk.drop.iterdir()))
        assert kiosk.post(dropped).status_code == 200, "known, whatever way it came"
        assert daemon.terminate(STOP_S) == 0
    from admin_support import owned

    with owned(kiosk.site) as own:
        rows = own.outbox.administration.list_records(None, 9)
        sources = {own.outbox.verification(row.id).source for row in rows}
    assert sources == {"sdt", f"intake:{posted['id']}", f"intake:{dropped['id']}"}
    for text in (kiosk.site.log(), kiosk.site.ledger.read_text("utf-8")):
        assert NAME not in text
        assert NUMBER not in text


def test_the_daemon_itself_decodes_no_picture_whatever_becomes_of_it(tmp_path: Path) -> None:
    """Handed in over HTTP and by file, as JPEG, PNG and rubbish, refused as too large, read off a card."""
    chip = tmp_path / "chip.jpg"
    chip.write_bytes(cv2.imencode(".jpg", portraits.live("collins")[:126, 300:402])[1].tobytes())
    decoder = {"kind": "command", "command": ["/bin/cat", str(chip)]}
    port = str(tmp_path / "site/reader")
    kiosk = Kiosk(tmp_path, {"reader": {"port": port, "poll_interval_s": 0.3, "photo_decoder": decoder}})
    large = [submission(camera_picture=base64_of(picture(seed, side=480))) for seed in range(3)]
    with kiosk.site.platform("too_large=2"), kiosk.site.daemon() as daemon:
        wait_for("the daemon listens", kiosk.up)
        assert kiosk.post(submission(card_picture=base64_of(picture(3, ".png")))).status_code == 201
        assert kiosk.post(submission(card_picture=base64_of(os.urandom(9000)))).status_code == 400
        for one in large:
            (kiosk.drop / ".draft").write_text(json.dumps(one), "utf-8")
            (kiosk.drop / ".draft").rename(kiosk.drop / f"{one['id']}.json")
        wait_for("all four arrive", lambda: len(set(kiosk.site.accepted())) == 4)
        with kiosk.site.registrar(1):
            wait_for("the card as well", lambda: len(set(kiosk.site.accepted())) == 5)
        assert "[E5104]" in kiosk.site.log(), "one was refused as too large, and made smaller"
        loaded = Path(f"/proc/{daemon.pid}/maps").read_text()
        assert not re.search(r"cv2|opencv|numpy|openblas", loaded)
        assert "libcrypto" in loaded, "that is the place where libraries show"
        assert daemon.terminate(STOP_S) == 0
    assert not re.search(r"\[(E8101|E13\d\d|E23\d\d|W2307)\]", kiosk.site.log()), "nothing else went wrong"


def children(pid: int) -> set[str]:
    """Return which of our programs a daemon has started."""
    words = {word for child in psutil.Process(pid).children() for word in child.cmdline()}
    return {word for word in words if word.startswith("agent.vision.")}


def test_without_a_desk_nothing_looks_at_faces_until_a_cards_picture_comes_late(tmp_path: Path) -> None:
    need_weights()
    chip, port = tmp_path / "chip.jpg", str(tmp_path / "site/reader")
    decoder = {"kind": "command", "command": ["/bin/cat", str(chip)]}
    kiosk = Kiosk(tmp_path, {"reader": {"port": port, "poll_interval_s": 0.3, "photo_decoder": decoder}})
    with kiosk.site.daemon() as daemon, kiosk.site.registrar(1):
        wait_for("a card is kept, its picture not decoded", lambda: len(kiosk.site.kept()) == 1)
        assert "agent.vision.child" in children(daemon.pid)
    written = kiosk.site.config.read_text("utf-8")
    kiosk.site.config.write_text(written.replace("reader:\n", "reader:\n  source: none\n"), "utf-8")
    with kiosk.site.platform(), kiosk.site.daemon() as daemon:
        wait_for("the daemon listens", kiosk.up)
        # What the kiosk hands in waits for nothing of that, and nobody is asked to try a threshold.
        assert kiosk.post(submission()).status_code == 201
        wait_for("it arrives", lambda: len(kiosk.site.accepted()) == 1)
        assert children(daemon.pid) == {"agent.vision.picture_child"}
        looks = json.loads(kiosk.site.cli("status", "--json").stdout)
        assert not {problem["code"] for problem in looks["problems"]} & {"W2423", "W2425"}
        refused = kiosk.site.cli("capture", "--out", str(tmp_path / "x.jpg"))
        assert (refused.returncode, "E2101" in refused.stderr) == (69, True), "the camera is the kiosk's"
        # The decoder has come to work.
        portrait = cv2.resize(images.decode(card()), (102, 126))
        chip.write_bytes(cv2.imencode(".jpg", portrait)[1].tobytes())
        assert kiosk.site.cli("reload").returncode == 0
        wait_for("the card's record arrives", lambda: len(kiosk.site.accepted()) == 2)
        assert "agent.vision.child" in children(daemon.pid)
        late = [json.loads(line) for line in kiosk.site.ledger.read_text("utf-8").splitlines()][-1]
        assert late["faceResult"] == "1", "compared after all"
        assert daemon.terminate(STOP_S) == 0


def test_the_token_follows_a_reload_and_a_bad_mapping_keeps_the_old_one(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path, {"reader": {"source": "none"}})
    config = kiosk.site.config
    with kiosk.site.daemon() as daemon:
        wait_for("the daemon listens", kiosk.up)
        token = tmp_path / "token"
        token.chmod(0o600)
        token.write_text("another-token", "utf-8")
        assert kiosk.post(submission()).status_code == 201
        assert kiosk.site.cli("reload").returncode == 0
        assert kiosk.post(submission()).status_code == 401
        token.write_text(TOKEN, "utf-8")
        text = config.read_text("utf-8")
        config.write_text(text.replace("intake:\n", "intake:\n  mapping: eastcom-m20\n"), "utf-8")
        refused = kiosk.site.cli("reload")
        assert refused.returncode == 78, refused.stdout + refused.stderr
        config.write_text(text.replace("intake:\n", "intake:\n  mapping: eastcoms-m20\n"), "utf-8")
        assert kiosk.site.cli("reload").returncode == 0
        assert {fault["pointer"] for fault in kiosk.post(submission()).json()["faults"]} >= {"/faceResult"}
        assert daemon.terminate(STOP_S) == 0


def test_intake_test_says_what_would_be_kept_and_keeps_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(submission()), "utf-8")
    bad.write_text(json.dumps(submission(score=None, card={"sex": "F"})), "utf-8")
    said = site.cli("intake", "test", str(good))
    assert said.returncode == 0, said.stderr
    assert "passed" in said.stdout
    assert NAME not in said.stdout
    assert NUMBER not in said.stdout
    assert NAME in site.cli("intake", "test", str(good), "--reveal").stdout
    refused = site.cli("intake", "test", str(bad))
    assert refused.returncode == 1
    assert "E8516 /score" in refused.stderr
    assert "E8512 /card/sex" in refused.stderr
    listed = json.loads(site.cli("intake", "test", str(bad), "--json").stdout)
    assert listed["ok"] is False
    assert {fault["pointer"] for fault in listed["faults"]} == {"/score", "/card/sex"}
    form = {"deviceNo": "0000777", "name": NAME, "cardno": NUMBER, "score": 60, "faceResult": 2}
    form |= {"cardImg": base64_of(picture(1)), "spotImg": base64_of(picture(2))}
    good.write_text(json.dumps(form), "utf-8")
    mapped = json.loads(site.cli("intake", "test", str(good), "--mapping", "eastcoms-m20", "--json").stdout)
    assert mapped["ok"] is True
    assert (mapped["kept"]["result"], mapped["kept"]["score"]) == ("failed", 0.6)
    assert "issuer" in mapped["holds"]
    unknown = site.cli("intake", "test", str(good), "--mapping", "eastcom-m20")
    assert unknown.returncode == 78
    assert "E6051" in unknown.stderr
    assert site.stats()["accepted"] == 0


def test_check_looks_at_token_folder_and_mapping(tmp_path: Path) -> None:
    changes = {
        "console": {"listen": "127.0.0.1:8765"},
        "intake": {
            "http": True,
            "token": {"file": str(tmp_path / "no-token")},
            "folder": str(tmp_path / "nowhere"),
            "pictures": str(tmp_path / "site/config.yaml"),
            "mapping": str(tmp_path / "own.yaml"),
        },
    }
    (tmp_path / "own.yaml").write_text("about: x\nfields:\n  id: {path: a, value: b}\n", "utf-8")
    site = Site(tmp_path / "site", changes)
    said = site.cli("check", "--json")
    assert said.returncode == 78
    found = {(finding["code"], finding["line"]) for finding in json.loads(said.stdout)["findings"]}
    lines = site.config.read_text("utf-8").splitlines()
    key = {name: lines.index(next(line for line in lines if line.startswith(f"  {name}:"))) + 1
           for name in ("token", "folder", "pictures")}  # fmt: skip
    assert {("E7201", key["token"]), ("E6056", key["folder"]), ("E6056", key["pictures"])} <= found
    assert ("E6020", 2) in found, "mistakes in the mapping have their places in its own file"
