"""A chat completion and its chunks, as a vendor writes them."""

import json
from collections.abc import Iterator
from typing import Any

from llmproxy.fakes.conversation import Script, ToolUse
from llmproxy.fakes.openai.variant import Variant
from llmproxy.fakes.vendor import split

CREATED = 1_700_000_000
SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
PROMPT_FILTER = [{"prompt_index": 0, "content_filter_results": SAFE}]


def filtered(variant: Variant) -> dict[str, Any]:
    return {"content_filter_results": SAFE} if variant.filters else {}


def sources(variant: Variant) -> dict[str, Any]:
    if not variant.citations:
        return {}
    found = [{"title": "Example", "url": "https://example.org/", "date": None}]
    return {"citations": ["https://example.org/"], "search_results": found}


def message_of(script: Script, variant: Variant) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": script.text or (None if script.calls else "")}
    if variant.name in ("openai", "azure"):
        message |= {"refusal": None, "annotations": []}
    if script.reasoning and variant.reasoning == "parts":
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": script.reasoning}]}
        message["content"] = [thought, {"type": "text", "text": script.text}] if script.text else [thought]
    elif script.reasoning and variant.reasoning:
        message[variant.reasoning] = script.reasoning
    if variant.name == "openrouter" and script.reasoning:
        message["reasoning_details"] = [details(script.reasoning)]
    if script.calls:
        message["tool_calls"] = [whole_call(call) for call in script.calls]
    return message


def whole_call(call: ToolUse) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}


def details(text: str) -> dict[str, Any]:
    return {"type": "reasoning.text", "text": text, "signature": None, "format": "unknown", "index": 0}


def choices(script: Script, index: int, variant: Variant) -> Iterator[dict[str, Any]]:
    """The choices of one answer's chunks."""

    def choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, **filtered(variant)}

    yield choice({"role": "assistant", "content": ""})
    for piece in split(script.reasoning) if variant.reasoning else ():
        if variant.reasoning == "parts":
            yield choice({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": piece}]}]})
        elif variant.name == "openrouter":
            yield choice({"content": "", "reasoning": piece, "reasoning_details": [details(piece)]})
        else:
            yield choice({variant.reasoning: piece})
    for piece in script.pieces:
        yield choice({"content": piece})
    for number, call in enumerate(script.calls):
        if variant.whole_calls:
            yield choice({"tool_calls": [{"index": number, **whole_call(call)}]})
            continue
        opened = {"index": number, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield choice({"tool_calls": [opened]})
        for piece in split(json.dumps(call.arguments)):
            yield choice({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})
    yield choice({}, finish_of(script))


def with_messages(chunks: list[dict[str, Any]], script: Script, variant: Variant) -> list[dict[str, Any]]:
    """Every chunk with the message so far, as Perplexity sends it."""
    text, found = "", []
    for chunk in chunks:
        choice = chunk["choices"][0]
        text += choice["delta"].get("content") or ""
        message = {"role": "assistant", "content": text}
        found.append({**chunk, "choices": [{**choice, "message": message}], **sources(variant)})
    return found


def head(script: Script) -> dict[str, Any]:
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": script.model,
        "system_fingerprint": "fp_fake",
    }


def finish_of(script: Script) -> str:
    return script.finish or ("tool_calls" if script.calls else "stop")


def usage_of(script: Script, variant: Variant) -> dict[str, Any]:
    outside = script.reasoning_tokens if variant.reasoning_outside else 0
    usage: dict[str, Any] = {
        "prompt_tokens": script.input_tokens,
        "completion_tokens": script.output_tokens - outside,
        "total_tokens": script.input_tokens + script.output_tokens,
    }
    if variant.cache_fields == "hit_miss":
        usage["prompt_cache_hit_tokens"] = script.cached_tokens
        usage["prompt_cache_miss_tokens"] = script.input_tokens - script.cached_tokens
        usage["completion_tokens_details"] = {"reasoning_tokens": script.reasoning_tokens}
        return usage
    usage["prompt_tokens_details"] = {"cached_tokens": script.cached_tokens, "audio_tokens": 0}
    usage["completion_tokens_details"] = {"reasoning_tokens": script.reasoning_tokens, "audio_tokens": 0}
    return usage
