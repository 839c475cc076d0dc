"""The official packages, unmodified, told the same things: what a client of the gateway says and hears, in no SDK's words."""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import anthropic
import openai
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as gemini

OUTPUT_TOKENS = 8000


@dataclass
class Said:
    """One answer. `turn` is it in the SDK's own form, to go on from."""

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)  # (id, tool, arguments)
    finish: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    pieces: int = 0  # Of text, in a stream.
    turn: list[Any] = field(default_factory=list)
    failed: int = 0  # A stream that broke off: the status, or 1 for an error without one.


@dataclass(frozen=True)
class Tool:
    name: str
    description: str
    schema: dict[str, Any]


@dataclass(frozen=True)
class Wish:
    """What a request asks for besides the conversation."""

    stream: bool = False
    tools: tuple[Tool, ...] = ()
    schema: dict[str, Any] | None = None
    reasoning: bool = False


class Failure(Exception):
    """The SDK raised; `status` is the HTTP status it says, `message` the error's own words."""

    def __init__(self, status: int, message: str, retry_after: str = "") -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message, self.retry_after = status, message, retry_after


class Client(Protocol):
    """One SDK, or one API of it."""

    name: str

    def user(self, text: str, image: bytes | None = None) -> list[Any]: ...
    def results(self, results: list[tuple[str, str, str]]) -> list[Any]:
        """(id, tool, text) of each."""
        ...

    def ask(self, model: str, conversation: list[Any], wish: Wish) -> Said:
        """Raises Failure."""
        ...

    def close(self) -> None: ...


# -- openai, chat completions


class Chat:
    name = "openai, chat"

    def __init__(self, base_url: str, key: str) -> None:
        self._client = openai.OpenAI(base_url=f"{base_url}/v1", api_key=key, max_retries=0)

    def close(self) -> None:
        self._client.close()

    def user(self, text: str, image: bytes | None = None) -> list[Any]:
        if image is None:
            return [{"role": "user", "content": text}]
        url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
        parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
        return [{"role": "user", "content": parts}]

    def results(self, results: list[tuple[str, str, str]]) -> list[Any]:
        return [{"role": "tool", "tool_call_id": one, "content": text} for one, _, text in results]

    def ask(self, model: str, conversation: list[Any], wish: Wish) -> Said:
        options: dict[str, Any] = {"max_completion_tokens": OUTPUT_TOKENS}
        if wish.tools:
            options["tools"] = [
                {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.schema}}
                for t in wish.tools
            ]
        if wish.schema is not None:
            form = {"name": "answer", "strict": True, "schema": wish.schema}
            options["response_format"] = {"type": "json_schema", "json_schema": form}
        if wish.reasoning:
            options["reasoning_effort"] = "low"
        create: Any = self._client.chat.completions.create
        try:
            if wish.stream:
                return chat_stream(
                    create(
                        model=model,
                        messages=conversation,
                        stream=True,
                        stream_options={"include_usage": True},
                        **options,
                    )
                )
            return chat_answer(create(model=model, messages=conversation, **options))
        except openai.APIStatusError as error:
            raise failure(error) from None


def failure(error: openai.APIStatusError | anthropic.APIStatusError) -> Failure:
    return Failure(error.status_code, str(error), error.response.headers.get("retry-after", ""))


def chat_answer(answer: Any) -> Said:
    (choice,) = answer.choices
    message = choice.message
    return Said(
        text=message.content or "",
        reasoning=getattr(message, "reasoning_content", None) or "",
        calls=[(one.id, one.function.name, json.loads(one.function.arguments)) for one in message.tool_calls or []],
        finish=choice.finish_reason,
        input_tokens=answer.usage.prompt_tokens,
        output_tokens=answer.usage.completion_tokens,
        turn=[message.model_dump(exclude_none=True)],
    )


def chat_stream(stream: Iterable[Any]) -> Said:
    said = Said()
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    calls: dict[int, dict[str, Any]] = {}
    try:
        for chunk in stream:
            if chunk.usage is not None:
                said.input_tokens, said.output_tokens = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
            for choice in chunk.choices:
                delta = choice.delta
                said.finish = choice.finish_reason or said.finish
                said.text += delta.content or ""
                said.pieces += bool(delta.content)
                said.reasoning += getattr(delta, "reasoning_content", None) or ""
                for name in ("thinking_blocks", "reasoning_details"):
                    if found := getattr(delta, name, None):
                        message.setdefault(name, []).extend(found)
                for call in delta.tool_calls or []:
                    gather(calls.setdefault(call.index, {"type": "function", "id": "", "function": {}}), call)
    except openai.APIStatusError:
        raise
    except openai.APIError:
        said.failed = 1
    message["content"] = said.text or None
    if said.reasoning:
        message["reasoning_content"] = said.reasoning
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    said.calls = [
        (one["id"], one["function"]["name"], json.loads(one["function"]["arguments"]))
        for _, one in sorted(calls.items())
    ]
    said.turn = [message]
    return said


def gather(known: dict[str, Any], call: Any) -> None:
    known["id"] = call.id or known["id"]
    if extra := getattr(call, "extra_content", None):
        known["extra_content"] = extra
    for name in ("name", "arguments"):
        known["function"][name] = known["function"].get(name, "") + (getattr(call.function, name) or "")


# -- openai, responses


class Responses:
    name = "openai, responses"

    def __init__(self, base_url: str, key: str) -> None:
        self._client = openai.OpenAI(base_url=f"{base_url}/v1", api_key=key, max_retries=0)

    def close(self) -> None:
        self._client.close()

    def user(self, text: str, image: bytes | None = None) -> list[Any]:
        parts: list[Any] = [{"type": "input_text", "text": text}]
        if image is not None:
            url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
            parts.append({"type": "input_image", "image_url": url, "detail": "auto"})
        return [{"type": "message", "role": "user", "content": parts}]

    def results(self, results: list[tuple[str, str, str]]) -> list[Any]:
        return [{"type": "function_call_output", "call_id": one, "output": text} for one, _, text in results]

    def ask(self, model: str, conversation: list[Any], wish: Wish) -> Said:
        # Nothing is kept at the provider, so what was thought comes back sealed and is sent again.
        options: dict[str, Any] = {"max_output_tokens": OUTPUT_TOKENS, "store": False}
        if wish.tools:
            options["tools"] = [
                {
                    "type": "function", "name": one.name, "description": one.description, "parameters": one.schema,
                    "strict": False,
                }
                for one in wish.tools
            ]  # fmt: skip
        if wish.schema is not None:
            form = {"type": "json_schema", "name": "answer", "strict": True, "schema": wish.schema}
            options["text"] = {"format": form}
        if wish.reasoning:
            options["reasoning"] = {"effort": "low", "summary": "auto"}
        create: Any = self._client.responses.create
        try:
            if wish.stream:
                return response_stream(create(model=model, input=conversation, stream=True, **options))
            return response_answer(create(model=model, input=conversation, **options))
        except openai.APIStatusError as error:
            raise failure(error) from None


def response_answer(response: Any) -> Said:
    said = Said(text=response.output_text, finish=response.status)
    for item in response.output:
        if item.type == "reasoning":
            said.reasoning += "".join(part.text for part in [*item.summary, *(item.content or [])])
        if item.type == "function_call":
            said.calls.append((item.call_id, item.name, json.loads(item.arguments)))
    said.input_tokens, said.output_tokens = response.usage.input_tokens, response.usage.output_tokens
    said.turn = [item.model_dump(exclude_none=True) for item in response.output]
    return said


def response_stream(stream: Iterable[Any]) -> Said:
    """The deltas and the last event must tell the same story."""
    text, arguments, pieces, numbers = "", dict[int, str](), 0, list[int]()
    final: Any = None
    try:
        for event in stream:
            numbers.append(event.sequence_number)
            match event.type:
                case "response.output_text.delta":
                    text, pieces = text + event.delta, pieces + 1
                case "response.function_call_arguments.delta":
                    arguments[event.output_index] = arguments.get(event.output_index, "") + event.delta
                case "response.completed" | "response.incomplete":
                    final = event.response
                case "response.failed" | "error":
                    return Said(text=text, pieces=pieces, failed=1)
    except openai.APIStatusError:
        raise
    except openai.APIError:
        return Said(text=text, pieces=pieces, failed=1)
    assert final is not None, "the stream ended without its last event"
    assert numbers == sorted(set(numbers)), numbers
    said = response_answer(final)
    assert said.text == text
    assert [json.loads(one) for _, one in sorted(arguments.items())] == [call[2] for call in said.calls]
    said.pieces = pieces
    return said


# -- anthropic


class Messages:
    name = "anthropic"

    def __init__(self, base_url: str, key: str) -> None:
        self._client = anthropic.Anthropic(base_url=base_url, api_key=key, max_retries=0)

    def close(self) -> None:
        self._client.close()

    def user(self, text: str, image: bytes | None = None) -> list[Any]:
        blocks: list[Any] = [{"type": "text", "text": text}]
        if image is not None:
            data = base64.b64encode(image).decode()
            blocks.append({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}})
        return [{"role": "user", "content": blocks}]

    def results(self, results: list[tuple[str, str, str]]) -> list[Any]:
        blocks = [{"type": "tool_result", "tool_use_id": one, "content": text} for one, _, text in results]
        return [{"role": "user", "content": blocks}]

    def ask(self, model: str, conversation: list[Any], wish: Wish) -> Said:
        options: dict[str, Any] = {"max_tokens": OUTPUT_TOKENS}
        if wish.tools:
            options["tools"] = [
                {"name": one.name, "description": one.description, "input_schema": one.schema} for one in wish.tools
            ]
        config: dict[str, Any] = {}
        if wish.schema is not None:
            config["format"] = {"type": "json_schema", "schema": wish.schema}
        if wish.reasoning:
            options["thinking"] = {"type": "adaptive", "display": "summarized"}
            config["effort"] = "low"
        if config:
            options["output_config"] = config
        try:
            if not wish.stream:
                return message_answer(self._client.messages.create(model=model, messages=conversation, **options))
            return self._stream(model, conversation, options)
        except anthropic.APIStatusError as error:
            raise failure(error) from None

    def _stream(self, model: str, conversation: list[Any], options: dict[str, Any]) -> Said:
        text, pieces = "", 0
        with self._client.messages.stream(model=model, messages=conversation, **options) as stream:
            try:
                for event in stream:
                    if event.type == "content_block_delta" and event.delta.type == "text_delta":
                        text, pieces = text + event.delta.text, pieces + 1
            except anthropic.APIError as error:
                return Said(text=text, pieces=pieces, failed=getattr(error, "status_code", 1))
            said = message_answer(stream.get_final_message())
        assert said.text == text
        said.pieces = pieces
        return said


def message_answer(message: Any) -> Said:
    said = Said(finish=message.stop_reason)
    for block in message.content:
        match block.type:
            case "text":
                said.text += block.text
            case "thinking":
                said.reasoning += block.thinking
            case "tool_use":
                said.calls.append((block.id, block.name, block.input))
    usage = message.usage
    said.input_tokens, said.output_tokens = usage.input_tokens, usage.output_tokens
    content = [block.model_dump(exclude_none=True, exclude={"parsed_output"}) for block in message.content]
    said.turn = [{"role": "assistant", "content": content}]
    return said


# -- google-genai


class Gemini:
    name = "google-genai"

    def __init__(self, base_url: str, key: str) -> None:
        self._client = genai.Client(api_key=key, http_options=gemini.HttpOptions(base_url=base_url))

    def close(self) -> None:
        self._client.close()

    def user(self, text: str, image: bytes | None = None) -> list[Any]:
        parts = [gemini.Part(text=text)]
        if image is not None:
            parts.append(gemini.Part.from_bytes(data=image, mime_type="image/png"))
        return [gemini.Content(role="user", parts=parts)]

    def results(self, results: list[tuple[str, str, str]]) -> list[Any]:
        answers = [
            gemini.FunctionResponse(id=None if one.startswith("#") else one, name=name, response={"result": text})
            for one, name, text in results
        ]
        return [gemini.Content(role="user", parts=[gemini.Part(function_response=one) for one in answers])]

    def ask(self, model: str, conversation: list[Any], wish: Wish) -> Said:
        options: dict[str, Any] = {"max_output_tokens": OUTPUT_TOKENS}
        if wish.tools:
            declared = [
                gemini.FunctionDeclaration(name=t.name, description=t.description, parameters_json_schema=t.schema)
                for t in wish.tools
            ]
            options["tools"] = [gemini.Tool(function_declarations=declared)]
        if wish.schema is not None:
            options |= {"response_mime_type": "application/json", "response_json_schema": wish.schema}
        if wish.reasoning:
            options["thinking_config"] = gemini.ThinkingConfig(
                include_thoughts=True, thinking_level=gemini.ThinkingLevel.LOW
            )
        config = gemini.GenerateContentConfig(**options)
        models = self._client.models
        try:
            if not wish.stream:
                return gemini_answer([models.generate_content(model=model, contents=conversation, config=config)])
            return gemini_stream(models.generate_content_stream(model=model, contents=conversation, config=config))
        except genai_errors.APIError as error:
            raise Failure(error.code, str(error)) from None


def gemini_stream(stream: Iterable[Any]) -> Said:
    answers: list[Any] = []
    try:
        for answer in stream:
            answers.append(answer)
    except genai_errors.APIError as error:
        if not answers:
            raise
        said = gemini_answer(answers)
        said.failed = error.code or 1
        return said
    except ValueError:  # The package finds no other words for an event that it does not know.
        said = gemini_answer(answers)
        said.failed = 1
        return said
    return gemini_answer(answers)


def gemini_answer(answers: list[Any]) -> Said:
    said, parts = Said(), list[Any]()
    for answer in answers:
        if answer.usage_metadata is not None:
            said.input_tokens = answer.usage_metadata.prompt_token_count or 0
            counts = answer.usage_metadata  # Thoughts are outside the candidates here.
            said.output_tokens = (counts.candidates_token_count or 0) + (counts.thoughts_token_count or 0)
        for candidate in answer.candidates or []:
            said.finish = candidate.finish_reason.value if candidate.finish_reason else said.finish
            for part in (candidate.content.parts or []) if candidate.content else []:
                if part.text or part.function_call or part.thought_signature:
                    parts.append(part)
                if part.text and part.thought:
                    said.reasoning += part.text
                elif part.text:
                    said.text += part.text
                    said.pieces += 1
                if part.function_call:
                    one = part.function_call
                    said.calls.append((one.id or f"#{len(said.calls)}", one.name, dict(one.args or {})))
    said.turn = [gemini.Content(role="model", parts=parts)]
    return said


CLIENTS: tuple[type[Any], ...] = (Chat, Responses, Messages, Gemini)
