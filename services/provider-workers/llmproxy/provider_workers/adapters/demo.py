"""A provider without a network: deterministic answers that echo the last user message, and embeddings of its words.

It names itself in every answer. Masking can be watched: what it echoes is what it was sent, and what the caller reads
is what the gateway made of that.
"""

import base64
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from llmproxy.common.envelope import Api
from llmproxy.common.frames import Finish, Usage
from llmproxy.common.segments.tree import tree_of
from llmproxy.provider_workers.adapters.base import Answer, Capability, Credential, Origin
from llmproxy.provider_workers.canonical import Chat, FunctionTool, Message, decode, functions, parts, tool_choice
from llmproxy.provider_workers.canonical_answers import (
    ChoiceOut,
    Chunks,
    FunctionOut,
    MessageOut,
    ToolCallOut,
    call_id,
    completion,
)
from llmproxy.provider_workers.reading import decode_request, given, invalid

FINGERPRINT = "demo"
TOOL_CALLS: Finish = "tool_calls"
CHARS_PER_TOKEN = 4
# What one chunk of a stream carries; long words are split, as by a real tokenizer.
PIECE = re.compile(r"\S{1,16}\s*|\s+")
CALL = re.compile(r"\bcall\s+`?([A-Za-z0-9_.-]{1,64})", re.IGNORECASE)

CHOICES_MAX = 128  # OpenAI's own limit for `n`.
EXAMPLE_NODES_MAX = 500  # A schema may refer to itself; an example of it may not be endless.
EXAMPLE_DEPTH_MAX = 12
EXAMPLE_CHARS_MAX = 200
EXAMPLE_FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "demo@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


VECTOR = 64  # Dimensions, unless the caller wants another number.
VECTOR_MAX = 4_096
INPUTS_MAX = 2_048  # OpenAI's own limit.
WORD = re.compile(r"\w+")


class EmbeddingsAsked(msgspec.Struct, frozen=True, kw_only=True):
    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: str | None = None


class ModerationsAsked(msgspec.Struct, frozen=True, kw_only=True):
    input: str | list[Any]


EMBEDDINGS = msgspec.json.Decoder(EmbeddingsAsked)
MODERATIONS = msgspec.json.Decoder(ModerationsAsked)

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""OpenAI's. https://platform.openai.com/docs/api-reference/moderations/object"""


class Demo:
    """Not an Adapter: there is nothing to send. `answer` and `chunks` take its place."""

    name = "demo"
    default_url = ""
    credential: Credential = "none"
    capabilities = frozenset(Capability) - {
        Capability.REASONING,
        Capability.LOGPROBS,
        Capability.CACHE_USAGE,
        Capability.IMAGE_URLS,
    }

    @property
    def others(self) -> Mapping[Api, Callable[[bytes, Origin], Answer]]:
        """The APIs that are no conversation."""
        return OTHERS

    def answer(self, body: bytes, origin: Origin) -> Answer:
        """Raises GatewayError for what it cannot read."""
        chat, plan = prepare(body, origin)
        message = MessageOut(
            content=plan.text or None if plan.calls else plan.text, tool_calls=plan.calls or msgspec.UNSET
        )
        choices = [
            ChoiceOut(index=index, message=message, finish_reason=plan.finish) for index in range(choices_of(chat))
        ]
        return completion(_named(origin), choices, plan.usage, plan.finish, FINGERPRINT)

    def chunks(self, body: bytes, origin: Origin) -> Iterator[bytes]:
        """The same answer as canonical chunks. Raises GatewayError before the first one, if at all."""
        chat, plan = prepare(body, origin)
        return _stream(plan, origin, range(choices_of(chat)))

    def usage(self, body: bytes, origin: Origin) -> tuple[Usage, Finish]:
        """What the streamed answer counts, and how it ends."""
        _, plan = prepare(body, origin)
        return plan.usage, plan.finish


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What will be said, streamed or not."""

    text: str
    calls: list[ToolCallOut]
    finish: Finish
    usage: Usage


def prepare(body: bytes, origin: Origin) -> tuple[Chat, Plan]:
    chat = decode(body)
    if not chat.messages:
        raise invalid("messages", "must not be empty")
    if not 1 <= choices_of(chat) <= CHOICES_MAX:
        raise invalid("n", f"must be between 1 and {CHOICES_MAX}")
    calls = _calls(chat, origin)
    text, finish = ("", TOOL_CALLS) if calls else _cut(_text(chat), chat.stops, chat.output_tokens_max)
    said = len(text) + sum(len(call.function.arguments) + len(call.function.name or "") for call in calls)
    usage = Usage(
        input=sum(_tokens(_characters(message)) for message in chat.messages),
        output=_tokens(said) * choices_of(chat),
        estimated=True,
    )
    return chat, Plan(text=text, calls=calls, finish=finish, usage=usage)


def choices_of(chat: Chat) -> int:
    return 1 if chat.n is None else chat.n


def _stream(plan: Plan, origin: Origin, choices: range) -> Iterator[bytes]:
    chunks = Chunks(_named(origin), FINGERPRINT)
    for index in choices:
        yield from chunks.start(index)
        for piece in PIECE.findall(plan.text):
            yield chunks.text(piece, index)
        for number, call in enumerate(plan.calls):
            opened = msgspec.structs.replace(call, index=number, function=FunctionOut(name=call.function.name))
            yield chunks.call(opened, index)
            for piece in PIECE.findall(call.function.arguments):
                yield chunks.arguments(number, piece, index)
        yield chunks.end(plan.finish, index)
    yield from chunks.total(plan.usage)


def _named(origin: Origin) -> Origin:
    """A demo answer says so, whatever the model was called."""
    return origin if "demo" in origin.model else msgspec.structs.replace(origin, model="demo")


def _text(chat: Chat) -> str:
    said = _said(chat)
    form = chat.response_format
    if form is not None and form.type == "json_schema" and form.json_schema is not None:
        schema = form.json_schema.schema or {}
        return msgspec.json.encode(example(tree_of(msgspec.json.encode(schema)), said)).decode()
    if form is not None and form.type == "json_object":
        return msgspec.json.encode({"demo": True, "you_said": said}).decode()
    if chat.messages[-1].role == "tool":
        return f"demo: the tool answered: {_plain(chat.messages[-1])}"
    return f"demo: you said: {said}"


def _said(chat: Chat) -> str:
    last = next((message for message in reversed(chat.messages) if message.role == "user"), None)
    return _plain(last) if last is not None else ""


def _plain(message: Message) -> str:
    """The text of a message; what is not text is named."""
    return " ".join(part.text or "" if part.type == "text" else f"[{part.type}]" for part in parts(message))


def _calls(chat: Chat, origin: Origin) -> list[ToolCallOut]:
    tools = functions(chat, "demo")
    choice = tool_choice(chat, "demo")
    if not tools or (choice is not None and choice.mode == "none"):
        return []
    said = _said(chat)
    wanted = _wanted(tools, choice.name if choice else "", said, chat.messages[-1].role == "tool")
    if not wanted and choice is not None and choice.mode == "required":
        wanted = tools[:1]
    if chat.parallel_tool_calls is False:
        wanted = wanted[:1]
    return [_call(tool, call_id(origin, number), said) for number, tool in enumerate(wanted)]


def _wanted(tools: list[FunctionTool], named: str, said: str, is_answered: bool) -> list[FunctionTool]:
    """The tool that was named by the choice, else those that the user asks for with the words `call <tool>`."""
    if named:
        found = [tool for tool in tools if tool.name == named]
        if not found:
            raise invalid("tool_choice", "names a tool that is not in 'tools'")
        return found
    if is_answered:
        return []
    asked = CALL.findall(said)
    return [tool for name in dict.fromkeys(asked) for tool in tools if tool.name == name.rstrip(".")]


def _call(tool: FunctionTool, id: str, said: str) -> ToolCallOut:
    schema = tree_of(tool.parameters) if given(tool.parameters) else {}
    made = example(schema, said)
    arguments = msgspec.json.encode(made if isinstance(made, dict) else {}).decode()
    return ToolCallOut(id=id, type="function", function=FunctionOut(name=tool.name, arguments=arguments))


def _cut(text: str, stops: Sequence[str], tokens_max: int | None) -> tuple[str, Finish]:
    """As somebody who writes sign by sign: before the stop sequence that is complete first, unless there is no room for all of it."""
    chars_max = len(text) if tokens_max is None else max(tokens_max, 0) * CHARS_PER_TOKEN
    met = min(((at + len(stop), at) for stop in stops if stop and (at := text.find(stop)) >= 0), default=None)
    if met is not None and met[0] <= chars_max:
        return text[: met[1]], "stop"
    return text[:chars_max], "stop" if len(text) <= chars_max else "length"


def _characters(message: Message) -> int:
    return len(_plain(message)) + sum(
        len(call.function.arguments) for call in message.tool_calls or [] if call.function
    )


def _tokens(characters: int) -> int:
    return -(-characters // CHARS_PER_TOKEN)


# -- embeddings


def embeddings(body: bytes, origin: Origin) -> Answer:
    """Texts that share words have vectors that are near each other."""
    asked = decode_request(EMBEDDINGS, body)
    size = VECTOR if asked.dimensions is None else asked.dimensions
    if not 1 <= size <= VECTOR_MAX:
        raise invalid("dimensions", f"must be between 1 and {VECTOR_MAX}")
    if asked.encoding_format not in (None, "float", "base64"):
        raise invalid("encoding_format", "must be float or base64")
    texts = _inputs(asked.input)
    data = [
        {"object": "embedding", "index": index, "embedding": _shown(_vector(text, size), asked.encoding_format)}
        for index, text in enumerate(texts)
    ]
    usage = Usage(input=sum(_tokens(len(text)) for text in texts), estimated=True)
    total = {"prompt_tokens": usage.input, "total_tokens": usage.input}
    answer = {"object": "list", "data": data, "model": _named(origin).model, "usage": total}
    return Answer(json=msgspec.json.encode(answer), usage=usage)


def _inputs(given: str | list[str | int | list[int]]) -> list[str]:
    """One text or several; tokens, of one or several, are told apart by their numbers."""
    if isinstance(given, str):
        return [given]
    if not 1 <= len(given) <= INPUTS_MAX:
        raise invalid("input", f"must hold between 1 and {INPUTS_MAX} texts")
    if all(isinstance(one, int) for one in given):
        return [" ".join(map(str, given))]
    if any(isinstance(one, int) for one in given):
        raise invalid("input", "must hold texts, or tokens, not both")
    return [one if isinstance(one, str) else " ".join(map(str, one)) for one in given]  # type: ignore[arg-type]


def _vector(text: str, size: int) -> list[float]:
    """Each word moves one dimension; of length 1."""
    found = [0.0] * size
    for word in WORD.findall(text.lower()) or [""]:
        place = zlib.crc32(word.encode(errors="replace"))
        found[(place >> 1) % size] += 1.0 if place & 1 else -1.0
    length = sum(value * value for value in found) ** 0.5
    if not length:  # The words have cancelled each other out.
        found[0], length = 1.0, 1.0
    return [value / length for value in found]


def _shown(vector: list[float], form: str | None) -> list[float] | str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if form == "base64" else vector


# -- moderations


def moderations(body: bytes, origin: Origin) -> Answer:
    """Finds nothing wrong with anything, in the form of somebody who looked."""
    given = decode_request(MODERATIONS, body).input
    # Parts, some of them images, are one input together; each text of a list is its own.
    several = isinstance(given, list) and all(isinstance(one, str) for one in given)
    inputs = given if several else [given]
    if not 1 <= len(inputs) <= INPUTS_MAX:
        raise invalid("input", f"must hold between 1 and {INPUTS_MAX} texts")
    clear = {
        "flagged": False,
        "categories": dict.fromkeys(CATEGORIES, False),
        "category_scores": dict.fromkeys(CATEGORIES, 0.0),
        "category_applied_input_types": {category: ["text"] for category in CATEGORIES},
    }
    answer = {"id": f"modr-{origin.id}", "model": _named(origin).model, "results": [clear] * len(inputs)}
    return Answer(json=msgspec.json.encode(answer))


OTHERS: dict[Api, Callable[[bytes, Origin], Answer]] = {"embeddings": embeddings, "moderations": moderations}


# -- examples of JSON Schemas


def example(schema: Any, said: str) -> Any:
    """A small value that the schema allows, as far as the common keywords say; free strings echo what was said."""
    return _Example(schema, said).of(schema, 0)


class _Example:
    def __init__(self, root: Any, said: str) -> None:
        self._root = root
        self._said = said
        self._nodes = 0

    def of(self, schema: Any, depth: int) -> Any:
        self._nodes += 1
        if not isinstance(schema, dict) or depth > EXAMPLE_DEPTH_MAX or self._nodes > EXAMPLE_NODES_MAX:
            return None
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return schema["enum"][0]
        if isinstance(schema.get("$ref"), str):
            return self.of(self._resolve(schema["$ref"]), depth + 1)
        for union in ("anyOf", "oneOf", "allOf"):
            if isinstance(schema.get(union), list) and schema[union]:
                return self.of(schema[union][0], depth + 1)
        return self._of_type(_type(schema), schema, depth)

    def _of_type(self, kind: str, schema: dict[str, Any], depth: int) -> Any:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return [self.of(schema.get("items"), depth + 1) for _ in range(_bounded(schema.get("minItems"), 4))]
            case "string":
                return self._string(schema)
            case "integer" | "number":
                least, above = schema.get("minimum"), schema.get("exclusiveMinimum")
                if isinstance(above, int | float):
                    return above + 1
                return least if isinstance(least, int | float) else 0
            case "boolean":
                return True
        return None

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties, required = schema.get("properties"), schema.get("required")
        if not isinstance(properties, dict):
            return {}
        names = required if isinstance(required, list) else []
        return {name: self.of(properties.get(name), depth + 1) for name in names if isinstance(name, str)}

    def _string(self, schema: dict[str, Any]) -> str:
        form = schema.get("format")
        if isinstance(form, str) and form in EXAMPLE_FORMATS:
            return EXAMPLE_FORMATS[form]
        shortest = _bounded(schema.get("minLength"), EXAMPLE_CHARS_MAX)
        longest = schema.get("maxLength", EXAMPLE_CHARS_MAX)
        text = (self._said or "demo").ljust(shortest, ".")
        return text[: _bounded(longest, EXAMPLE_CHARS_MAX)]

    def _resolve(self, reference: str) -> Any:
        found = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(step) if isinstance(found, dict) and step else found
        return found


def _type(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def _bounded(value: Any, most: int) -> int:
    return min(max(value, 0), most) if isinstance(value, int) else 0
