"""Gemini's and the legacy completions' callers over any chat: folders of data, judged by the vendors' own packages."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from google.genai.types import GenerateContentResponse
from openai.types import Completion
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming as LegacyParams
from pydantic import TypeAdapter
from upstreams.judges import judge_gemini, walk

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters.openai import OpenAI
from llmproxy.provider_workers.callers.caller import Caller
from llmproxy.provider_workers.callers.completions import Completions
from llmproxy.provider_workers.callers.composed import Composed
from llmproxy.provider_workers.callers.gemini import Gemini
from llmproxy.provider_workers.wire import Origin, StreamTranslator, Target

FOLDER = Path(__file__).parent / "callers"
CALLERS: dict[str, Caller] = {"gemini": Gemini(), "completions": Completions()}
CASES = sorted(path.parent for api in CALLERS for path in (FOLDER / api).glob("*/case.json"))
STREAMS = [case for case in CASES if (case / "caller_stream.txt").exists()]

# Canonical, but not OpenAI's own: pictures in a tool's result.
EXTENDED = {"tool_result_image"}
CHAT: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsNonStreaming)
LEGACY: TypeAdapter[Any] = TypeAdapter(LegacyParams)


def named(cases: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[f"{case.parent.name}-{case.name}" for case in cases])


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def caller(case: Path) -> Caller:
    return CALLERS[case.parent.name]


def origin(case: Path) -> Origin:
    include_usage = read(case / "case.json").get("include_usage", False)
    return Origin(
        id="0198c0de-0000-7000-8000-000000000001", model="gpt-5", created=1700000000, include_usage=include_usage
    )


def stream(case: Path) -> StreamTranslator:
    composed = Composed(caller(case), OpenAI())
    composed.request((case / "caller_request.json").read_bytes(), Target(model="m", stream=True))
    return composed.events(origin(case))


def told(case: Path, pieces: list[bytes]) -> list[bytes]:
    translator = stream(case)
    out = [event for piece in pieces for event in translator.feed(piece)] + translator.finish()
    assert translator.complete
    assert translator.failure is None
    return out


def events(case: Path) -> list[bytes]:
    blocks = (case / "caller_stream.txt").read_bytes().split(b"\n\n")[:-1]
    return [block.removeprefix(b"data: ") for block in blocks]


@pytest.mark.parametrize("api", CALLERS)
def test_each_api_has_a_dozen_cases_and_streams_among_them(api: str) -> None:
    assert len([case for case in CASES if case.parent.name == api]) >= 12
    assert len([case for case in STREAMS if case.parent.name == api]) >= 6


@named(CASES)
def test_a_request_becomes_canonical(case: Path) -> None:
    body = (case / "caller_request.json").read_bytes()
    asked = caller(case).read(body, stream=False)
    assert json.loads(asked.canonical) == read(case / "canonical_request.json")
    assert list(asked.dropped) == read(case / "case.json")["dropped"]


@named(CASES)
def test_both_requests_are_what_the_official_packages_expect(case: Path) -> None:
    asked = read(case / "caller_request.json")
    if case.parent.name == "gemini":
        judge_gemini(asked)
    else:
        walk(LEGACY.validate_python(asked))
    if case.name not in EXTENDED:
        walk(CHAT.validate_python({**read(case / "canonical_request.json"), "model": "m"}))


@named(CASES)
def test_an_answer_is_told_as_the_caller_knows_it(case: Path) -> None:
    asked = caller(case).read((case / "caller_request.json").read_bytes(), stream=False)
    answer = asked.response((case / "canonical_answer.json").read_bytes(), origin(case))
    assert json.loads(answer) == read(case / "caller_answer.json")
    ChatCompletion.model_validate(read(case / "canonical_answer.json"), strict=True)
    if case.parent.name == "gemini":
        GenerateContentResponse.model_validate_json(answer)
    else:
        Completion.model_validate_json(answer, strict=True)


@named(STREAMS)
def test_a_stream_is_told_as_events(case: Path) -> None:
    out = told(case, [(case / "canonical_stream.txt").read_bytes()])
    assert out == events(case)
    assert not any(b"\n" in event for event in out)
    for event in out:
        if case.parent.name == "gemini":
            GenerateContentResponse.model_validate_json(event)
        else:  # Only of a whole answer does the package say that it has ended.
            Completion.model_validate_json(
                event.replace(b'"finish_reason":null', b'"finish_reason":"stop"'), strict=True
            )


@named(STREAMS)
def test_a_stream_says_the_same_however_the_network_cuts_it(case: Path) -> None:
    data, expected = (case / "canonical_stream.txt").read_bytes(), events(case)
    assert told(case, [data[at : at + 1] for at in range(len(data))]) == expected
    chance = random.Random(case.name)
    for _ in range(5):
        cuts = sorted(chance.sample(range(1, len(data)), 20))
        assert told(case, [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]) == expected


@named(STREAMS)
def test_a_stream_cut_short_never_completes(case: Path) -> None:
    data = (case / "canonical_stream.txt").read_bytes()
    for at in range(0, data.rindex(b'"finish_reason": "'), 97):
        translator = stream(case)
        out = translator.feed(data[:at]) + translator.finish()
        assert not translator.complete
        assert translator.failure is not None
        assert not any("usageMetadata" in json.loads(event) for event in out)


def merged(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Texts of one kind that follow each other as one, without what says nothing."""
    found: list[dict[str, Any]] = []
    for part in parts:
        last = found[-1] if found else {}
        is_more = "text" in part and "text" in last and bool(part.get("thought")) == bool(last.get("thought"))
        if is_more and "thoughtSignature" not in last:
            found[-1] = {**last, **part, "text": last["text"] + part["text"]}
        elif part != {"text": ""}:
            found.append(part)
    return found


@named([case for case in STREAMS if case.parent.name == "gemini"])
def test_a_gemini_stream_adds_up_to_the_whole_answer(case: Path) -> None:
    found = [json.loads(event) for event in events(case)]
    whole = read(case / "caller_answer.json")
    last = found[-1]
    assert all("usageMetadata" not in event for event in found[:-1])
    assert last["usageMetadata"] == whole["usageMetadata"]
    assert last.get("promptFeedback") == whole.get("promptFeedback")
    for candidate in whole.get("candidates", []):
        parts = [
            part
            for event in found
            for one in event["candidates"]
            if one["index"] == candidate["index"]
            for part in one["content"]["parts"]
        ]
        assert merged(parts) == merged(candidate["content"]["parts"])
        end = next(one for one in last["candidates"] if one["index"] == candidate["index"])
        for name in ("finishReason", "logprobsResult", "avgLogprobs"):
            assert end.get(name) == candidate.get(name)


@named([case for case in STREAMS if case.parent.name == "completions"])
def test_a_completions_stream_adds_up_to_the_whole_answer(case: Path) -> None:
    found = [choice for event in events(case) for choice in json.loads(event)["choices"]]
    for choice in read(case / "caller_answer.json")["choices"]:
        mine = [one for one in found if one["index"] == choice["index"]]
        assert "".join(one["text"] for one in mine) == choice["text"]
        assert [one["finish_reason"] for one in mine if one["finish_reason"]] == [choice["finish_reason"]]
        tokens = [one["logprobs"] for one in mine if one["logprobs"]]
        if choice["logprobs"]:
            for name in ("tokens", "token_logprobs", "text_offset"):
                assert [value for one in tokens for value in one[name]] == choice["logprobs"][name]


REFUSED = [(api, case) for api in CALLERS for case in read(FOLDER / api / "refused.json")]


@pytest.mark.parametrize(
    ("api", "case"), REFUSED, ids=[f"{api}-{n}-{one['param']}" for n, (api, one) in enumerate(REFUSED)]
)
def test_what_cannot_be_expressed_is_refused_by_name(api: str, case: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        CALLERS[api].read(json.dumps(case["body"]).encode(), stream=False)
    assert (caught.value.code, caught.value.param) == (case["code"], case["param"])
    assert case["param"] in caught.value.message


@pytest.mark.parametrize("api", CALLERS)
@pytest.mark.parametrize("answer", [b"", b"[]", b'"x"', b'{"choices": 5}', b"\xff"])
def test_a_canonical_answer_that_cannot_be_read_is_a_failure(api: str, answer: bytes) -> None:
    body = {"gemini": b'{"contents": [{"parts": [{"text": "Hi"}]}]}', "completions": b'{"prompt": "Hi"}'}[api]
    asked = CALLERS[api].read(body, stream=True)
    here = Origin(id="i", model="m", created=1)
    for read_it in (lambda: asked.response(answer, here), lambda: asked.events(here).chunk(answer)):
        with pytest.raises(GatewayError) as caught:
            read_it()
        assert caught.value.code == "provider_bad_answer"
