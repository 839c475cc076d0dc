"""What only Gemini's and the legacy completions' streams promise, beside the suite over every caller (test_callers.py)."""

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent / "callers"
STREAMS = sorted(
    path.parent for api in ("completions", "gemini") for path in (FOLDER / api).glob("*/caller_stream.txt")
)


def named(cases: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def events(case: Path) -> list[bytes]:
    blocks = (case / "caller_stream.txt").read_bytes().split(b"\n\n")[:-1]
    return [block.removeprefix(b"data: ") for block in blocks]


@named(STREAMS)
def test_each_event_is_one_line(case: Path) -> None:
    assert not any(b"\n" in event for event in events(case))


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
