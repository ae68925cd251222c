"""Whatever a kiosk may hand in by the document is kept as it was said, and sent as it was kept."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from console_support import configuration
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake_support import base64_of, picture
from pictures_support import PICTURE_CHILD

from agent.clock import SystemClock
from agent.config import Config
from agent.hmpt.render import render
from agent.intake.candidate import Candidate, fetchers, interpreted
from agent.intake.form import examine
from agent.intake.reading import parsed
from agent.intake.schema import KINDS, RESULTS
from agent.records import PictureKind, Verification

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
LANGUAGE = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])


def text(least: int, most: int) -> st.SearchStrategy[str]:
    """Return texts that a card or a keyboard may hold, without padding."""
    return st.text(LANGUAGE, min_size=least, max_size=most).map(str.strip).filter(lambda t: len(t) >= least)


days = st.dates(datetime(1900, 1, 1).date(), datetime(2099, 12, 31).date()).map(lambda day: day.isoformat())  # noqa: DTZ001 -- calendar dates have no zone
moments = st.datetimes(datetime(2024, 1, 2), datetime(2026, 2, 28)).flatmap(  # noqa: DTZ001 -- the zone is drawn
    lambda at: st.integers(-12, 14).map(
        lambda hours: at.replace(tzinfo=timezone(timedelta(hours=hours))).isoformat()
    )
)
scores = st.integers(0, 10_000).map(lambda number: number / 10_000)


@st.composite
def comparisons(draw: st.DrawFn) -> dict[str, Any]:
    """Return a result with the score that goes with it."""
    result = draw(st.sampled_from(sorted(RESULTS)))
    return {"result": result} if result == "not_verified" else {"result": result, "score": draw(scores)}


@st.composite
def submissions(draw: st.DrawFn) -> dict[str, Any]:
    """Return anything that the document allows."""
    optional = {
        "sex": st.sampled_from("0129"),
        "nation": st.integers(1, 56).map(lambda number: f"{number:02}"),
        "birth": days,
        "address": text(0, 200),
        "issuer": text(0, 100),
        "valid_from": days,
        "valid_until": days | st.just("长期"),
        "latin_name": text(0, 100),
    }
    card = draw(
        st.fixed_dictionaries(
            {"kind": st.sampled_from(sorted(KINDS)), "name": text(1, 100), "number": text(1, 30)},
            optional=optional,
        )
    )
    finger = draw(st.none() | comparisons())
    return {
        "id": draw(st.from_regex(r"[A-Za-z0-9._:-]{1,64}", fullmatch=True)),
        "verified_at": draw(moments),
        "card": card,
        **draw(comparisons()),
        "card_picture": base64_of(picture(draw(st.integers(0, 3)), draw(st.sampled_from([".jpg", ".png"])))),
        "camera_picture": base64_of(picture(draw(st.integers(4, 7)))),
        **({} if finger is None else {"finger": finger}),
        **draw(
            st.fixed_dictionaries({}, optional={"operator": text(1, 10), "device_no": st.just("0000777")})
        ),
    }


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return configuration(tmp_path_factory.mktemp("site"))


def understood(config: Config, data: Any) -> Candidate:
    raw = json.dumps(data, ensure_ascii=False).encode()
    sources = fetchers(config, None, SystemClock())
    return interpreted(parsed(raw), config, None, sources, PICTURE_CHILD.accepted, NOW, trusted=True)


@given(submissions())
@settings(max_examples=80, suppress_health_check=list(HealthCheck))
def test_what_the_document_allows_is_kept_as_it_was_said(config: Config, data: dict[str, Any]) -> None:
    found = understood(config, data)
    facts, card = found.verification, data["card"]
    assert found.caller_id == data["id"]
    assert facts.face.result is RESULTS[data["result"]]
    assert facts.face.score == data.get("score")
    assert facts.verified_at == datetime.fromisoformat(data["verified_at"])
    assert (facts.name, facts.number) == (card["name"], card["number"].upper())
    for ours, theirs in (("sex_code", "sex"), ("nation_code", "nation"), ("address", "address")):
        assert getattr(facts, ours) == card.get(theirs, "")
    for name in ("birth", "valid_from", "valid_until"):
        assert getattr(facts, name) == card.get(name, "").replace("-", "")
    assert found.pictures[PictureKind.CARD].startswith(b"\xff\xd8\xff")
    # What is sealed comes back the same, and what lacks nothing can be sent.
    assert Verification.from_facts(json.loads(json.dumps(facts.to_facts()))) == facts
    if not found.holds:
        body = b"".join(render(facts, found.pictures, config.platform.conventions).chunks())
        assert json.loads(body)["faceResult"] in {
            str(RESULTS[data["result"]].value),
            RESULTS[data["result"]].value,
        }


@given(submissions())
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
def test_the_order_of_keys_and_blanks_make_no_other_submission(config: Config, data: dict[str, Any]) -> None:
    first = understood(config, data)
    again = understood(config, dict(reversed(data.items())))
    assert (first.caller_id, first.content) == (again.caller_id, again.content)
    assert understood(config, {**data, "verified_at": "2025-05-05T05:05:05Z"}).content != first.content


def test_the_mapping_that_the_document_shows_is_a_mapping(tmp_path: Path) -> None:
    document = (Path(__file__).parent.parent / "docs/intake.md").read_text("utf-8")
    shown = [
        block for block in re.findall(r"```yaml\n(.*?)```", document, flags=re.DOTALL) if "fields:" in block
    ]
    assert len(shown) == 1
    path = tmp_path / "shown.yaml"
    path.write_text(shown[0], "utf-8")
    assert examine(str(path))[1] == []
