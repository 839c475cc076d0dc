"""The vendors' own SDK packages as judges of requests: what their types refuse, a fake must not have accepted."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from llmproxy.fakes.anthropic import FIRST_VERSION, SAMPLING
from llmproxy.fakes.conversation import Recorded, Refused
from llmproxy.fakes.vendor import Vendor

OPENAI_FORMAT = frozenset(
    {
        "openai",
        "azure",
        "groq",
        "together",
        "deepseek",
        "xai",
        "perplexity",
        "fireworks",
        "openrouter",
        "sambanova",
        "vllm",
    }
)
STRICT = frozenset({"openai", "azure"})  # The types list every field there is.


@cache
def params(module: str, whole: str, streamed: str) -> tuple[TypeAdapter[Any], TypeAdapter[Any], frozenset[str]]:
    from importlib import import_module

    found = import_module(module)
    names = frozenset(get_type_hints(getattr(found, streamed)))
    return TypeAdapter(getattr(found, whole)), TypeAdapter(getattr(found, streamed)), names


def typed(
    body: Mapping[str, Any], module: str, whole: str, streamed: str, *, strict: bool, also: frozenset[str] = frozenset()
) -> None:
    one, other, names = params(module, whole, streamed)
    unknown = sorted(body.keys() - names - also)
    if unknown and strict:
        raise Refused(f"{unknown[0]}: not a field of the SDK's {streamed}", param=unknown[0])
    try:
        walk((other if body.get("stream") else one).validate_python(body))
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(step) for step in first["loc"])
        raise Refused(f"the SDK's types say at {at}: {first['msg']}", param=at) from None


def walk(value: Any) -> None:
    """Runs pydantic's lazy validation of `Iterable` to its end. Raises ValidationError."""
    if isinstance(value, Mapping):
        for inner in value.values():
            walk(inner)
    elif not isinstance(value, str | bytes) and hasattr(value, "__iter__") and not hasattr(value, "model_fields"):
        for inner in value:
            walk(inner)


COMPLETION = "CompletionCreateParamsNonStreaming", "CompletionCreateParamsStreaming"


def judge_openai(vendor: str, path: str, body: Mapping[str, Any]) -> None:
    strict = vendor in STRICT
    match path.rpartition("/")[2]:
        case "completions" if path.endswith("/chat/completions"):
            typed(body, "openai.types.chat.completion_create_params", *COMPLETION, strict=strict)
        case "completions":
            typed(body, "openai.types.completion_create_params", *COMPLETION, strict=strict)
        case "responses":
            names = "ResponseCreateParamsNonStreaming", "ResponseCreateParamsStreaming"
            typed(body, "openai.types.responses.response_create_params", *names, strict=strict)
        case "embeddings":
            typed(body, "openai.types.embedding_create_params", *(("EmbeddingCreateParams",) * 2), strict=strict)
        case "moderations":
            typed(body, "openai.types.moderation_create_params", *(("ModerationCreateParams",) * 2), strict=strict)
        case "speech":
            typed(body, "openai.types.audio.speech_create_params", *(("SpeechCreateParams",) * 2), strict=strict)


def judge_anthropic(body: Mapping[str, Any], version: str) -> None:
    also = SAMPLING if version == FIRST_VERSION else frozenset()
    names = "MessageCreateParamsNonStreaming", "MessageCreateParamsStreaming"
    typed(body, "anthropic.types.message_create_params", *names, strict=True, also=also)


@cache
def gemini_types() -> dict[str, TypeAdapter[Any]]:
    """The fields of a GenerateContentRequest; those types forbid unknown fields at every depth."""
    from google.genai import types

    return {
        "contents": TypeAdapter(list[types.Content]),
        "systemInstruction": TypeAdapter(types.Content),
        "tools": TypeAdapter(list[types.Tool]),
        "toolConfig": TypeAdapter(types.ToolConfig),
        "generationConfig": TypeAdapter(types.GenerationConfig),
        "safetySettings": TypeAdapter(list[types.SafetySetting]),
        "cachedContent": TypeAdapter(str),
    }


def judge_gemini(body: Mapping[str, Any]) -> None:
    for name, value in body.items():
        try:
            if name in gemini_types():
                gemini_types()[name].validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            raise Refused(f"the SDK's types say at {name}.{first['loc']}: {first['msg']}") from None


def judge_ollama(body: Mapping[str, Any]) -> None:
    from ollama._types import ChatRequest, Message

    try:
        ChatRequest.model_validate(body)
        for message in body.get("messages") or []:
            images = [{"value": image} for image in message.get("images") or []]  # The SDK's wrapper of the same.
            Message.model_validate({**message, "images": images})
    except ValidationError as error:
        first = error.errors()[0]
        raise Refused(f"the SDK's types say at {first['loc']}: {first['msg']}") from None


def judge(vendor: Vendor, recorded: Recorded) -> None:
    """Raises Refused. Vendors without an SDK here, and APIs without types, pass."""
    if recorded.method != "POST" or "json" not in recorded.headers.get("content-type", "json"):
        return
    body = recorded.json
    if not isinstance(body, dict):
        return
    judges: dict[str, Callable[[], None]] = {
        "anthropic": lambda: judge_anthropic(body, recorded.headers.get("anthropic-version", "")),
        "google": lambda: judge_gemini(body),
        "ollama": lambda: judge_ollama(body),
    }
    if vendor.name in OPENAI_FORMAT:
        judge_openai(vendor.name, recorded.path, body)
    elif recorded.path.endswith(("/v1/messages", "enerateContent", "/api/chat")) and vendor.name in judges:
        judges[vendor.name]()
