"""What only the Responses API promises of its events: their grammar, and that the openai package's stream helper reads them.

That they are the right ones, for every case of `callers/responses/`, `test_callers.py` says.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

CASES = sorted(path.parent for path in (Path(__file__).parent / "callers" / "responses").glob("*/caller_stream.txt"))

cases = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


@cache
def judge() -> TypeAdapter[Any]:
    return TypeAdapter(ResponseStreamEvent)


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def events(case: Path) -> list[bytes]:
    """The events as the caller reads them: one line each."""
    blocks = (case / "caller_stream.txt").read_bytes().split(b"\n\n")[:-1]
    assert all(block.count(b"\n") == 1 for block in blocks)
    return [block.partition(b"\ndata: ")[2] for block in blocks]


@cases
def test_what_the_model_said_is_the_output_text(case: Path) -> None:
    said = read(case / "canonical_answer.json")["choices"][0]["message"]
    assert Response.model_validate(read(case / "caller_answer.json")).output_text == (said["content"] or "")


@cases
def test_the_stream_ends_with_the_same_response_as_the_whole_answer(case: Path) -> None:
    assert json.loads(events(case)[-1])["response"] == read(case / "caller_answer.json")


@cases
def test_the_events_follow_the_grammar_of_the_api(case: Path) -> None:
    """Every item and part is opened once, told in order, and closed once; deltas make the text that `done` tells."""
    found = [judge().validate_json(event, strict=True) for event in events(case)]
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
    helped = [told for event in events(case) for told in state.handle_event(judge().validate_json(event))]
    final = helped[-1]
    assert final.type in ("response.completed", "response.incomplete")
    expected = Response.model_validate(read(case / "caller_answer.json"))
    assert final.response.output_text == expected.output_text
    assert [item.type for item in final.response.output] == [item.type for item in expected.output]
