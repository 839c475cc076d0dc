"""One suite over every caller and every case: folders of data, both sides of which the vendors' own SDK types judge.

A case of `callers/<api>/` holds what a caller asks (`caller_request.json`) and what that is as a chat (`canonical_request.json`);
the chat's answer whole (`canonical_answer.json`) and streamed as OpenAI streams it (`canonical_stream.txt`), and both as
the caller is told (`caller_answer.json`, `caller_stream.txt`). `case.json` says what was dropped.
"""

import json
import random
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from conformance.cases import named, read
from google.genai.types import GenerateContentResponse
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming as LegacyParams
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter
from upstreams.judges import judge_gemini, walk

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.callers import CALLERS
from llmproxy.provider_workers.callers.composed import Composed
from llmproxy.provider_workers.wire import Origin, StreamTranslator, Target

Judge = Callable[[bytes], object]

FOLDER = Path(__file__).parent / "callers"
CASES = sorted(path.parent for path in FOLDER.glob("*/*/case.json"))
ANSWERS = [case for case in CASES if (case / "canonical_answer.json").exists()]
STREAMS = [case for case in CASES if (case / "canonical_stream.txt").exists()]


@cache
def judge(kind: Any) -> TypeAdapter[Any]:
    """Kept, because pydantic's lazy iterators need it as long as they live."""
    return TypeAdapter(kind)


def request(kind: Any) -> Judge:
    return lambda body: walk(judge(kind).validate_python(json.loads(body)))


def strictly(kind: Any) -> Judge:
    return lambda body: judge(kind).validate_json(body, strict=True)


def legacy_chunk(body: bytes) -> None:
    """Only of a whole answer does the package say that it has ended."""
    strictly(Completion)(body.replace(b'"finish_reason":null', b'"finish_reason":"stop"'))


JUDGES: dict[Api, tuple[Judge, Judge, Judge]] = {
    "completions": (request(LegacyParams), strictly(Completion), legacy_chunk),
    "gemini": (
        lambda body: judge_gemini(json.loads(body)),
        GenerateContentResponse.model_validate_json,
        GenerateContentResponse.model_validate_json,
    ),
    "messages": (request(MessageCreateParamsNonStreaming), strictly(Message), strictly(RawMessageStreamEvent)),
    "responses": (request(ResponseCreateParamsNonStreaming), strictly(Response), strictly(ResponseStreamEvent)),
}
"""Who judges a request, an answer and an event of an API: its vendor's own package."""

OPENAI = ADAPTERS["openai"]
LAST = (b'"message_stop"', b'"response.completed"', b'"response.incomplete"', b'"usageMetadata"')
FINISHED = re.compile(rb'"finish_reason": ?"')


def api_of(case: Path) -> Api:
    return case.parent.name  # type: ignore[return-value]


def origin(case: Path) -> Origin:
    model = read(case / "caller_request.json").get("model", "gpt-5")  # Gemini's is in the path.
    include_usage = read(case / "case.json").get("include_usage", False)
    return Origin(
        id="0198c0de-0000-7000-8000-000000000001",
        model=model,
        created=1700000000,
        include_usage=include_usage,
    )


def asked(case: Path, *, stream: bool = False) -> Any:
    return CALLERS[api_of(case)].read((case / "caller_request.json").read_bytes(), stream=stream)


def composed(case: Path) -> StreamTranslator:
    """The caller's stream over a vendor of OpenAI's format."""
    wire = Composed(CALLERS[api_of(case)], OPENAI)
    wire.request((case / "caller_request.json").read_bytes(), Target(model="m", stream=True))
    return wire.events(origin(case))


def told(case: Path, pieces: list[bytes]) -> list[bytes]:
    stream = composed(case)
    out = [event for piece in pieces for event in stream.feed(piece)] + stream.finish()
    assert stream.complete
    assert stream.failure is None
    return out


def events(case: Path) -> list[bytes]:
    """What `caller_stream.txt` holds, without its SSE clothes."""
    blocks = (case / "caller_stream.txt").read_bytes().split(b"\n\n")[:-1]
    return [block[block.index(b"data: ") + 6 :] for block in blocks]


def test_every_caller_has_cases() -> None:
    assert {case.parent.name for case in CASES} == set(CALLERS) == set(JUDGES), "an API without cases is a guess"


@pytest.mark.parametrize("api", CALLERS)
def test_each_api_has_a_dozen_cases_and_streams_among_them(api: Api) -> None:
    assert len([case for case in CASES if api_of(case) == api]) >= 12
    assert len([case for case in STREAMS if api_of(case) == api]) >= 6


@named(CASES)
def test_a_callers_request_becomes_canonical(case: Path) -> None:
    found = asked(case)
    assert json.loads(found.canonical) == read(case / "canonical_request.json")
    assert list(found.dropped) == read(case / "case.json")["dropped"]
    streamed = json.loads(asked(case, stream=True).canonical)
    assert {**streamed, "stream": True} == {**json.loads(found.canonical), "stream": True}


@named(CASES)
def test_both_requests_are_what_the_packages_expect(case: Path) -> None:
    JUDGES[api_of(case)][0]((case / "caller_request.json").read_bytes())
    if not read(case / "case.json").get("extended"):  # Of the canonical form, and not OpenAI's own.
        chat = {**read(case / "canonical_request.json"), "model": "m"}
        walk(judge(CompletionCreateParamsNonStreaming).validate_python(chat))


@named(ANSWERS)
def test_a_canonical_answer_is_told_in_the_callers_form(case: Path) -> None:
    answer = asked(case).response((case / "canonical_answer.json").read_bytes(), origin(case))
    assert json.loads(answer) == read(case / "caller_answer.json")


@named(ANSWERS)
def test_both_answers_are_what_the_packages_expect(case: Path) -> None:
    ChatCompletion.model_validate_json((case / "canonical_answer.json").read_bytes(), strict=True)
    JUDGES[api_of(case)][1]((case / "caller_answer.json").read_bytes())


@named(STREAMS)
def test_a_canonical_stream_is_told_in_the_callers_form(case: Path) -> None:
    assert told(case, [(case / "canonical_stream.txt").read_bytes()]) == events(case)


@named(STREAMS)
def test_both_streams_are_what_the_packages_expect(case: Path) -> None:
    for line in (case / "canonical_stream.txt").read_bytes().splitlines():
        if line.startswith(b"data: {"):
            ChatCompletionChunk.model_validate_json(line[6:], strict=True)
    for event in events(case):
        JUDGES[api_of(case)][2](event)


@named(STREAMS)
def test_a_callers_stream_says_the_same_however_the_network_cuts_it(case: Path) -> None:
    data, expected = (case / "canonical_stream.txt").read_bytes(), events(case)
    assert told(case, [data[at : at + 1] for at in range(len(data))]) == expected
    chance = random.Random(case.name)
    for _ in range(5):
        cuts = sorted(chance.sample(range(1, len(data)), 20))
        assert told(case, [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]) == expected


@named(STREAMS)
def test_a_callers_stream_cut_short_never_says_that_it_is_whole(case: Path) -> None:
    data = (case / "canonical_stream.txt").read_bytes()
    finished = [found.start() for found in FINISHED.finditer(data)]
    for at in range(0, finished[-1], 97):
        stream = composed(case)
        out = stream.feed(data[:at]) + stream.finish()
        assert not stream.complete
        assert stream.failure is not None
        assert not any(last in event for event in out for last in LAST)


@named(STREAMS)
def test_an_error_inside_a_stream_is_a_failure_after_what_came_before(case: Path) -> None:
    data = (case / "canonical_stream.txt").read_bytes()
    half = data.index(b"\n\n", len(data) // 2) + 2
    stream = composed(case)
    before = stream.feed(data[:half])
    assert stream.feed(b'data: {"error":{"message":"boom","type":"server_error","code":502}}\n\n') == []
    assert stream.failure is not None
    assert stream.failure.code == "provider_error"
    assert before == events(case)[: len(before)]
    assert stream.feed(data[half:]) == stream.finish() == []


REFUSED = [(path.parent.name, one) for path in sorted(FOLDER.glob("*/refused.json")) for one in read(path)]


@pytest.mark.parametrize(
    ("api", "one"), REFUSED, ids=[f"{api}-{number}-{one['param']}" for number, (api, one) in enumerate(REFUSED)]
)
def test_what_a_chat_cannot_say_is_refused_by_name(api: Api, one: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        CALLERS[api].read(json.dumps(one["body"]).encode(), stream=False)
    assert (caught.value.code, caught.value.param) == (one["code"], one["param"])
    assert one["param"] in caught.value.message


@pytest.mark.parametrize("api", CALLERS)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"5", b'"text"', b"\xff\xfe", b"[" * 5_000])
def test_a_body_that_cannot_be_read_is_refused_and_never_a_crash(api: Api, body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        CALLERS[api].read(body, stream=False)
    assert caught.value.status == 400


SMALLEST: dict[Api, bytes] = {
    "completions": b'{"model":"m","prompt":"Hi"}',
    "gemini": b'{"contents":[{"parts":[{"text":"Hi"}]}]}',
    "messages": b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}',
    "responses": b'{"model":"m","input":"Hi"}',
}


@pytest.mark.parametrize("api", CALLERS)
@pytest.mark.parametrize("answer", [b"", b"[]", b'"x"', b'{"choices": 5}', b"\xff"])
def test_a_canonical_answer_that_cannot_be_read_is_a_failure_and_not_an_exception(api: Api, answer: bytes) -> None:
    asked = CALLERS[api].read(SMALLEST[api], stream=True)
    here = Origin(id="i", model="m", created=1)
    for read_it in (lambda: asked.response(answer, here), lambda: asked.events(here).chunk(answer)):
        with pytest.raises(GatewayError) as caught:
            read_it()
        assert caught.value.code == "provider_bad_answer"
