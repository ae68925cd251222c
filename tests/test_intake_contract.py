"""The contract held against the server by schemathesis: what fits the document, and what it makes to break it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from intake_support import TOKEN, HandingIn, handing_in, submission
from schemathesis import checks

from agent.intake import openapi

checks.load_all_checks()
CONTRACT = schemathesis.openapi.from_dict(openapi.document())
#: That whatever fits the schema is taken: no schema can say "a JPEG", "a day of the calendar" or "this
#: device". What is taken is held by tests/test_intake_property.py.
LEFT_OUT: list[Any] = [checks.CHECKS.get_one("positive_data_acceptance")]


@pytest.fixture(scope="module")
def kiosk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandingIn]:
    with handing_in(tmp_path_factory.mktemp("site")) as one:
        one.intake.keep(submission())
        yield one


@CONTRACT.parametrize()
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_server_does_what_its_document_says(case: schemathesis.Case[Any], kiosk: HandingIn) -> None:
    with requests.Session() as session:
        session.trust_env = False
        case.call_and_validate(
            base_url=kiosk.one.url,
            session=session,
            headers={"Authorization": f"Bearer {TOKEN}"},
            excluded_checks=LEFT_OUT,
        )
