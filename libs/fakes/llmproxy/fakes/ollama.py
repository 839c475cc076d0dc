"""A fake Ollama: its own API, and OpenAI's beside it. https://github.com/ollama/ollama/blob/main/docs/api.md"""

import json
from typing import Any, Literal

from msgspec import Struct

from llmproxy.fakes.conversation import (
    Asked,
    Behaviour,
    Recorded,
    Refused,
    Script,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
    joined,
    media_of,
)
from llmproxy.fakes.openai.plain import vector
from llmproxy.fakes.shapes import Misfit, fit, words
from llmproxy.fakes.vendor import Body, Operation, Whole, as_json, bearer, check_model

CREATED_AT = "2024-01-01T00:00:00.000000Z"
SIGNATURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp", b"GIF8": "image/gif"}
OPTIONS = words(
    "numa num_ctx num_batch num_gpu main_gpu low_vram f16_kv logits_all vocab_only use_mmap use_mlock embedding_only "
    "num_thread num_keep seed num_predict top_k top_p tfs_z typical_p min_p repeat_last_n temperature repeat_penalty "
    "presence_penalty frequency_penalty mirostat mirostat_tau mirostat_eta penalize_newline stop"
)


class Called(Struct, frozen=True):
    name: str
    arguments: dict[str, Any]  # An object, not a text.
    index: int | None = None


class Call(Struct, frozen=True):
    function: Called
    id: str | None = None


class Message(Struct, frozen=True, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class Function(Struct, frozen=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] = {}


class OneTool(Struct, frozen=True):
    function: Function
    type: Literal["function"] = "function"


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    messages: list[Message] = []
    stream: bool | None = None
    format: Literal["json", ""] | dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    keep_alive: str | float | None = None
    tools: list[OneTool] | None = None
    think: bool | Literal["low", "medium", "high", "max"] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


def read(recorded: Recorded, kind: type[Any], behaviour: Behaviour) -> Any:
    try:
        return fit(recorded.json, kind, ignore_unknown=not behaviour.strict_fields)
    except Misfit as misfit:
        raise Refused(f"json: cannot unmarshal {misfit.param}: {misfit.what}") from None


class Chat:
    stream_type = "application/x-ndjson"
    keep_alive = b""  # It has none.

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        request: Request = read(recorded, Request, behaviour)
        check_model(request.model, behaviour, f'model "{request.model}" not found, try pulling it first')
        if not request.messages:
            raise Refused("messages: at least one is required")  # The real one loads the model and says nothing.
        if unknown := sorted((request.options or {}).keys() - OPTIONS):
            raise Refused(f"invalid option provided: {unknown[0]}")
        form = request.format
        return Asked(
            model=request.model,
            stream=request.stream is not False,
            turns=turns_of(request.messages),
            tools=tuple(Tool(tool.function.name, tool.function.parameters) for tool in request.tools or []),
            json_schema=form if isinstance(form, dict) else None,
            json_mode=form == "json",
            reasoning=bool(request.think),
        )

    def answer(self, script: Script, asked: Asked) -> Body:
        message: dict[str, Any] = {"role": "assistant", "content": script.text}
        if script.reasoning:
            message["thinking"] = script.reasoning
        if script.calls:
            message["tool_calls"] = calls(script)
        return as_json({**line(script, message), **done(script)})

    def events(self, script: Script, asked: Asked) -> list[bytes]:
        found: list[dict[str, Any]] = []
        if script.reasoning:
            found.append({"role": "assistant", "content": "", "thinking": script.reasoning})
        found += [{"role": "assistant", "content": piece} for piece in script.pieces]
        found += [{"role": "assistant", "content": "", "tool_calls": [call]} for call in calls(script)]
        return [encode(line(script, message)) for message in found]

    def end(self, script: Script, asked: Asked) -> bytes:
        return encode({**line(script, {"role": "assistant", "content": ""}), **done(script)})

    def error_event(self, message: str) -> bytes:
        return encode({"error": message})


def turns_of(messages: list[Message]) -> tuple[Turn, ...]:
    """There are no ids: a result belongs to the next call that waits for one, by name where it has one."""
    found: list[Turn] = []
    waiting: list[ToolUse] = []
    for index, message in enumerate(messages):
        match message.role:
            case "system":
                found.append(Turn("system", message.content))
            case "assistant":
                made = enumerate(message.tool_calls or [])
                calls = tuple(ToolUse(f"{index}.{n}", one.function.name, one.function.arguments) for n, one in made)
                waiting = list(calls)
                found.append(Turn("assistant", message.content, calls))
            case "tool":
                named = [call for call in waiting if message.tool_name in (None, call.name)]
                if not named:
                    found.append(Turn("user", results=(ToolResult("", message.tool_name or "", message.content),)))
                    continue
                waiting.remove(named[0])
                found.append(Turn("user", results=(ToolResult(named[0].id, named[0].name, message.content),)))
            case "user":
                images = (media_of(kind_of(image), image) for image in message.images or [])
                found.append(Turn("user", message.content, media=tuple(images)))
    return joined(found)


def kind_of(image: str) -> str:
    """It is not told the type: it looks."""
    from base64 import b64decode

    try:
        head = b64decode(image[:16])
    except ValueError:
        raise Refused("illegal base64 data at input byte 0") from None
    return next((kind for start, kind in SIGNATURES.items() if head.startswith(start)), "image")


class EmbedRequest(Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    input: str | list[str]
    truncate: bool | None = None
    options: dict[str, Any] | None = None
    keep_alive: str | float | None = None
    dimensions: int | None = None


class Embed(Whole):
    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        request = read(recorded, EmbedRequest, behaviour)
        check_model(request.model, behaviour, f'model "{request.model}" not found, try pulling it first')
        texts = (request.input,) if isinstance(request.input, str) else tuple(request.input)
        return Asked(request.model, inputs=texts, extra={"size": request.dimensions or 8})

    def answer(self, script: Script, asked: Asked) -> Body:
        vectors = [vector(text, asked.extra["size"]) for text in asked.inputs]
        counts = {"total_duration": 1000, "load_duration": 10, "prompt_eval_count": script.input_tokens}
        return as_json({"model": asked.model, "embeddings": vectors, **counts})


class Tags(Whole):
    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        return Asked(inputs=behaviour.models or ("qwen3",))

    def answer(self, script: Script, asked: Asked) -> Body:
        return as_json(
            {"models": [{"name": name, "model": name, "size": 1, "digest": "fake"} for name in asked.inputs]}
        )


class Ollama:
    name = "ollama"
    key = ""
    base = ""
    overloaded = 503
    call_id = "call_{:08d}"

    def __init__(self) -> None:
        self.operations: dict[tuple[str, str], Operation] = {
            ("POST", "/api/chat"): Chat(),
            ("POST", "/api/embed"): Embed(),
            ("GET", "/api/tags"): Tags(),
        }

    def operation(self, method: str, path: str) -> Operation | None:
        return self.operations.get((method, path))

    def accepts(self, recorded: Recorded, key: str) -> bool:
        return bearer(recorded.headers) == key

    def error(self, refused: Refused) -> dict[str, Any]:
        return {"error": refused.message}


def calls(script: Script) -> list[dict[str, Any]]:
    return [{"function": {"name": call.name, "arguments": call.arguments}} for call in script.calls]


def line(script: Script, message: dict[str, Any]) -> dict[str, Any]:
    return {"model": script.model, "created_at": CREATED_AT, "message": message, "done": False}


def done(script: Script) -> dict[str, Any]:
    return {
        "done": True,
        "done_reason": script.finish or "stop",
        "total_duration": 1000,
        "load_duration": 10,
        "prompt_eval_count": script.input_tokens,
        "prompt_eval_duration": 100,
        "eval_count": script.output_tokens,
        "eval_duration": 500,
    }


def encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


OLLAMA = Ollama()
