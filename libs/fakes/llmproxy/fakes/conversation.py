"""What a request asks for and what is said to it, in no vendor's words: every fake reads into these and writes from them."""

import hashlib
import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

KEY = "upstream-key"  # The credential that a fake wants unless told otherwise.

Side = Literal["system", "user", "assistant"]


class Refused(Exception):
    """The request is not what the vendor's reference allows."""

    def __init__(self, message: str, status: int = 400, param: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.code = code


@dataclass(frozen=True)
class Recorded:
    """A request as it came. `headers` has lower-case names."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    raw_path: str = ""  # As it was sent, not decoded.

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class ToolUse:
    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class ToolResult:
    id: str
    name: str
    text: str
    is_error: bool = False


@dataclass(frozen=True)
class Media:
    """An image, a document or a sound: told apart by its bytes, so that an answer can prove that they arrived."""

    kind: str
    size: int = 0
    digest: str = ""
    url: str = ""

    def __str__(self) -> str:
        return self.url or f"{self.kind} of {self.size} bytes, {self.digest}"


@dataclass(frozen=True)
class Turn:
    """One side's words, with consecutive messages of that side put together as the vendor would."""

    side: Side
    text: str = ""
    calls: tuple[ToolUse, ...] = ()
    results: tuple[ToolResult, ...] = ()
    media: tuple[Media, ...] = ()


@dataclass(frozen=True)
class Tool:
    name: str
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """What a request asks for, read from the vendor's format."""

    model: str = ""
    stream: bool = False
    turns: tuple[Turn, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"  # auto, none, required, or a tool's name.
    is_parallel: bool = True  # Several tools may be called at once.
    json_schema: Mapping[str, Any] | None = None
    json_mode: bool = False
    reasoning: bool = False
    choices: int = 1
    inputs: tuple[str, ...] = ()  # What is not a conversation: texts to embed, to rank, to speak.
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """The last user text."""
        return next((turn.text for turn in reversed(self.turns) if turn.side == "user" and turn.text), "")

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """The tool results that the model is to go on from; none when a user speaks."""
        return self.turns[-1].results if self.turns else ()

    @property
    def media(self) -> tuple[Media, ...]:
        """What came with the last turn."""
        return self.turns[-1].media if self.turns else ()

    @property
    def calls_so_far(self) -> int:
        return sum(len(turn.calls) for turn in self.turns)

    @property
    def number(self) -> int:
        """Which turn of the model this is, from 1."""
        return 1 + sum(turn.side == "assistant" for turn in self.turns)


@dataclass(frozen=True)
class Saying:
    """What a script or a test wants said to one request, and what should go wrong with it."""

    text: str | None = None
    # Texts behind it, each a block or an item of its own; only of vendors whose answers have several.
    more: tuple[str, ...] = ()
    first: str = ""  # What the first of several choices says in place of all that.
    reasoning: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()  # (tool, arguments)
    finish: str = ""  # The vendor's own word; "" is the usual one.
    faults: Mapping[str, Any] = field(default_factory=dict)  # Fields of Behaviour, for this request alone.


Mind = Callable[[Asked], Saying | None]
"""Decides what is said; None leaves it to the default."""


@dataclass
class Behaviour:
    """Mutable: a test changes it between requests. Defaults are a healthy vendor."""

    key: str | None = None  # The credential it wants; None: the vendor's own default.
    mind: Mind | None = None
    text: str | None = None  # What it answers; None: "You said: " and the last user text.
    reasoning: str = ""
    tool_arguments: dict[str, Any] | None = None  # None: made from the tool's schema.
    call_tools: bool = True  # It calls a tool when it is given some, unless it has just been given a result.
    parallel_calls: int = 1  # Calls of that tool at once.
    cached_tokens: int = 0
    strict_fields: bool = True  # It refuses top-level fields that are not in its reference.
    models: tuple[str, ...] = ()  # What it serves; () is anything but UNKNOWN_MODEL.
    finish: str = ""  # The vendor's own finish reason instead of the usual one.
    piece_chars: int = 5  # Of text in one event of a stream.
    chunk_delay_s: float = 0.0
    keep_alives: bool = True  # Comments, pings or empty lines between the events.
    # Faults.
    error_rate: float = 0.0  # Of requests that fail, 0 to 1.
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


UNKNOWN_MODEL = "no-such-model"


@dataclass(frozen=True)
class Script:
    """What to say to one request, ready for the vendor's words."""

    model: str
    text: str
    reasoning: str = ""
    calls: tuple[ToolUse, ...] = ()
    pieces: tuple[str, ...] = ()
    more: tuple[tuple[str, ...], ...] = ()  # The pieces of each further text.
    first: tuple[str, ...] = ()  # The pieces of what the first of several choices says.
    input_tokens: int = 12
    output_tokens: int = 7
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    finish: str = ""
    choices: int = 1

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The pieces of each text; none when nothing is said."""
        return ((self.pieces,) if self.text else ()) + self.more

    def of(self, index: int) -> "Script":
        """What this one of several choices says."""
        if index or not self.first or self.choices == 1:
            return self
        return replace(self, text="".join(self.first), pieces=self.first, more=(), first=())


def write(asked: Asked, saying: Saying | None, behaviour: Behaviour, call_id: str) -> Script:
    """What the fake model says to what it was asked. `call_id` formats the number of a tool call into an id."""
    saying = saying or default(asked, behaviour)
    calls = saying.calls if asked.is_parallel else saying.calls[:1]
    text = saying.text if saying.text is not None else "" if calls else usual(asked)
    size = max(1, behaviour.piece_chars)
    return Script(
        model=asked.model,
        text=text,
        reasoning=saying.reasoning,
        calls=tuple(
            ToolUse(call_id.format(asked.calls_so_far + index), name, arguments)
            for index, (name, arguments) in enumerate(calls)
        ),
        pieces=cut(text, size),
        more=tuple(cut(one, size) for one in saying.more),
        first=cut(saying.first, size),
        reasoning_tokens=3 if saying.reasoning else 0,
        cached_tokens=behaviour.cached_tokens,
        finish=saying.finish or behaviour.finish,
        choices=asked.choices,
    )


def cut(text: str, size: int) -> tuple[str, ...]:
    return tuple(text[at : at + size] for at in range(0, len(text), size))


def default(asked: Asked, behaviour: Behaviour) -> Saying:
    """Calls tools when there are any and no result has just come; otherwise speaks."""
    calls = tool_calls(asked, behaviour)
    reasoning = behaviour.reasoning or ("Let me think." if asked.reasoning else "")
    text = "x" * behaviour.huge_bytes if behaviour.huge_bytes else behaviour.text
    return Saying(text="" if calls else text, reasoning=reasoning, calls=calls)


def tool_calls(asked: Asked, behaviour: Behaviour) -> tuple[tuple[str, dict[str, Any]], ...]:
    """The tools that the user names, all of them; or the one that the caller chose; or the first."""
    if not behaviour.call_tools or not asked.tools or asked.results or asked.tool_choice == "none":
        return ()
    said = asked.said.lower()
    chosen = [tool for tool in asked.tools if tool.name == asked.tool_choice]
    named = [tool for tool in asked.tools if tool.name.lower() in said]
    tools = chosen or named or [asked.tools[0]] * behaviour.parallel_calls
    given = behaviour.tool_arguments
    return tuple((tool.name, fill(tool.schema, asked.said) if given is None else given) for tool in tools)


def usual(asked: Asked) -> str:
    """What is said when nobody says what to say: it repeats what it received, so that a loss shows."""
    if asked.json_schema is not None:
        return json.dumps(fill(asked.json_schema, asked.said))
    if asked.json_mode:
        return json.dumps({"said": asked.said})
    said = f"You said: {asked.said}"
    if asked.results:
        said = "; ".join(f"{result.name or result.id}: {result.text}" for result in asked.results)
    return " ".join([said, *(f"[{one}]" for one in asked.media)])


def fill(schema: Mapping[str, Any], said: str) -> dict[str, Any]:
    """An object with every property of the schema; strings say what the user said."""
    properties: Mapping[str, Any] = schema.get("properties") or {}
    return {name: value_for(one, said) for name, one in properties.items()}


def value_for(schema: Mapping[str, Any], said: str) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "string")
    match str(kind[0] if isinstance(kind, list) else kind).lower():
        case "object":
            return fill(schema, said)
        case "integer":
            return 1
        case "number":
            return 1.5
        case "boolean":
            return True
        case "array":
            return []
    return said


def media_of(kind: str, data: str) -> Media:
    """From base64. Raises Refused when it is not."""
    try:
        raw = b64decode(data, validate=True)
    except ValueError:
        raise Refused(f"the data of {kind} is not valid base64") from None
    return Media(kind, len(raw), hashlib.sha256(raw).hexdigest()[:8])


def is_base64(text: str | None) -> bool:
    """Of something sealed, such as a signature, all that can be told from outside."""
    try:
        return bool(text) and bool(b64decode(text or "", validate=True))
    except ValueError:
        return False


def media_at(url: str) -> Media:
    """From a data URL, or from any other URL without fetching it."""
    head, comma, data = url.partition(",")
    if not url.startswith("data:"):
        return Media("url", url=url)
    if not comma or not head.endswith(";base64"):
        raise Refused("a data URL must hold base64: data:<media type>;base64,<data>")
    return media_of(head.removeprefix("data:").removesuffix(";base64"), data)


def joined(turns: list[Turn]) -> tuple[Turn, ...]:
    """Consecutive turns of one side as one."""
    found: list[Turn] = []
    for turn in turns:
        if found and found[-1].side == turn.side:
            last = found[-1]
            text = "\n".join(text for text in (last.text, turn.text) if text)
            found[-1] = Turn(
                turn.side, text, last.calls + turn.calls, last.results + turn.results, last.media + turn.media
            )
        else:
            found.append(turn)
    return tuple(found)


def named(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The same, with the name of its tool on every result that has only the id of its call."""
    names = {call.id: call.name for turn in turns for call in turn.calls}
    return tuple(
        Turn(
            turn.side,
            turn.text,
            turn.calls,
            tuple(
                ToolResult(one.id, one.name or names.get(one.id, ""), one.text, one.is_error) for one in turn.results
            ),
            turn.media,
        )
        if turn.results
        else turn
        for turn in turns
    )
