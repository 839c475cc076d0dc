"""Valid bodies of every API that carry a given text in a given place. One builder for each API; the places are its own names."""

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from guarantees.hearing import Wire
from msgspec import Struct, structs

from llmproxy.edge.routes.table import Route

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE = f"data:image/png;base64,{PIXEL}"
HELLO = "hello there"
SCHEMA = {"type": "object", "properties": {"note": {"type": "string"}}, "required": ["note"]}
CALL = "call_1"

MODEL_OF = {
    "chat": "gpt-4o",
    "completions": "Qwen/Qwen3-32B",
    "responses": "gpt-4.1",
    "messages": "claude-opus-4-6",
    "count_tokens": "claude-opus-4-6",
    "gemini": "gemini-3-pro",
    "embeddings": "text-embedding-3-small",
    "moderations": "omni-moderation-latest",
    "rerank": "Qwen/Qwen3-32B",
    "images": "dall-e-3",
    "speech": "tts-1-hd",
    "transcriptions": "whisper-1",
}
ENDPOINT_OF = {
    **dict.fromkeys(("chat", "embeddings", "moderations", "images", "speech", "transcriptions"), "openai"),
    **dict.fromkeys(("messages", "count_tokens"), "anthropic"),
    **dict.fromkeys(("completions", "rerank"), "vllm"),
    "responses": "openai-responses",
    "gemini": "google",
}
"""Where the model is: of each API a provider that speaks it itself."""

Body = dict[str, Any]
Build = Callable[[str], Body]
"""A text -> a body that has it in one place."""


class Place(Struct, frozen=True):
    name: str
    build: Build
    has_tools: bool = False  # The model is given tools, so it may call one.
    has_system: bool = False
    is_turn: bool = False  # What a user says in a conversation of turns.
    is_file: bool = False  # The text is in base64.

    def written(self, text: str) -> str:
        """As the body has it."""
        return _base64(text) if self.is_file else text


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def _file(name: str, build: Build, *, is_turn: bool = True) -> Place:
    """A text that comes as a file in base64."""
    return Place(name, lambda text: build(_base64(text)), is_turn=is_turn, is_file=True)


def _user(content: Any) -> Body:
    return {"role": "user", "content": content}


# -- chat completions

CHAT_TOOL = {"type": "function", "function": {"name": "note", "description": "Writes down", "parameters": SCHEMA}}


def _chat(*messages: Body, **fields: Any) -> Body:
    return {"messages": list(messages), **fields}


def _chat_tool(description: str) -> Body:
    return {**CHAT_TOOL, "function": {**CHAT_TOOL["function"], "description": description}}  # type: ignore[dict-item]


def _chat_call(arguments: str) -> Body:
    called = {"id": CALL, "type": "function", "function": {"name": "note", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [called]}


def _chat_result(content: Any) -> Body:
    return {"role": "tool", "tool_call_id": CALL, "content": content}


def _chat_after(call: Body, result: Body) -> Body:
    return _chat(_user(HELLO), call, result, tools=[CHAT_TOOL])


def _text(text: str) -> Body:
    return {"type": "text", "text": text}


def _chat_file(url: str) -> Body:
    return {"type": "file", "file": {"filename": "note.txt", "file_data": url}}


CHAT_IMAGE = {"type": "image_url", "image_url": {"url": PICTURE}}
NOTED = json.dumps({"note": HELLO})

CHAT = {
    "text": (
        Place("user", lambda text: _chat(_user(text)), is_turn=True),
        Place("system", lambda text: _chat({"role": "system", "content": text}, _user(HELLO)), has_system=True),
        Place("earlier answer", lambda text: _chat(_user(HELLO), {"role": "assistant", "content": text}, _user(HELLO))),
    ),
    "tool call": (
        Place("tool definition", lambda text: _chat(_user(HELLO), tools=[_chat_tool(text)]), has_tools=True),
        Place("arguments", lambda text: _chat_after(_chat_call(json.dumps({"note": text})), _chat_result("done"))),
        Place("arguments that are no JSON", lambda text: _chat_after(_chat_call(f"note: {text}"), _chat_result("done"))),
    ),
    "tool result": (
        Place("string", lambda text: _chat_after(_chat_call(NOTED), _chat_result(text))),
        Place("parts", lambda text: _chat_after(_chat_call(NOTED), _chat_result([_text(text)]))),
    ),
    "multimodal": (
        Place("text beside a picture", lambda text: _chat(_user([CHAT_IMAGE, _text(text)])), is_turn=True),
        Place(
            "file name",
            lambda text: _chat(
                _user([_text(HELLO), {"type": "file", "file": {"filename": text, "file_data": f"data:application/pdf;base64,{PIXEL}"}}])
            ),
        ),
    ),
    "text file": (
        _file("file", lambda data: _chat(_user([_chat_file(f"data:text/plain;base64,{data}")]))),
        _file("file of no kind", lambda data: _chat(_user([_text(HELLO), _chat_file(f"data:application/octet-stream;base64,{data}")]))),
        _file("second file", lambda data: _chat(_user([_chat_file(f"data:text/plain;base64,{one}") for one in (_base64(HELLO), data)]))),
    ),
    "n>1": (Place("user", lambda text: _chat(_user(text), n=2), is_turn=True),),
}  # fmt: skip

# -- completions

COMPLETIONS = {
    "text": (
        Place("prompt", lambda text: {"prompt": text}),
        Place("one of several prompts", lambda text: {"prompt": [text]}),
    ),
    "n>1": (Place("prompt", lambda text: {"prompt": text, "n": 2}),),
}

# -- responses

RESPONSES_TOOL = {
    "type": "function",
    "name": "note",
    "description": "Writes down",
    "parameters": SCHEMA,
    "strict": False,
}


def _called(arguments: str, output: Any) -> Body:
    return {
        "input": [
            _user(HELLO),
            {"type": "function_call", "call_id": CALL, "name": "note", "arguments": arguments},
            {"type": "function_call_output", "call_id": CALL, "output": output},
        ],
        "tools": [RESPONSES_TOOL],
    }


def _input_file(url: str) -> Body:
    return {"type": "input_file", "filename": "note.md", "file_data": url}


RESPONSES = {
    "text": (
        Place("input", lambda text: {"input": text}),
        Place("message", lambda text: {"input": [_user(text)]}, is_turn=True),
        Place("instructions", lambda text: {"input": HELLO, "instructions": text}, has_system=True),
    ),
    "tool call": (
        Place(
            "tool definition",
            lambda text: {"input": HELLO, "tools": [{**RESPONSES_TOOL, "description": text}]},
            has_tools=True,
        ),
        Place("arguments", lambda text: _called(json.dumps({"note": text}), "done")),
    ),
    "tool result": (
        Place("string", lambda text: _called(NOTED, text)),
        Place("parts", lambda text: _called(NOTED, [{"type": "input_text", "text": text}])),
    ),
    "multimodal": (
        Place(
            "text beside a picture",
            lambda text: {
                "input": [_user([{"type": "input_image", "image_url": PICTURE}, {"type": "input_text", "text": text}])]
            },
            is_turn=True,
        ),
        Place(
            "file name",
            lambda text: {
                "input": [
                    _user(
                        [{"type": "input_file", "filename": text, "file_data": f"data:application/pdf;base64,{PIXEL}"}]
                    )
                ]
            },
        ),
    ),
    "text file": (
        _file("file", lambda data: {"input": [_user([_input_file(f"data:text/markdown;base64,{data}")])]}),
        _file(
            "file that a tool returned",
            lambda data: _called(NOTED, [_input_file(f"data:application/json;base64,{data}")]),
            is_turn=False,
        ),
        _file(
            "second file",
            lambda data: {
                "input": [_user([_input_file(f"data:text/markdown;base64,{one}") for one in (_base64(HELLO), data)])]
            },
        ),
    ),
}

# -- messages, and how many tokens they have

MESSAGES_TOOL = {"name": "note", "description": "Writes down", "input_schema": SCHEMA}
MESSAGES_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}


def _document(data: str) -> Body:
    return {"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": data}}


def _messages(*messages: Body, **fields: Any) -> Body:
    return {"messages": list(messages), **fields}


def _used(arguments: Body, content: Any) -> Body:
    use = {"type": "tool_use", "id": "toolu_1", "name": "note", "input": arguments}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content}
    return _messages(_user(HELLO), {"role": "assistant", "content": [use]}, _user([result]), tools=[MESSAGES_TOOL])


COUNT = {
    "text": (
        Place("user", lambda text: _messages(_user(text)), is_turn=True),
        Place("part", lambda text: _messages(_user([_text(text)])), is_turn=True),
        Place("system", lambda text: _messages(_user(HELLO), system=text), has_system=True),
    ),
    "tool call": (
        Place(
            "tool definition",
            lambda text: _messages(_user(HELLO), tools=[{**MESSAGES_TOOL, "description": text}]),
            has_tools=True,
        ),
        Place("arguments", lambda text: _used({"note": text}, "done")),
    ),
    "tool result": (
        Place("string", lambda text: _used({"note": HELLO}, text)),
        Place("parts", lambda text: _used({"note": HELLO}, [_text(text)])),
    ),
    "multimodal": (
        Place("text beside a picture", lambda text: _messages(_user([MESSAGES_IMAGE, _text(text)])), is_turn=True),
        Place(
            "document",
            lambda text: _messages(
                _user([{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}}])
            ),
        ),
    ),
    "text file": (
        _file("document", lambda data: _messages(_user([_document(data)]))),
        _file("second document", lambda data: _messages(_user([_document(_base64(HELLO)), _document(data)]))),
        _file("document that a tool returned", lambda data: _used({"note": HELLO}, [_document(data)]), is_turn=False),
    ),
}


def _bounded(build: Build) -> Build:
    return lambda text: {**build(text), "max_tokens": 99}


MESSAGES = {
    content: tuple(structs.replace(one, build=_bounded(one.build)) for one in places)
    for content, places in COUNT.items()
}

# -- gemini

GEMINI_TOOL = {"name": "note", "description": "Writes down", "parameters": SCHEMA}


def _contents(*contents: Body, **fields: Any) -> Body:
    return {"contents": list(contents), **fields}


def _parts(*parts: Body, role: str = "user") -> Body:
    return {"role": role, "parts": list(parts)}


def _inline(kind: str, data: str) -> Body:
    return {"inlineData": {"mimeType": kind, "data": data}}


def _functions(arguments: Body, response: Body) -> Body:
    return _contents(
        _parts({"text": HELLO}),
        _parts({"functionCall": {"name": "note", "args": arguments}, "thoughtSignature": "c2lnbmVk"}, role="model"),
        _parts({"functionResponse": {"name": "note", "response": response}}),
        tools=[{"functionDeclarations": [GEMINI_TOOL]}],
    )


GEMINI = {
    "text": (
        Place("user", lambda text: _contents(_parts({"text": text})), is_turn=True),
        Place(
            "system",
            lambda text: _contents(_parts({"text": HELLO}), systemInstruction={"parts": [{"text": text}]}),
            has_system=True,
        ),
    ),
    "tool call": (
        Place(
            "tool definition",
            lambda text: _contents(
                _parts({"text": HELLO}), tools=[{"functionDeclarations": [{**GEMINI_TOOL, "description": text}]}]
            ),
            has_tools=True,
        ),
        Place("arguments", lambda text: _functions({"note": text}, {"result": "done"})),
    ),
    "tool result": (Place("response", lambda text: _functions({"note": HELLO}, {"result": text})),),
    "multimodal": (
        Place(
            "text beside a picture",
            lambda text: _contents(_parts({"inlineData": {"mimeType": "image/png", "data": PIXEL}}, {"text": text})),
            is_turn=True,
        ),
    ),
    "text file": (
        _file("file", lambda data: _contents(_parts(_inline("text/csv", data)))),
        _file(
            "second file",
            lambda data: _contents(_parts(_inline("text/csv", _base64(HELLO)), _inline("text/csv", data))),
        ),
        _file(
            "file of no kind",
            lambda data: _contents(_parts({"text": HELLO}, _inline("application/octet-stream", data))),
        ),
    ),
    "n>1": (
        Place(
            "user", lambda text: _contents(_parts({"text": text}), generationConfig={"candidateCount": 2}), is_turn=True
        ),
    ),
}

# -- the rest

PLACES: dict[str, dict[str, tuple[Place, ...]]] = {
    "chat": CHAT,
    "completions": COMPLETIONS,
    "responses": RESPONSES,
    "messages": MESSAGES,
    "count_tokens": COUNT,
    "gemini": GEMINI,
    "embeddings": {
        "text": (
            Place("input", lambda text: {"input": text}),
            Place("one of several inputs", lambda text: {"input": [HELLO, text]}),
        ),
    },
    "moderations": {
        "text": (
            Place("input", lambda text: {"input": text}),
            Place("one of several inputs", lambda text: {"input": [HELLO, text]}),
        ),
        "multimodal": (Place("text beside a picture", lambda text: {"input": [CHAT_IMAGE, _text(text)]}),),
    },
    "rerank": {
        "text": (Place("query", lambda text: {"query": text, "documents": [HELLO, "a"]}),),
        "tool result": (Place("document", lambda text: {"query": HELLO, "documents": ["a", text]}),),
    },
    "images": {
        "text": (Place("prompt", lambda text: {"prompt": text}),),
        "n>1": (Place("prompt", lambda text: {"prompt": text, "n": 2}),),
    },
    "speech": {
        "text": (
            Place("input", lambda text: {"input": text, "voice": "alloy"}),
            Place("instructions", lambda text: {"input": HELLO, "voice": "alloy", "instructions": text}),
        ),
    },
    "transcriptions": {
        "text": (Place("prompt", lambda text: {"prompt": text}),),
        "multimodal": (Place("file name", lambda text: {"filename": text}),),
    },
}
"""API -> content -> where it can stand. What an API does not have is said in `controls.ABSENT`."""


def path(route: Route, model: str) -> str:
    return route.name.replace("{model}", model) + ("?alt=sse" if route.streams else "")


def wire(route: Route, place: Place, text: str, *, stream: bool, **fields: Any) -> Wire:
    """The request, ready to be sent."""
    body = {**place.build(text), **fields}
    if route.takes_form:
        filename = body.pop("filename", "speech.wav")
        said = {"model": MODEL_OF[route.api], **body, **({"stream": "true"} if stream else {})}
        return Wire(fields=said, filename=filename, is_stream=stream)
    if route.api != "gemini":
        body = {"model": MODEL_OF[route.api], **body}
    if stream and not route.streams:
        body |= {"stream_format": "sse"} if route.api == "speech" else {"stream": True}
    return Wire(json=json.dumps(body).encode(), is_stream=stream)


def with_turns(api: str, sent: Wire, earlier: tuple[str, ...]) -> Wire:
    """The same conversation, with these turns of the user before it, each answered."""
    body = json.loads(sent.json or b"{}")
    name = {"responses": "input", "gemini": "contents"}.get(api, "messages")
    before: list[Body] = []
    for turn in earlier:
        if api == "gemini":
            before += [_parts({"text": turn}), _parts({"text": "as you say"}, role="model")]
        else:
            before += [_user(turn), {"role": "assistant", "content": "as you say"}]
    body[name] = before + body[name]
    return structs.replace(sent, json=json.dumps(body).encode())


def with_system(api: str, sent: Wire, text: str) -> Wire:
    body = json.loads(sent.json or b"{}")
    match api:
        case "chat":
            body["messages"].insert(0, {"role": "system", "content": text})
        case "responses":
            body["instructions"] = text
        case "messages" | "count_tokens":
            body["system"] = text
        case "gemini":
            body["systemInstruction"] = {"parts": [{"text": text}]}
        case _:
            raise AssertionError(f"{api} has no system text")
    return structs.replace(sent, json=json.dumps(body).encode())


def in_parts(api: str, sent: Wire, *texts: str) -> Wire | None:
    """The same request, with what it says as one text in several parts; None where it stands in no place that may have some."""
    body = json.loads(sent.json or b"{}")
    whole, is_split = "".join(texts), False

    def split(node: Any, key: str = "", role: str = "user") -> Any:
        nonlocal is_split
        if isinstance(node, dict):
            return {name: split(value, name, node.get("role", role)) for name, value in node.items()}
        if isinstance(node, list):
            return [one for item in node for one in parts_of(item, role)]
        if node == whole and key in PARTED[api]:
            is_split = True
            kind = "text" if api != "responses" else "output_text" if role == "assistant" else "input_text"
            return [{"type": kind, "text": text} for text in texts]
        return node

    def parts_of(item: Any, role: str) -> list[Any]:
        nonlocal is_split
        if not isinstance(item, dict) or item.get("text") != whole:
            return [split(item, "", role)]
        is_split = True
        return [{**item, "text": text} for text in texts]

    made = split(body)
    return structs.replace(sent, json=json.dumps(made).encode()) if is_split else None


PARTED = {
    "chat": ("content",),
    "responses": ("content", "output"),
    "messages": ("content", "system"),
    "count_tokens": ("content", "system"),
    "gemini": (),
    "moderations": ("input",),
}
"""What may be a text, or a list of parts, by the APIs that have them."""


def with_end_user(api: str, sent: Wire, name: str) -> Wire:
    body = json.loads(sent.json or b"{}")
    named = {"metadata": {"user_id": name}} if api == "messages" else {"user": name}
    return structs.replace(sent, json=json.dumps(body | named).encode())
