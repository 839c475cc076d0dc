"""What a stream says in several deltas is one message to OpenAI's own package, whichever vendor it came from."""

import json
from pathlib import Path
from typing import Any

import pytest
from conformance.cases import named
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.adapters.base import Origin, Target

CASES = sorted(path.parent for path in (Path(__file__).parent / "wire").glob("*/*/canonical_chunks.jsonl"))
HERE = Origin(id="r", model="m", created=1)


def added_up(chunks: list[bytes]) -> dict[str, Any]:
    """The message of the first choice."""
    state = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate_json(chunk))
    found: dict[str, Any] = state.current_completion_snapshot.choices[0].message.model_dump()
    return found


def streamed(provider: str, *events: dict[str, Any]) -> dict[str, Any]:
    stream = ADAPTERS[provider].events(HERE)
    chunks = stream.feed(b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events))
    chunks += stream.finish()
    assert stream.complete
    return added_up(chunks)


@named(CASES)
def test_every_stream_adds_up(case: Path) -> None:
    assert "content" in added_up((case / "canonical_chunks.jsonl").read_bytes().splitlines())


def thought(number: int) -> list[dict[str, Any]]:
    begun = {"type": "thinking", "thinking": f"{number}", "signature": f"s{number}"}
    return [
        {"type": "content_block_start", "index": number, "content_block": begun},
        {"type": "content_block_stop", "index": number},
    ]


BEGIN = {"type": "message_start", "message": {}}
END = [
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
    {"type": "message_stop"},
]


def test_signed_thinking_of_a_stream_goes_back_as_it_was_signed() -> None:
    said = streamed("anthropic", BEGIN, *thought(0), *thought(1), *END)
    messages = [{"role": "user", "content": "x"}, said, {"role": "user", "content": "y"}]
    body = json.dumps({"model": "m", "messages": messages}).encode()
    sent = json.loads(ADAPTERS["anthropic"].request(body, Target(model="m")).body)
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "0", "signature": "s0"},
        {"type": "thinking", "thinking": "1", "signature": "s1"},
    ]


def test_a_tool_of_the_vendors_is_no_call() -> None:
    used = {"type": "server_tool_use", "id": "s", "name": "search", "input": {}}
    said = streamed(
        "anthropic",
        {"type": "content_block_start", "index": 0, "content_block": used},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_stop", "index": 0},
        *END,
    )
    assert said["tool_calls"] is None


def test_what_gemini_says_beside_a_text_is_told_once() -> None:
    def event(text: str, **beside: Any) -> dict[str, Any]:
        part = {"text": text, "thoughtSignature": f"sig{text}"}
        cited = {"citations": [{"uri": f"https://{text}.example"}]}
        grounded = {"groundingMetadata": {"groundingChunks": [{"web": {"uri": text}}]}}
        return {"candidates": [{"content": {"parts": [part]}, "citationMetadata": cited, **grounded, **beside}]}

    said = streamed("google", event("a", finishReason="STOP"), event("b", finishReason="STOP"))
    assert said["content"] == "ab"
    assert [one["url_citation"]["url"] for one in said["annotations"]] == ["https://a.example", "https://b.example"]
    assert said["extra_content"]["google"] == {
        "thought_signature": "sigb",
        "grounding_metadata": {"groundingChunks": [{"web": {"uri": "b"}}]},
    }


def test_pictures_of_a_stream_are_a_list() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    event = {"candidates": [{"content": {"parts": [picture]}}]}
    said = streamed("google", event, event, {"candidates": [{"finishReason": "STOP"}]})
    assert len(said["images"]) == 2


def test_citations_of_a_stream_are_a_list() -> None:
    def cited(start: int) -> dict[str, Any]:
        return {"type": "citation-start", "delta": {"message": {"citations": {"start": start, "sources": []}}}}

    said = streamed("cohere", cited(0), cited(5), {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}})
    assert [one["start"] for one in said["extra_content"]["cohere"]["citations"]] == [0, 5]


def test_reasoning_before_each_of_two_messages_is_a_list() -> None:
    def item(number: int, kind: str) -> list[dict[str, Any]]:
        whole = {"type": kind, "id": f"{kind}{number}", "encrypted_content": f"e{number}"}
        return [
            {"type": "response.output_item.added", "output_index": number, "item": {"type": kind}},
            {"type": "response.output_item.done", "output_index": number, "item": whole},
        ]

    items = [*item(0, "reasoning"), *item(1, "message"), *item(2, "reasoning"), *item(3, "message")]
    begun = {"type": "response.created", "response": {}}
    said = streamed("openai-responses", begun, *items, {"type": "response.completed", "response": {"output": []}})
    assert [one["id"] for one in said["extra_content"]["openai"]["reasoning"]] == ["reasoning0", "reasoning2"]


@pytest.mark.parametrize("index", [0, 7])
def test_a_block_keeps_what_else_it_holds(index: int) -> None:
    block = {"index": index, "type": "thinking", "thinking": "\u00e9", "signature": "s"}
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "thinking_blocks": [block]}]
    body = json.dumps({"model": "m", "messages": messages}).encode()
    sent = json.loads(ADAPTERS["anthropic"].request(body, Target(model="m")).body)["messages"][1]["content"][0]
    assert sent == {"type": "thinking", "thinking": "\u00e9", "signature": "s"}
