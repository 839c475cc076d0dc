"""What a fake vendor will do, and what it will say: values that the servers of all vendors share."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

KEY = "upstream-key"


@dataclass
class Behaviour:
    """Mutable: a test changes it between requests. Defaults are a healthy vendor."""

    key: str | None = None  # The credential it wants; None: KEY, or none at all for Ollama.
    text: str | None = None  # What it answers; None: "You said: " and the last user text.
    reasoning: str = ""
    tool_arguments: dict[str, Any] | None = None  # None: made from the tool's schema.
    call_tools: bool = True  # It calls the first tool it is given, unless it has just been given a result.
    parallel_calls: int = 1
    cached_tokens: int = 0
    strict_fields: bool = True  # It refuses top-level fields that are not in its reference.
    finish: str = ""  # The vendor's own finish reason instead of the usual one.
    piece_chars: int = 5  # Of text in one event of a stream.
    chunk_delay_s: float = 0.0
    keep_alives: bool = True  # Comments, pings or empty lines between the events.
    # Faults.
    status: int = 0  # Answers this error instead.
    fail_times: int = -1  # How many requests get `status`; -1: all.
    message: str = "the fake vendor was told to fail"
    retry_after: str = ""
    first_byte_s: float = 0.0  # Waits before the status line.
    first_chunk_s: float = 0.0  # Waits after the headers.
    break_after: int | None = None  # Events of a stream after which the connection is cut.
    error_after: int | None = None  # Events of a stream after which an error is sent in-band.
    truncate: bool = False  # Ends the stream cleanly, without its end.
    malformed: bool = False  # Sends what is not JSON.
    huge_bytes: int = 0  # Sends so many bytes of text in one event or answer.
    byte_by_byte: bool = False  # Writes every byte of a stream by itself.


@dataclass(frozen=True)
class Recorded:
    """A request as it came. `headers` has lower-case names."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class ToolUse:
    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Script:
    """What to say to one request, whatever the vendor's words for it."""

    model: str
    text: str
    reasoning: str = ""
    calls: tuple[ToolUse, ...] = ()
    pieces: tuple[str, ...] = ()
    input_tokens: int = 12
    output_tokens: int = 7
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    finish: str = ""
    choices: int = 1


@dataclass(frozen=True)
class Asked:
    """What a request asks for, read from the vendor's format."""

    model: str
    stream: bool = False
    said: str = ""  # The last user text.
    tools: tuple[tuple[str, dict[str, Any]], ...] = ()  # (name, schema)
    tool_choice: str = "auto"  # auto, none, required, or a tool's name.
    is_tool_result: bool = False
    json_schema: dict[str, Any] | None = None
    json_mode: bool = False
    reasoning: bool = False
    choices: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict)


class Refused(Exception):
    """The request is not what the vendor's reference allows."""

    def __init__(self, message: str, status: int = 400, param: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param


class Vendor(Protocol):
    """One vendor's wire format, from the server's side."""

    name: str
    key: str  # The credential it wants by default.
    stream_type: str
    keep_alive: bytes

    def route(self, method: str, path: str) -> bool: ...
    def credential(self, headers: Mapping[str, str]) -> str: ...
    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        """Validates as the SDK's request type. Raises Refused."""
        ...

    def answer(self, script: Script) -> dict[str, Any]: ...
    def events(self, script: Script, asked: Asked) -> list[bytes]: ...
    def end(self, script: Script) -> bytes:
        """The marker after the last event; empty where there is none."""
        ...

    def error(self, status: int, message: str, param: str = "") -> dict[str, Any]: ...
    def error_event(self, message: str) -> bytes: ...


def write(asked: Asked, behaviour: Behaviour) -> Script:
    """What the fake model says to what it was asked."""
    calls = _calls(asked, behaviour)
    text = "" if calls else _text(asked, behaviour)
    size = max(1, behaviour.piece_chars)
    reasoning = behaviour.reasoning or ("Let me think." if asked.reasoning else "")
    return Script(
        model=asked.model,
        text=text,
        reasoning=reasoning,
        calls=calls,
        pieces=tuple(text[at : at + size] for at in range(0, len(text), size)),
        reasoning_tokens=3 if reasoning else 0,
        cached_tokens=behaviour.cached_tokens,
        finish=behaviour.finish,
        choices=asked.choices,
    )


def _text(asked: Asked, behaviour: Behaviour) -> str:
    if behaviour.huge_bytes:
        return "x" * behaviour.huge_bytes
    if behaviour.text is not None:
        return behaviour.text
    if asked.json_schema is not None:
        return json.dumps(fill(asked.json_schema, asked.said))
    if asked.json_mode:
        return json.dumps({"said": asked.said})
    return f"You said: {asked.said}"


def _calls(asked: Asked, behaviour: Behaviour) -> tuple[ToolUse, ...]:
    if not behaviour.call_tools or not asked.tools or asked.is_tool_result or asked.tool_choice == "none":
        return ()
    named = [tool for tool in asked.tools if tool[0] == asked.tool_choice] or [asked.tools[0]]
    name, schema = named[0]
    arguments = behaviour.tool_arguments if behaviour.tool_arguments is not None else fill(schema, asked.said)
    return tuple(ToolUse(f"{PREFIX}{i}", name, arguments) for i in range(behaviour.parallel_calls))


PREFIX = "toolu_fake_"


def fill(schema: Mapping[str, Any], said: str) -> dict[str, Any]:
    """An object with every property of the schema; strings say what the user said."""
    by_type: dict[str, Any] = {"string": said, "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}
    properties: Mapping[str, Any] = schema.get("properties") or {}
    return {name: by_type.get(one.get("type", "string"), said) for name, one in properties.items()}


def walk(value: Any) -> None:
    """Runs pydantic's lazy validation of `Iterable` to its end. Raises ValidationError."""
    if isinstance(value, Mapping):
        for inner in value.values():
            walk(inner)
    elif not isinstance(value, str | bytes) and hasattr(value, "__iter__") and not hasattr(value, "model_fields"):
        for inner in value:
            walk(inner)


def known(body: Mapping[str, Any], names: Any, behaviour: Behaviour) -> None:
    """Refuses top-level fields that the reference does not have."""
    unknown = sorted(body.keys() - set(names))
    if unknown and behaviour.strict_fields:
        raise Refused(f"{unknown[0]}: Extra inputs are not permitted", param=unknown[0])


def plain(content: Any) -> str:
    """The text of a content that is a text or a list of parts with `text`."""
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content or [] if isinstance(part, Mapping) and "text" in part)
