"""OpenAI's Responses API over any chat. https://platform.openai.com/docs/api-reference/responses/create"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from llmproxy.common.envelope import Api
from llmproxy.provider_workers.callers.responses_places import NAMES, place
from llmproxy.provider_workers.callers.responses_request import REQUEST, Request, Text, Thinking, canonical, unread
from llmproxy.provider_workers.reading import decode_request, given
from llmproxy.provider_workers.responses_answers import Response, Writer
from llmproxy.provider_workers.wire import ENCODER, Origin
from llmproxy.provider_workers.written import brackets

FIELDS = msgspec.json.Decoder(dict[str, Raw])


class Responses:
    """The `Caller`."""

    api: Api = "responses"
    names: Mapping[str, str] = NAMES

    def place(self, body: bytes, path: str) -> str:
        return place(decode_request(REQUEST, body), brackets(path))

    def read(self, body: bytes, *, stream: bool) -> "Asked":
        request = decode_request(REQUEST, body)
        dropped = unread(decode_request(FIELDS, body))
        return Asked(canonical(request, dropped, stream=stream), tuple(dropped), told(request))


class Asked:
    """One request, read."""

    __slots__ = ("_told", "canonical", "dropped")

    def __init__(self, canonical: bytes, dropped: tuple[str, ...], told: Response) -> None:
        self.canonical, self.dropped, self._told = canonical, dropped, told

    def response(self, answer: bytes, origin: Origin) -> bytes:
        return Writer(self._told, origin).whole(answer)

    def events(self, origin: Origin) -> Writer:
        return Writer(self._told, origin)


def told(request: Request) -> Response:
    """The response before anything is answered: what was asked for, with the API's defaults."""
    text, thought = request.text or Text(), request.reasoning or Thinking()
    form: Any = {"type": "text"} if text.format is None else _said_back(text.format)
    found = Response(
        instructions=request.instructions,
        max_output_tokens=request.max_output_tokens,
        max_tool_calls=request.max_tool_calls,
        prompt_cache_key=request.prompt_cache_key,
        reasoning={"effort": thought.effort, "summary": thought.summary or thought.generate_summary},
        safety_identifier=request.safety_identifier,
        text={"format": form, "verbosity": text.verbosity or "medium"},
        tools=[
            {"description": None, "parameters": None, "strict": None, **FIELDS.decode(packed(r))}
            for r in request.tools or ()
        ],
        top_logprobs=request.top_logprobs or 0,
        user=request.user,
    )
    said: dict[str, Any] = {
        name: value
        for name in ("parallel_tool_calls", "temperature", "top_p")
        if (value := getattr(request, name)) is not None
    }
    if request.metadata is not None:
        said["metadata"] = Raw(ENCODER.encode(request.metadata))
    if request.tool_choice is not None:
        said["tool_choice"] = Raw(ENCODER.encode(_said_back(request.tool_choice)))
    return replace(found, **said)


def packed(raw: Raw) -> Raw:
    """Without the line ends that the caller may have written it with: it will stand in an event."""
    return Raw(msgspec.json.format(bytes(raw), indent=-1))


def _said_back(asked: Any) -> Any:
    """An object without what it leaves open."""
    if isinstance(asked, Raw):
        return packed(asked)
    if not isinstance(asked, Struct):
        return asked
    fields = {name: getattr(asked, name) for name in asked.__struct_fields__}
    return {
        name: [_said_back(one) for one in value] if isinstance(value, list) else _said_back(value)
        for name, value in fields.items()
        if value is not None and not (isinstance(value, Raw) and not given(value))
    }
