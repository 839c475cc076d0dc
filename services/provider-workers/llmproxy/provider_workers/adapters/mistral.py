"""Mistral. https://docs.mistral.ai/api/#tag/chat"""

import hashlib
import re
from base64 import b64encode
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import Raw

from llmproxy.provider_workers.adapters.base import Capability
from llmproxy.provider_workers.canonical import METADATA
from llmproxy.provider_workers.compatible import Compatible
from llmproxy.provider_workers.compatible_requests import (
    FIELDS,
    OBJECTS,
    RARE,
    TOOL,
    USER,
    Fields,
    Messages,
    encode,
    is_list,
    objects,
    text_in,
)
from llmproxy.provider_workers.natives.embeddings import Embeddings
from llmproxy.provider_workers.natives.moderations import Moderations
from llmproxy.provider_workers.natives.transcriptions import Transcriptions
from llmproxy.provider_workers.wire import Target

URL = "https://api.mistral.ai/v1"
CALL_ID = re.compile(r"[a-zA-Z0-9]{9}", re.ASCII)
PARTS = re.compile(rb'"content"\s*:\s*\[')
CALLS = re.compile(rb'"tool_calls"\s*:\s*\[\s*\{')
ALWAYS_REASONS = "magistral"
PLAIN = frozenset({"content", "role"})
HEARD: Fields = {"role": Raw(b'"assistant"'), "content": Raw(b'"OK."')}


def call_id(given: str) -> str:
    """Mistral takes ids of nine letters and digits; its own are such. Any other becomes one, always the same."""
    if CALL_ID.fullmatch(given):
        return given
    digest = hashlib.sha256(given.encode()).digest()[:7]
    return b64encode(digest, altchars=b"xy")[:9].decode()


def rewrite(fields: Fields, target: Target, dropped: list[str]) -> None:
    if text_in(fields, "tool_choice") == "required":
        fields["tool_choice"] = encode("any")
    effort = text_in(fields, "reasoning_effort")
    if effort is not None:  # Models either always reason, or do so when told to; there are no degrees.
        if ALWAYS_REASONS in target.model:
            del fields["reasoning_effort"]
            dropped.append("reasoning_effort")
        else:
            if effort not in ("none", "high"):
                dropped.append("reasoning_effort")  # That it reasons is kept, how much is not.
            fields["reasoning_effort"] = encode("none" if effort == "none" else "high")


def reshape(messages: list[Fields], fields: Fields, dropped: list[str]) -> list[Fields]:
    thinks = "reasoning_effort" in fields or ALWAYS_REASONS in (text_in(fields, "model") or "")
    shaped = [_reshaped(message, index, thinks, dropped) for index, message in enumerate(messages)]
    same = all(new is old for new, old in zip(shaped, messages, strict=True))
    return _in_order(messages if same else shaped)


def _in_order(messages: list[Fields]) -> list[Fields]:
    """After the results of tools it wants to hear the assistant, not the user."""
    if not any(_is_gap(*pair) for pair in pairwise(messages)):
        return messages
    out = messages[:1]
    for before, after in pairwise(messages):
        out += [HEARD, after] if _is_gap(before, after) else [after]
    return out


def _is_gap(before: Fields, after: Fields) -> bool:
    return before.get("role") == TOOL and after.get("role") == USER


def _reshaped(message: Fields, index: int, thinks: bool, dropped: list[str]) -> Fields:
    if message.keys() <= PLAIN and not is_list(message.get("content")):
        return message
    changes: dict[str, Any] = {}
    role = text_in(message, "role")
    if "tool_call_id" in message:
        changes["tool_call_id"] = call_id(text_in(message, "tool_call_id") or "")
    calls = objects(message.get("tool_calls"))
    if calls:
        changes["tool_calls"] = [{**call, "id": call_id(text_in(call, "id") or "")} for call in calls]
    thought = text_in(message, "reasoning_content")
    if thought is not None and thinks:
        said = text_in(message, "content")
        thinking = {"type": "thinking", "thinking": [{"type": "text", "text": thought}]}
        changes["content"] = [thinking, *([{"type": "text", "text": said}] if said else [])]
    elif thought:
        dropped.append(f"messages[{index}].reasoning_content")
    elif role == "user" and is_list(message.get("content")):
        changes["content"] = [_part(part) for part in objects(message["content"]) or []]
    gone = {"reasoning_content"} if role == "tool" else {"reasoning_content", "name"}
    if role != "tool" and bytes(message.get("name", b"null")) != b"null":
        dropped.append(f"messages[{index}].name")
    if not changes and not message.keys() & gone:
        return message
    return {**{name: value for name, value in message.items() if name not in gone}, **_encoded(changes)}


def _encoded(changes: dict[str, Any]) -> Fields:
    return {name: encode(value) for name, value in changes.items()}


def _part(part: Fields) -> Fields:
    """Sound is given as its data alone, a file as a document."""
    match text_in(part, "type"):
        case "input_audio":
            data = _inside(part, "input_audio").get("data")
            return {**part, "input_audio": data} if data is not None else part
        case "file":
            file = _inside(part, "file")
            if "file_data" in file:
                named = {"document_name": file["filename"]} if "filename" in file else {}
                return {"type": encode("document_url"), "document_url": file["file_data"], **named}
    return part


def _inside(part: Fields, name: str) -> Fields:
    value = bytes(part.get(name, b"{}"))
    return FIELDS.decode(value) if value[:1] == b"{" else {}


# -- answers


def inward(data: bytes) -> bytes:
    """Content in parts becomes text and reasoning; calls get their type, and arguments that are objects become text."""
    has_parts, has_calls = PARTS.search(data), CALLS.search(data)
    if not has_parts and not has_calls:
        return data
    fields = FIELDS.decode(data)
    choices = OBJECTS.decode(fields.get("choices", b"[]"))
    for choice in choices:
        for place in ("message", "delta"):
            if bytes(choice.get(place, b"null")) != b"null":
                choice[place] = encode(_said(FIELDS.decode(choice[place])))
    return msgspec.json.encode({**fields, "choices": choices})


def _said(said: Fields) -> Fields:
    if is_list(said.get("content")):
        said = {**said, **_texts(OBJECTS.decode(said["content"]))}
    if is_list(said.get("tool_calls")):
        said = {**said, "tool_calls": encode([_call(call) for call in OBJECTS.decode(said["tool_calls"])])}
    return said


def _texts(parts: list[Fields]) -> Fields:
    texts, thoughts, others = list[str](), list[str](), list[Fields]()
    for part in parts:
        match text_in(part, "type"):
            case "text":
                texts.append(text_in(part, "text") or "")
            case "thinking":
                thoughts += [text_in(one, "text") or "" for one in objects(part.get("thinking")) or []]
            case _:
                others.append(part)  # References to what was searched.
    found = {"content": encode("".join(texts))}
    if thoughts:
        found["reasoning_content"] = encode("".join(thoughts))
    if others:
        found["references"] = encode(others)
    return found


def _call(call: Fields) -> Fields:
    if bytes(call.get("function", b""))[:1] != b"{":
        return call  # Of a kind that is not known here.
    function = FIELDS.decode(call["function"])
    arguments = bytes(function.get("arguments", b'""'))
    if arguments[:1] == b"{":
        call = {**call, "function": encode({**function, "arguments": arguments.decode()})}
    return call if bytes(call.get("type", b"null")) != b"null" else {**call, "type": Raw(b'"function"')}


MISTRAL = Compatible(
    name="mistral",
    vendor="Mistral",
    default_url=URL,
    capabilities=frozenset(Capability) - {Capability.LOGPROBS},
    lacks=RARE
    | (METADATA - {"metadata", "prediction", "prompt_cache_key"})
    | {"logit_bias", "logprobs", "thinking", "top_k", "top_logprobs"},
    renamed={"max_completion_tokens": "max_tokens", "seed": "random_seed"},
    asks_for_usage=False,  # It refuses `stream_options`, and always sends the usage.
    messages=Messages(
        fields=frozenset({"content", "name", "prefix", "reasoning_content", "role", "tool_call_id", "tool_calls"}),
        reasoning="reasoning_content",
        developer=False,
        tool_images=True,
    ),
    efforts=True,
    rewrite=rewrite,
    reshape=reshape,
    inward=inward,
    natives={"embeddings": Embeddings(URL), "moderations": Moderations(URL), "transcriptions": Transcriptions(URL)},
)
