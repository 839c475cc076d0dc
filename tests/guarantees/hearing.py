"""What a caller hears: where the texts of an answer stand, whole and streamed, and how its stream ends. One reader for each API."""

import json
from collections.abc import Iterator
from typing import Any

import aiohttp
from msgspec import Struct
from unit.edge.edge_examples import AUDIO, error_of

from llmproxy.edge.routes.table import Route


class Wire(Struct, frozen=True):
    """A body as it leaves the client: JSON, or the fields of a form."""

    json: bytes | None = None
    fields: dict[str, str] = {}
    filename: str = "speech.wav"
    is_stream: bool = False

    def form(self) -> aiohttp.FormData:
        made = aiohttp.FormData(quote_fields=False)  # As browsers and curl do it.
        for name, value in self.fields.items():
            made.add_field(name, value)
        made.add_field("file", AUDIO, filename=self.filename, content_type="audio/wav")
        return made


class Texts(Struct, frozen=True):
    """Of one choice."""

    text: str = ""
    reasoning: str = ""
    arguments: str = ""


class Said(Struct, frozen=True):
    """An answer as it came."""

    route: Route
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_stream(self) -> bool:
        return self.headers.get("Content-Type", "").startswith("text/event-stream")

    @property
    def events(self) -> list[Any]:
        """The payloads of a stream, but for the marker of its end."""
        lines = [line[6:] for line in self.body.decode().splitlines() if line.startswith("data: ")]
        return [json.loads(line) for line in lines if line != "[DONE]"]

    @property
    def id(self) -> str:
        """Of an answer of the Responses API."""
        return str(self.events[0]["response"]["id"] if self.is_stream else json.loads(self.body)["id"])

    @property
    def error(self) -> tuple[str, str]:
        """(message, type) of an error, in exactly the shape that the route's callers know: of an answer, or the last event."""
        if not self.is_stream:
            return error_of(self.route.dialect, json.loads(self.body))
        last = self.events[-1]
        match self.route.api:
            case "responses":
                assert last["type"] == "error"
                return last["message"], last["code"]
            case "messages":
                assert last["type"] == "error"
                return last["error"]["message"], last["error"]["type"]
            case _:
                error = last["error"]
                return error["message"], str(error.get("type") or error.get("code"))

    @property
    def is_complete(self) -> bool:
        """Whether the answer says of itself that it is whole."""
        if not self.is_stream:
            return self.status == 200
        match self.route.api:
            case "chat" | "completions":
                return b"data: [DONE]" in self.body
            case "gemini":
                return any(one.get("finishReason") for event in self.events for one in event.get("candidates", ()))
            case _:
                return any(event.get("type") in COMPLETES for event in self.events)

    @property
    def strings(self) -> list[str]:
        """All that are in it, wherever they stand: a text may be said in several places."""
        return list(_strings(self.events if self.is_stream else json.loads(self.body)))

    @property
    def said(self) -> str:
        """What was said of all texts of an answer that has ended too early."""
        return (
            "".join("".join((one.text, one.reasoning, one.arguments)) for one in self.choices) if self.is_stream else ""
        )

    @property
    def choices(self) -> list[Texts]:
        read = STREAMED if self.is_stream else WHOLE
        pieces: dict[int, dict[str, str]] = {}
        for event in self.events if self.is_stream else [json.loads(self.body)]:
            for index, kind, text in read(self.route.api, event):
                of = pieces.setdefault(index, {})
                of[kind] = of.get(kind, "") + text
        return [Texts(**pieces[index]) for index in sorted(pieces)]


COMPLETES = frozenset(
    ["response.completed", "message_stop", "image_generation.completed", "speech.audio.done", "transcript.text.done"]
)


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for name, item in value.items():
                yield name
                yield from _strings(item)
        case list():
            for item in value:
                yield from _strings(item)


Piece = tuple[int, str, str]
"""(choice, where, text)"""


def _streamed(api: str, event: Any) -> Iterator[Piece]:
    match api, event:
        case "chat", {"choices": choices}:
            for one in choices:
                yield from _message(one["index"], one["delta"])
        case "completions", {"choices": choices}:
            for one in choices:
                yield one["index"], "text", one.get("text") or ""
        case "messages", {"type": "content_block_delta", "delta": delta}:
            yield 0, "text", delta.get("text", "")
            yield 0, "reasoning", delta.get("thinking", "")
            yield 0, "arguments", delta.get("partial_json", "")
        case "responses", {"type": str(kind), "delta": str(delta)}:
            yield 0, RESPONSES.get(kind, "text"), delta
        case "gemini", _:
            yield from _gemini(event)
        case "transcriptions", {"type": "transcript.text.delta", "delta": delta}:
            yield 0, "text", delta
        case "images", {"revised_prompt": str(text)}:
            yield 0, "text", text


RESPONSES = {
    "response.function_call_arguments.delta": "arguments",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_text.delta": "reasoning",
}


def _whole(api: str, body: Any) -> Iterator[Piece]:
    match api:
        case "chat":
            for one in body["choices"]:
                yield from _message(one["index"], one["message"])
        case "completions":
            for one in body["choices"]:
                yield one["index"], "text", one["text"]
        case "messages":
            for block in body["content"]:
                match block:
                    case {"text": text}:
                        yield 0, "text", text
                    case {"thinking": text}:
                        yield 0, "reasoning", text
                    case {"input": arguments}:
                        yield 0, "arguments", json.dumps(arguments, ensure_ascii=False)
        case "responses":
            for item in body["output"]:
                match item:
                    case {"content": [*parts]}:
                        for part in parts:
                            yield 0, "text", part.get("text", "")
                    case {"arguments": arguments}:
                        yield 0, "arguments", arguments
                    case {"summary": [*parts]}:
                        for part in parts:
                            yield 0, "reasoning", part.get("text", "")
        case "gemini":
            yield from _gemini(body)
        case "images":
            for index, one in enumerate(body["data"]):
                yield index, "text", one.get("revised_prompt", "")
        case "rerank":
            for index, one in enumerate(body["results"]):
                yield index, "text", one.get("document", {}).get("text", "")
        case "transcriptions":
            yield 0, "text", body["text"]


def _message(index: int, message: Any) -> Iterator[Piece]:
    yield index, "text", message.get("content") or ""
    for call in message.get("tool_calls") or ():
        yield index, "arguments", call["function"].get("arguments") or ""
    yield index, "reasoning", message.get("reasoning_content") or ""


def _gemini(body: Any) -> Iterator[Piece]:
    for candidate in body.get("candidates", ()):
        for part in candidate.get("content", {}).get("parts", ()):
            index = candidate.get("index", 0)
            if "functionCall" in part:
                yield index, "arguments", json.dumps(part["functionCall"].get("args", {}), ensure_ascii=False)
            else:
                yield index, "reasoning" if part.get("thought") else "text", part.get("text", "")


STREAMED, WHOLE = _streamed, _whole
