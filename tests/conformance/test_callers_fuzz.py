"""Whatever a caller asks or a chat answers, a caller's translation gives a value or a named error, never a crash."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conformance.odd_trees import ODD, attempt, mutated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.callers import CALLERS
from llmproxy.provider_workers.wire import Origin

FOLDER = Path(__file__).parent / "callers"
ORIGIN = Origin(id="0198c0de-0000-7000-8000-000000000001", model="m", created=1, include_usage=True)
quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def samples(api: str, name: str) -> tuple[Any, ...]:
    return tuple(json.loads(path.read_bytes()) for path in sorted((FOLDER / api).glob(f"*/{name}")))


@cache
def odd(api: str, name: str) -> st.SearchStrategy[Any]:
    """Made once: Hypothesis checks each strategy that it has not seen."""
    return mutated(samples(api, name)) | ODD


@cache
def streams(api: str) -> tuple[tuple[Any, ...], ...]:
    files = [path.read_text().splitlines() for path in sorted((FOLDER / api).glob("*/canonical_stream.txt"))]
    return tuple(tuple(json.loads(line[6:]) for line in lines if line.startswith("data: {")) for lines in files)


@pytest.mark.parametrize("api", CALLERS)
@quick
@given(data=st.data())
def test_any_request_is_translated_or_refused_by_name(api: Api, data: st.DataObject) -> None:
    body = data.draw(odd(api, "caller_request.json"))
    stream = data.draw(st.booleans())
    asked = attempt(lambda: CALLERS[api].read(json.dumps(body).encode(), stream=stream))
    if isinstance(asked, GatewayError):
        assert asked.status == 400
        assert len(asked.message) < 1000
        return
    assert isinstance(json.loads(asked.canonical)["messages"], list)


@pytest.mark.parametrize("api", CALLERS)
@quick
@given(data=st.data())
def test_any_answer_is_told_or_is_a_bad_answer(api: Api, data: st.DataObject) -> None:
    asked = CALLERS[api].read(
        json.dumps(data.draw(st.sampled_from(samples(api, "caller_request.json")))).encode(), stream=False
    )
    answer = data.draw(odd(api, "canonical_answer.json"))
    told = attempt(lambda: asked.response(json.dumps(answer).encode(), ORIGIN))
    if isinstance(told, GatewayError):
        assert told.code == "provider_bad_answer"
        return
    assert isinstance(json.loads(told), dict)


@pytest.mark.parametrize("api", CALLERS)
@quick
@given(data=st.data())
def test_any_stream_is_told_as_far_as_it_can_be_read(api: Api, data: st.DataObject) -> None:
    asked = CALLERS[api].read(
        json.dumps(data.draw(st.sampled_from(samples(api, "caller_request.json")))).encode(), stream=True
    )
    chunks = list(data.draw(st.sampled_from(streams(api))))
    at = data.draw(st.integers(0, len(chunks) - 1))
    chunks[at] = data.draw(mutated((chunks[at],)) | ODD)
    events = asked.events(ORIGIN)
    out = attempt(
        lambda: (
            [event for chunk in chunks for event in events.chunk(json.dumps(chunk).encode())]
            + events.end(Usage(input=1, output=2))
        )
    )
    if isinstance(out, GatewayError):
        assert out.code == "provider_bad_answer"
        return
    assert all(isinstance(json.loads(event), dict) for event in out)
