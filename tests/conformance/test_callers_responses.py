"""The Responses API over any chat: folders of data, each event and answer judged by the openai package's own types."""

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter
from upstreams.judges import walk

from llmproxy.provider_workers.adapters.openai import OpenAI
from llmproxy.provider_workers.callers.composed import Composed
from llmproxy.provider_workers.callers.responses import Responses
from llmproxy.provider_workers.wire import Origin, StreamTranslator, Target

CASES = sorted(path.parent for path in (Path(__file__).parent / "callers" / "responses").glob("*/case.json"))
EXTENDED = {"tool_result_image"}  # Canonical, but not OpenAI's own: its chat takes only text in a tool's result.


@cache
def judge(kind: Any) -> TypeAdapter[Any]:
    """Kept, because pydantic's lazy iterators need it as long as they live."""
    return TypeAdapter(kind)


cases = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def origin(case: Path) -> Origin:
    model = read(case / "caller_request.json")["model"]
    return Origin(id="0198c0de-0000-7000-8000-000000000001", model=model, created=1700000000)


def stream(case: Path) -> StreamTranslator:
    composed = Composed(Responses(), OpenAI())
    composed.request((case / "caller_request.json").read_bytes(), Target(model="m", stream=True))
    return composed.events(origin(case))


def told(case: Path, pieces: list[bytes]) -> list[bytes]:
    translator = stream(case)
    out = [event for piece in pieces for event in translator.feed(piece)] + translator.finish()
    assert translator.complete
    assert translator.failure is None
    return out


def events(case: Path) -> list[bytes]:
    """The events as the caller reads them."""
    blocks = (case / "caller_stream.txt").read_bytes().split(b"\n\n")[:-1]
    return [block.partition(b"\ndata: ")[2] for block in blocks]


@cases
def test_a_request_becomes_canonical(case: Path) -> None:
    asked = Responses().read((case / "caller_request.json").read_bytes(), stream=False)
    assert json.loads(asked.canonical) == read(case / "canonical_request.json")
    assert list(asked.dropped) == read(case / "case.json")["dropped"]
    streamed = Responses().read((case / "caller_request.json").read_bytes(), stream=True)
    assert json.loads(streamed.canonical) == {**read(case / "canonical_request.json"), "stream": True}


@cases
def test_both_requests_are_what_the_openai_package_expects(case: Path) -> None:
    walk(judge(ResponseCreateParamsNonStreaming).validate_python(read(case / "caller_request.json")))
    if case.name not in EXTENDED:
        walk(judge(CompletionCreateParamsNonStreaming).validate_python(read(case / "canonical_request.json")))


@cases
def test_an_answer_is_told_as_a_response(case: Path) -> None:
    asked = Responses().read((case / "caller_request.json").read_bytes(), stream=False)
    answer = asked.response((case / "canonical_answer.json").read_bytes(), origin(case))
    assert json.loads(answer) == read(case / "caller_answer.json")
    ChatCompletion.model_validate_json((case / "canonical_answer.json").read_bytes(), strict=True)
    response = Response.model_validate_json(answer, strict=True)
    said = read(case / "canonical_answer.json")["choices"][0]["message"]
    assert response.output_text == (said["content"] or "")


@cases
def test_a_stream_is_told_as_events(case: Path) -> None:
    out = told(case, [(case / "canonical_stream.txt").read_bytes()])
    assert out == events(case)
    assert not any(b"\n" in event for event in out)


@cases
def test_a_stream_says_the_same_however_the_network_cuts_it(case: Path) -> None:
    data, expected = (case / "canonical_stream.txt").read_bytes(), events(case)
    assert told(case, [data[at : at + 1] for at in range(len(data))]) == expected
    chance = random.Random(case.name)
    for _ in range(5):
        cuts = sorted(chance.sample(range(1, len(data)), 20))
        assert told(case, [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]) == expected


@cases
def test_a_stream_cut_short_never_completes(case: Path) -> None:
    data = (case / "canonical_stream.txt").read_bytes()
    for at in range(0, data.rindex(b'"finish_reason":"'), 97):
        translator = stream(case)
        out = translator.feed(data[:at]) + translator.finish()
        assert not translator.complete
        assert translator.failure is not None
        assert not any(json.loads(event)["type"] in ("response.completed", "response.incomplete") for event in out)


@cases
def test_the_stream_ends_with_the_same_response_as_the_whole_answer(case: Path) -> None:
    assert json.loads(events(case)[-1])["response"] == read(case / "caller_answer.json")


@cases
def test_the_events_follow_the_grammar_of_the_api(case: Path) -> None:
    """Every item and part is opened once, told in order, and closed once; deltas make the text that `done` tells."""
    found = [judge(ResponseStreamEvent).validate_json(event, strict=True) for event in events(case)]
    assert [event.sequence_number for event in found] == list(range(len(found)))
    assert [event.type for event in found[:2]] == ["response.created", "response.in_progress"]
    final = found[-1]
    assert final.type == f"response.{final.response.status}"
    assert all(event.response.id == final.response.id for event in (*found[:2], final))
    open_items: dict[int, str] = {}
    open_parts: dict[tuple[str, int], str] = {}
    texts: dict[tuple[str, int, str], str] = {}
    finished: dict[int, Any] = {}
    for event in found[2:-1]:
        if event.type == "response.output_item.added":
            assert event.output_index == len(open_items) + len(finished)
            open_items[event.output_index] = event.item.id
            continue
        if event.type == "response.output_item.done":
            assert open_items.pop(event.output_index) == event.item.id
            finished[event.output_index] = event.item
            continue
        assert open_items[event.output_index] == event.item_id
        index = getattr(event, "content_index", getattr(event, "summary_index", 0))
        part, kind = (event.item_id, index), event.type.removeprefix("response.").rpartition(".")[0]
        if event.type.endswith("_part.added"):
            open_parts[part] = event.part.type
        elif event.type.endswith("_part.done"):
            assert open_parts.pop(part) == event.part.type
        elif event.type.endswith(".delta"):
            assert part in open_parts or kind == "function_call_arguments"
            texts[(*part, kind)] = texts.get((*part, kind), "") + event.delta
        elif event.type.endswith(".done"):
            whole = next(getattr(event, name) for name in ("text", "refusal", "arguments") if hasattr(event, name))
            assert texts.pop((*part, kind)) == whole
    assert not open_items
    assert not open_parts
    assert not texts
    assert [finished[at] for at in sorted(finished)] == final.response.output


@cases
def test_the_openai_packages_stream_helper_reads_the_events(case: Path) -> None:
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=[], text_format=omit)
    helped = [
        told for event in events(case) for told in state.handle_event(judge(ResponseStreamEvent).validate_json(event))
    ]
    final = helped[-1]
    assert final.type in ("response.completed", "response.incomplete")
    expected = Response.model_validate(read(case / "caller_answer.json"))
    assert final.response.output_text == expected.output_text
    assert [item.type for item in final.response.output] == [item.type for item in expected.output]
