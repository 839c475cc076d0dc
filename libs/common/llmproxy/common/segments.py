"""Every text of a request body, with its place: what guards read, and where what they find is replaced.

The default is to read, whatever the API: an unknown field, an object key or a long number is a segment like a message is,
so nothing is a hiding place. Only `blobs`, long base64 where an API has pictures, sounds, files and seals, are not text.
Two passes keep that cheap. `decode` and `texts` cost microseconds and are enough for a body in which no guard sees
anything; `segments` is the exact scan that knows paths and spans, for the bodies in which one might.
"""

import ctypes
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from json import dumps, loads
from string import ascii_letters, digits
from typing import Any, Literal, NoReturn

import msgspec
from msgspec import Struct

from llmproxy.common import native
from llmproxy.common.errors import GatewayError

DEPTH_MAX = 64
PATH_CHARS_MAX = 200  # A path in an error message; the rest is cut.
TEXT_CHARS_MIN = 5  # Shorter strings cannot hold anything that a guard looks for (`::1.2`, `a@b.c`).
NUMBER_CHARS_MIN = 9
NUMBER_MIN = 99_999_999  # Numbers of nine digits and more can be a card, a phone or a social security number.
LABEL_CHARS_MAX = 64
BESIDE_CHARS_MAX = 1_024  # Of a value that is read beside its name: no name tells of what comes later.
EMBEDDED_DEPTH_MAX = 3  # Documents in strings in documents in strings; deeper ones are read as plain text.

STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
TOKEN = re.compile(rf"{STRING}|[{{}}\[\]]|[^\s{{}}\[\],:\"]+", re.DOTALL)
ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}", re.ASCII)
DATA_URL = re.compile(r"data:(?!text/)[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*;base64,", re.ASCII)

ALPHANUMERIC = (ascii_letters + digits).encode()
BLOB_CHARS_MIN = 256
"""Shorter base64 may be a key in a picture's place, and is read: what guards look for is longer only with other signs in it."""

URL_HOLDERS = frozenset({"url", "image_url", "file_data"})
"""Keys whose value may be a base64 data: URL: pictures and files. Anywhere else such a string is text."""

DATA_URL_HEAD_CHARS_MAX = 512

SEALS = frozenset({"signature", "encrypted_content", "encrypted_index", "thoughtSignature", "thought_signature"})
"""What a provider gives to be given back: it is the provider's own, and nobody else can read it."""

BLOB_KEYS = URL_HOLDERS | SEALS | {"data", "result"}

STRUCTURE = frozenset(
    ["messages", "contents", "content", "parts", "source", "inlineData", "inline_data", "input_audio", "file", "image",
     "mask", "functionResponse", "function_response", "output", "tool_calls", "thinking_blocks", "extra_content", "google",
     "citations"]
)  # fmt: skip
"""What leads to the places of blobs. Not among them: whatever callers fill as they like (tool arguments, schemas, metadata)."""

FILLED = frozenset({"input", "args", "response", "arguments", "action", "output", "documents"})
"""What callers and tools fill as they like: there the name of a value may say what it is, as it does in tool arguments that are a
string. The `input` of the body itself is no such thing."""

DRAWN_NUMBERS = frozenset({("seed",), ("generationConfig", "seed"), ("generation_config", "seed")})
"""Numbers that callers draw at random, and providers want as numbers."""

TOKEN_HOLDERS = ("prompt", "input")  # Where completions and embeddings take numbers in the place of text.

KNOWN_KEYS = frozenset(
    [
     # Chat.
     "model", "messages", "role", "content", "name", "tool_calls", "tool_call_id", "function", "arguments",
     "type", "text", "image_url", "url", "detail", "tools", "parameters", "properties", "description",
     "required", "enum", "items", "strict", "additionalProperties", "response_format", "json_schema", "schema",
     "stream", "stream_options", "include_usage", "temperature", "top_p", "max_tokens", "max_completion_tokens",
     "presence_penalty", "frequency_penalty", "tool_choice", "parallel_tool_calls", "metadata", "refusal",
     "reasoning_effort", "reasoning_content",
     # Messages.
     "system", "thinking", "signature", "cache_control", "tool_use_id", "input", "is_error", "source",
     "media_type", "data", "input_schema", "budget_tokens", "stop_sequences", "top_k", "user_id", "citations",
     "context_management",
     # Responses.
     "instructions", "call_id", "output", "status", "annotations", "summary", "encrypted_content", "reasoning",
     "effort", "format", "include", "store", "previous_response_id", "max_output_tokens", "truncation",
     "prompt_cache_key", "file_id", "filename", "file_data",
     # Gemini.
     "contents", "parts", "systemInstruction", "generationConfig", "functionCall", "functionResponse",
     "functionDeclarations", "response", "inlineData", "mimeType", "thoughtSignature", "maxOutputTokens",
     "topP", "topK", "candidateCount", "stopSequences", "responseMimeType", "responseSchema", "thinkingConfig",
     "thinkingBudget", "includeThoughts", "safetySettings", "category", "threshold", "toolConfig",
     "functionCallingConfig",
     # The rest.
     "prompt", "query", "documents", "encoding_format", "dimensions", "voice", "language", "content_type",
     "quality", "background",
    ]
)  # fmt: skip
"""Names of the APIs themselves: they say nothing, and are most of the strings of a body."""

Form = Literal["value", "key", "number", "document"]
"""A document is the text of a file; where it is written is not known here."""


class Segment(Struct, frozen=True, kw_only=True):
    """One text, whose it is, and where it is written."""

    role: str  # system, developer, user, assistant, tool, function; definition; parameter.
    path: str  # `messages[3].content[0].text`; a key that is not a plain name is written `*`.
    text: str  # Decoded.
    form: Form = "value"
    start: int = 0  # Of the undecoded text, in the document that holds it (the body, or the text of `host`).
    raw: str = ""  # The undecoded text when that differs from `text`.
    host: "Segment | None" = None  # The string in which this document is embedded.
    label: str = ""  # The name of a value in what tools fill: `password` says what the value is.


def beside(label: str, text: str, *, is_number: bool = False) -> tuple[str, int]:
    """A value as it stands beside its name in a document, and where it begins there."""
    quote = "" if is_number else '"'
    before = f'"{label}": {quote}'
    return f"{before}{text[:BESIDE_CHARS_MAX]}{quote}", len(before)


def is_telling(name: str) -> bool:
    """Whether the name of a value may say what it is."""
    return name not in KNOWN_KEYS and len(name) <= LABEL_CHARS_MAX


Path = Sequence[str | int]
Role = Callable[[Path], str]
"""Whose text stands at a path."""


# -- the quick pass


def decode(body: bytes, max_depth: int = DEPTH_MAX) -> Any:
    """The tree of a body. Raises GatewayError naming the field: bad JSON, encoding, depth, duplicate keys."""
    try:
        tree = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _explain(body, max_depth)
    if type(tree) is not dict:
        raise GatewayError("invalid_type", "the body must be a JSON object")
    return tree


def texts(
    tree: Any,
    body: bytes,
    max_depth: int = DEPTH_MAX,
    *,
    shortest: int = TEXT_CHARS_MIN,
    turns: "Turns | None" = None,
    filled: "list[Filled] | None" = None,
) -> list[str]:
    """Every text of the tree, for a quick look. Raises GatewayError when too deep, or when a key is there twice. `turns`: what
    `plain_turns` says of its messages, if that is known. `filled` gets what `named` is to be asked about."""
    found: list[str] = []
    messages = tree["messages"] if turns is not None else None
    places: set[tuple[int, str]] | None = None
    known, depth, level = 0, 0, [tree]
    while level:
        depth += 1
        if depth > max_depth:
            _Scan(lambda _: "unknown", max_depth).run(body.decode())
            raise AssertionError("the scan counts levels as the tree does")
        below: list[Any] = []
        place = -1  # Where plain turns belong in what is below.
        for node in level:
            if type(node) is dict:
                known += len(node)
                for key, value in node.items():
                    if key not in KNOWN_KEYS:
                        found.append(key)
                    kind = type(value)
                    if kind is str:
                        if len(value) >= shortest:
                            if len(value) >= BLOB_CHARS_MIN and key in BLOB_KEYS:
                                if key in URL_HOLDERS and is_base64_url(value):
                                    continue
                                if places is None:
                                    places = {(id(holder), name) for _, holder, name in blobs(tree)}
                                if (id(node), key) in places:
                                    continue
                            found.append(value)
                    elif kind is dict or kind is list:
                        below.append(value)
                        if key in FILLED and filled is not None:
                            filled.append((key, value))
                    elif (kind is int or kind is float) and abs(value) > NUMBER_MIN:
                        found.append(_digits(value))
            elif node is messages:
                place = len(below)
            else:
                for value in node:
                    kind = type(value)
                    if kind is str:
                        found.append(value)
                    elif kind is dict or kind is list:
                        below.append(value)
                    elif (kind is int or kind is float) and abs(value) > NUMBER_MIN:
                        found.append(_digits(value))
        if turns is not None and place >= 0:
            if below or depth == max_depth:
                below[place:place] = tree["messages"]
            else:  # Nothing else is as deep: their texts come next.
                known += len(turns.said)
                found += [text for text in turns.said if len(text) >= shortest]
        level = below
    if keys(body) != known:
        _Scan(lambda _: "unknown", max_depth).run(body.decode())
    return found


Filled = tuple[str, Any]
"""A name of `FILLED`, and the object or array that stands there."""


def named(tree: Any, filled: Sequence[Filled], *, shortest: int = TEXT_CHARS_MIN) -> list[str]:
    """The values of what tools fill, each beside its name, for a quick look: what the exact pass gives a label."""
    found: list[str] = []
    rest = list(filled)
    walked = {id(tree.get("input"))}
    while rest:
        name, node = rest.pop()
        if id(node) in walked:
            continue
        walked.add(id(node))
        for key, value in node.items() if type(node) is dict else ((name, item) for item in node):
            kind = type(value)
            if kind is dict or kind is list:
                rest.append((key, value))
            elif not is_telling(key):
                continue
            elif kind is str:
                if len(value) >= shortest:
                    found.append(beside(key, value)[0])
            elif (kind is int or kind is float) and abs(value) > NUMBER_MIN:
                found.append(beside(key, _digits(value), is_number=True)[0])
    return found


class Turns(Struct, frozen=True, gc=False):
    """Of messages that have a role and a text and nothing else: one after the other."""

    said: list[str]

    @property
    def roles(self) -> list[str]:
        return self.said[::2]

    @property
    def contents(self) -> list[str]:
        return self.said[1::2]


OBJECTS, STRINGS, PLAIN_TURNS = {dict}, {str}, {("role", "content")}


def plain_turns(messages: Any) -> Turns | None:
    """Most conversations have no others, and what is dear to ask of any message is known of these."""
    if type(messages) is not list or set(map(type, messages)) != OBJECTS or set(map(tuple, messages)) != PLAIN_TURNS:
        return None
    said = list(chain.from_iterable(map(dict.values, messages)))
    return Turns(said) if set(map(type, said)) == STRINGS else None


def token_ids(tree: Any) -> str:
    """The field that holds a text as the numbers of its tokens, which no guard can read; "" when none does."""
    for key in TOKEN_HOLDERS:
        value = tree.get(key)
        if type(value) is list and any(type(item) is int or type(item) is list for item in value):
            return key
    return ""


def _digits(value: float) -> str:
    return str(value) if isinstance(value, int) or abs(value) >= 1e22 else format(value, ".0f")


def _plain_digits(written: str) -> str:
    """A number without exponent and fraction, however it is written."""
    return written if written.lstrip("-").isdecimal() else _digits(float(written))


_keys = native.function("llmproxy_keys", ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)


def keys(body: bytes) -> int:
    """How many keys the objects of a document have together. A tree has fewer where one is there twice."""
    found: int = _keys(body, len(body))
    return found


_keys_repeat = native.function("llmproxy_keys_repeat", ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)


def is_ambiguous(document: bytes) -> bool:
    """Whether an object has a key twice, of which one reader takes the first and another the last. Of what is no JSON it says nothing."""
    if not _keys_repeat(document, len(document)):
        return False
    try:
        return keys(document) != _names(msgspec.json.decode(document))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True


def _names(tree: Any) -> int:
    """How many names the objects of a tree have together."""
    count, rest = 0, [tree]
    while rest:
        node = rest.pop()
        if type(node) is dict:
            count += len(node)
            rest += node.values()
        elif type(node) is list:
            rest += node
    return count


# -- the exact pass


def segments(
    text: str, tree: Any, max_depth: int = DEPTH_MAX, *, embedded: bool = True, shortest: int = TEXT_CHARS_MIN
) -> list[Segment]:
    """Every segment of a body that `decode` has accepted, in order; those inside tool-call arguments, if `embedded`."""
    places = frozenset(path for path, _, _ in blobs(tree))
    scan = _Scan(roles(tree), max_depth, embedded=0 if embedded else EMBEDDED_DEPTH_MAX, places=places)
    scan.chars_min = shortest
    return scan.run(text)


# -- whose text, and what is none


def roles(tree: Any) -> Role:
    """Whose text a path holds, by the roles that messages, items and contents state. The APIs share no root field."""

    def role(path: Path) -> str:
        if not path:
            return "parameter"
        match path[0]:
            case "messages":
                return _of_message(tree, path)
            case "input" if len(path) > 1:
                return _of_item(tree, path)
            case "contents" if len(path) > 1:
                return _of_content(tree, path)
            case name:
                return ROOT_ROLES.get(name, "parameter") if isinstance(name, str) else "unknown"

    return role


MESSAGE_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
ROOT_ROLES = {
    **dict.fromkeys(("tools", "functions", "response_format", "text", "output_config"), "definition"),
    **dict.fromkeys(("generationConfig", "generation_config"), "definition"),
    **dict.fromkeys(("system", "instructions", "systemInstruction", "system_instruction"), "system"),
    **dict.fromkeys(("prompt", "suffix", "input", "query"), "user"),
    "documents": "tool",  # Of rerank: retrieved by somebody, written by anybody.
}
RETURNED = frozenset({"output", "outputs", "results"})  # In an item of the Responses API: what a hosted tool gave.
RETURNED_PARTS = frozenset(
    {
        "functionResponse",
        "function_response",
        "codeExecutionResult",
        "code_execution_result",
        "toolResponse",
        "tool_response",
    }
)


def _of_message(tree: Any, path: Path) -> str:
    """A result is a tool's, whose message it stands in: Anthropic's are the user's, or the assistant's own."""
    block = _at(tree, path[:4]) if len(path) > 3 and path[2] == "content" else None
    if type(block) is dict and str(block.get("type")).endswith("tool_result"):
        return "tool"
    stated = _stated(tree, path[:2])
    return stated if stated in MESSAGE_ROLES else "unknown"


def _of_item(tree: Any, path: Path) -> str:
    item = _at(tree, path[:2])
    if type(item) is not dict:
        return "user"
    kind = item.get("type")
    if (isinstance(kind, str) and kind.endswith("_output")) or (len(path) > 2 and path[2] in RETURNED):
        return "tool"
    stated = _stated(tree, path[:2])
    if stated:
        return stated if stated in MESSAGE_ROLES else "unknown"
    return "assistant" if isinstance(kind, str) and kind.endswith(("_call", "reasoning")) else "user"


def _of_content(tree: Any, path: Path) -> str:
    if len(path) > 4 and path[4] in RETURNED_PARTS:
        return "tool"
    return {"user": "user", "model": "assistant", "function": "tool", "": "user"}.get(
        _stated(tree, path[:2]), "unknown"
    )


def _stated(tree: Any, path: Path) -> str:
    node = _at(tree, path)
    role = node.get("role", "") if type(node) is dict else None
    return role if isinstance(role, str) else "unknown"


def _at(tree: Any, path: Path) -> Any:
    """What stands at a path; None when nothing does."""
    for place in path:
        if type(tree) is dict:
            tree = tree.get(place)
        elif type(tree) is list and isinstance(place, int) and place < len(tree):
            tree = tree[place]
        else:
            return None
    return tree


def blobs(tree: Any) -> Iterator[tuple[Path, dict[str, Any], str]]:
    """(path, holder, key) of each long base64 string in a place where an API has binaries or seals."""
    for path, holder, key in placed(tree, BLOB_CHARS_MIN):
        if _has_blob(path[:-1], holder, key) and is_base64(holder[key]):
            yield path, holder, key


def placed(
    tree: Any, shortest: int, through: frozenset[str] = STRUCTURE
) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any], str]]:
    """(path, holder, key) of each string of `shortest` characters or more to which the keys of `through` lead."""
    open_nodes: list[tuple[tuple[str | int, ...], Any]] = [((), tree)]
    while open_nodes:
        path, node = open_nodes.pop()
        if type(node) is list:
            open_nodes += (((*path, place), item) for place, item in enumerate(node) if type(item) in (dict, list))
        elif type(node) is dict:
            for key, value in node.items():
                if type(value) is str:
                    if len(value) >= shortest:
                        yield (*path, key), node, key
                elif key in through or (key == "input" and not path):
                    open_nodes.append(((*path, key), value))


def _has_blob(path: Path, node: dict[str, Any], key: str) -> bool:
    match key:
        case "data":
            return _is_binary(path, node)
        case "result":
            return node.get("type") == "image_generation_call"
    return key in SEALS or key == "file_data"


def _is_binary(path: Path, node: dict[str, Any]) -> bool:
    """Whether an object with `data` says that they are base64 of something other than text."""
    match path[-1] if path else "":
        case "input_audio":
            return True
        case "source":  # Anthropic's sources of type `text` have plain text in the same place.
            kind = node.get("media_type") if node.get("type") == "base64" else None
        case "inlineData" | "inline_data":
            kind = node.get("mimeType", node.get("mime_type"))
        case "file" | "image" | "mask" | int():  # Of a form that the edge made JSON of.
            kind = node.get("content_type") if path[0] in ("file", "image", "mask") else None
            if kind is None:
                return node.get("type") == "redacted_thinking"
        case _:
            return False
    return isinstance(kind, str) and not kind.lower().startswith("text/")


def is_base64(value: str) -> bool:
    """Whether every character is of one base64 alphabet: no space, no line break, no dot."""
    if not value.isascii():
        return False
    signs = value.rstrip("=").encode().translate(None, ALPHANUMERIC)
    return not signs.translate(None, b"+/") or not signs.translate(None, b"-_")


def is_base64_url(value: str) -> bool:
    """Base64 of a picture or a file, and nothing else: not text, and never masked."""
    if len(value) < BLOB_CHARS_MIN or not value.startswith("data:"):
        return False
    head = DATA_URL.match(value, 0, DATA_URL_HEAD_CHARS_MAX)
    return head is not None and is_base64(value[head.end() :])


# -- putting something in the place of a text


class Rewrite:
    """Replacements in the segments of one body; whatever lies between them stays as it is written, to the byte."""

    __slots__ = ("_edits", "_escapes", "_numbers")

    def __init__(self) -> None:
        self._edits: list[tuple[int, int, str]] = []
        self._escapes: dict[int, tuple[list[int], list[int]]] = {}  # Of a segment, by identity.
        # In a document in a segment: by their place there.
        self._numbers: dict[int, dict[tuple[int, int], Segment]] = {}

    @property
    def is_empty(self) -> bool:
        return not self._edits

    def replace(self, segment: Segment, start: int, end: int, replacement: str) -> None:
        """`segment.text[start:end]` becomes `replacement`. Replacements must not overlap. A text that is a JSON document stays one."""
        number = self._number_at(segment, start, end)
        if number is None:
            self._put(segment, start, end, replacement)
        else:
            self._put(number, 0, len(number.text), replacement)

    def _put(self, segment: Segment, start: int, end: int, replacement: str) -> None:
        if segment.form == "number":  # A number cannot hold text: the whole of it becomes a string.
            first, last, written = segment.start, segment.start + len(segment.raw), dumps(replacement)
        else:
            first, last = self._written_at(segment, start), self._written_at(segment, end)
            written = dumps(replacement, ensure_ascii=False)[1:-1]
        if segment.host is None:
            self._edits.append((first, last, written))
        else:
            self._put(segment.host, first, last, written)

    def apply(self, text: str) -> str:
        parts: list[str] = []
        at = 0
        for first, last, written in sorted(self._edits):
            assert first >= at, "replacements overlap"
            parts += (text[at:first], written)
            at = last
        parts.append(text[at:])
        return "".join(parts)

    def _number_at(self, segment: Segment, start: int, end: int) -> Segment | None:
        """The number of a JSON document in a string that is written there, and nothing else with it."""
        if segment.form == "number" or not JSON_NUMBER.fullmatch(segment.text, start, end):
            return None
        known = self._numbers.get(id(segment))
        if known is None:
            known = self._numbers[id(segment)] = {}
            for number in _numbers(segment, EMBEDDED_DEPTH_MAX):
                first = self._place_in(segment, number)
                known[first, first + len(number.raw)] = number
        return known.get((start, end))

    def _place_in(self, segment: Segment, embedded: Segment) -> int:
        """Where something begins that is in a document in a document in the segment."""
        place, host = embedded.start, embedded.host
        while host is not None and host is not segment:
            place, host = self._written_at(host, place), host.host
        return place

    def _written_at(self, segment: Segment, offset: int) -> int:
        """Where the decoded character at `offset` is written: every escape before it is longer than its character."""
        if not segment.raw:
            return segment.start + offset
        known = self._escapes.get(id(segment))
        if known is None:
            known = self._escapes[id(segment)] = _escapes(segment.raw)
        places, extras = known
        return segment.start + offset + extras[bisect_left(places, offset)]


LINE = re.compile(r"[^\r\n]+")
JSON_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)


def _numbers(segment: Segment, depth: int) -> Iterator[Segment]:
    """The long numbers of the JSON documents that a text is, and of those in their strings; none of a text that is no document."""
    for first, last in _documents(segment.text):
        for token in TOKEN.finditer(segment.text, first, last):
            written = token[0]
            if written[0] == '"':
                if depth > 1 and written[1:].lstrip()[:1] in ("{", "["):
                    yield from _numbers(_embedded(written[1:-1], token.start() + 1, segment, "value"), depth - 1)
            elif len(written) >= TEXT_CHARS_MIN and JSON_NUMBER.fullmatch(written):
                yield _embedded(written, token.start(), segment, "number")


def _documents(text: str) -> Iterator[tuple[int, int]]:
    """Where JSON documents are written: the text is one, or some of its lines are, as in JSON Lines."""
    if _is_document(text):
        yield 0, len(text)
        return
    for line in LINE.finditer(text):
        if _is_document(line[0]):
            yield line.span()


def _is_document(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def _embedded(written: str, start: int, host: Segment, form: Form) -> Segment:
    text = _unescape(written)
    raw = written if form == "number" or text != written else ""
    return Segment(role=host.role, path=host.path, text=text, form=form, start=start, raw=raw, host=host)


def _escapes(raw: str) -> tuple[list[int], list[int]]:
    """The decoded places of the escapes, and how many characters longer the first n of them are than what they mean."""
    places: list[int] = []
    extras = [0]
    for escape in ESCAPE.finditer(raw):
        places.append(escape.start() - extras[-1])
        extras.append(extras[-1] + len(escape[0]) - 1)
    return places, extras


class _Level:
    """An open object (`keys` are those seen, `at` the current one) or array (`at` is the index)."""

    __slots__ = ("at", "keys")

    def __init__(self, keys: set[str] | None) -> None:
        self.keys = keys
        self.at: str | int | None = None if keys is not None else 0


class _Scan:
    """One pass over the tokens of one JSON document: the body, or one embedded in a string of it (`host`)."""

    def __init__(
        self,
        role: Role,
        max_depth: int,
        host: Segment | None = None,
        embedded: int = 0,
        places: frozenset[Path] = frozenset(),
    ) -> None:
        self.found: list[Segment] = []
        self.chars_min = TEXT_CHARS_MIN
        self._role, self._max_depth, self._host, self._embedded = role, max_depth, host, embedded
        self._places = places  # Of the blobs.
        self._open: list[_Level] = []

    def run(self, text: str) -> list[Segment]:
        for token in TOKEN.finditer(text):
            written = token[0]
            match written[0]:
                case "{":
                    self._enter(_Level(set()))
                    continue
                case "[":
                    self._enter(_Level(None))
                    continue
                case "}" | "]":
                    self._open.pop()
                case '"':
                    inside = written[1:-1]
                    if self._awaits_key():
                        self._key(inside, token.start() + 1)
                        continue
                    if len(inside) >= self.chars_min:
                        self._value(inside, token.start() + 1)
                case _:
                    if len(written) >= NUMBER_CHARS_MIN and not self._is_drawn():
                        self.found.append(self._segment(written, token.start(), "number"))
            if self._open:
                level = self._open[-1]
                level.at = None if level.keys is not None else int(level.at or 0) + 1
        return self.found

    def _enter(self, level: _Level) -> None:
        if len(self._open) == self._max_depth:
            where = self._where()
            raise GatewayError(
                "too_deep",
                f"{where or 'the body'} is nested deeper than {self._max_depth} levels; flatten it",
                param=where,
            )
        self._open.append(level)

    def _awaits_key(self) -> bool:
        return bool(self._open) and self._open[-1].keys is not None and self._open[-1].at is None

    def _key(self, written: str, start: int) -> None:
        level = self._open[-1]
        assert level.keys is not None
        if len(written) >= self.chars_min and written not in KNOWN_KEYS:
            self.found.append(self._segment(written, start, "key"))
        level.at = _unescape(written)
        if level.at in level.keys:
            where = self._where()
            raise GatewayError("duplicate_key", f"{where} is given twice; give it once", param=where)
        level.keys.add(level.at)

    def _value(self, written: str, start: int) -> None:
        key = self._open[-1].at if self._open else None
        segment = self._segment(written, start, "value")
        if key in BLOB_KEYS and len(written) >= BLOB_CHARS_MIN:
            if key in URL_HOLDERS and is_base64_url(segment.text):
                return
            if self._places and tuple(self._path()) in self._places:
                return
        inner = self._inner(segment) if key == "arguments" else None
        if inner is None:
            self.found.append(segment)
        else:
            self.found += inner

    def _inner(self, segment: Segment) -> list[Segment] | None:
        """The segments of tool-call arguments, which are a JSON document in a string; None when they are not one."""
        if self._embedded == EMBEDDED_DEPTH_MAX or segment.text.lstrip()[:1] not in ("{", "["):
            return None
        try:
            msgspec.json.decode(segment.text)
            scan = _Scan(self._role, self._max_depth, segment, self._embedded + 1)
            scan.chars_min = self.chars_min
            return scan.run(segment.text)
        except (msgspec.DecodeError, UnicodeError, RecursionError, GatewayError):
            return None

    def _segment(self, written: str, start: int, form: Form) -> Segment:
        path = self._path()
        host = self._host
        return Segment(
            role=host.role if host else self._role(path),
            path=host.path if host else join([*path, "*"] if form == "key" else path),
            text=_unescape(written) if form != "number" else _plain_digits(written),
            form=form,
            start=start,
            raw=written if form == "number" or "\\" in written else "",
            host=host,
            label=self._label(path) if form != "key" else "",
        )

    def _label(self, path: Path) -> str:
        if self._host is None and not is_filled(path):
            return ""
        name = next((place for place in reversed(path) if isinstance(place, str)), "")
        return name if is_telling(name) else ""

    def _is_drawn(self) -> bool:
        return self._host is None and tuple(self._path()) in DRAWN_NUMBERS

    def _path(self) -> list[str | int]:
        return [level.at for level in self._open if level.at is not None]

    def _where(self) -> str:
        return join(self._path())


def is_filled(path: Path) -> bool:
    """Whether a value stands in what callers and tools fill as they like."""
    first = 1 if path and path[0] == "input" else 0
    return any(place in FILLED for place in path[first:-1])


def join(path: Sequence[str | int]) -> str:
    """`messages[3].content[0].text`. A key that is not a plain name may be text, and is written `*`."""
    parts: list[str] = []
    for place in path:
        if isinstance(place, int):
            parts.append(f"[{place}]")
        else:
            parts.append(("." if parts else "") + (place if PLAIN_KEY.fullmatch(place) else "*"))
    return "".join(parts)[:PATH_CHARS_MAX]


_NAME = re.compile(r"[^.\[\]]+")
NAMES = KNOWN_KEYS | STRUCTURE | BLOB_KEYS | RETURNED | RETURNED_PARTS | frozenset(ROOT_ROLES)


@lru_cache(1024)
def shown(path: str) -> str:
    """A path as it may be recorded: names that are not the APIs' own are the caller's words, and are written `*`."""
    return _NAME.sub(lambda name: name[0] if name[0] in NAMES or name[0].isdecimal() else "*", path)


def _unescape(written: str) -> str:
    """The text of a JSON string's inside; what cannot be decoded is left as it is written."""
    if "\\" not in written:
        return written
    try:
        return str(loads(f'"{written}"', strict=False))
    except ValueError:
        return written


# -- what is wrong with a body


def _explain(body: bytes, max_depth: int) -> NoReturn:
    """Raises the GatewayError for a body that does not decode."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        text = body.decode(errors="surrogateescape")
        where = _first(text, LONE_SURROGATE, max_depth)
        raise GatewayError(
            "invalid_encoding", f"{where or 'the body'} is not valid UTF-8 (byte {error.start})", param=where
        ) from None
    if ESCAPED_SURROGATE.search(text) and (where := _first(text, LONE_SURROGATE, max_depth)):
        raise GatewayError("invalid_encoding", f"{where} holds half of a surrogate pair", param=where)
    _scan_loosely(text, max_depth)
    raise GatewayError("invalid_json", f"the body is not valid JSON{_position(body)}")


def _position(body: bytes) -> str:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        at = re.search(r"\(byte \d+\)", str(error))
        return f" {at[0]}" if at else ""
    return ""


def _first(text: str, pattern: re.Pattern[str], max_depth: int) -> str:
    """The path of the first segment with such a text, as far as the body can be read."""
    for segment in _scan_loosely(text, max_depth):
        if pattern.search(segment.text):
            return segment.path
    return ""


def _scan_loosely(text: str, max_depth: int) -> list[Segment]:
    """What can be read of a body that is not JSON. Raises GatewayError only for depth."""
    scan = _Scan(lambda _: "unknown", max_depth)
    scan.chars_min = 1
    try:
        return scan.run(text)
    except GatewayError as error:
        if error.code == "too_deep":
            raise
    except (IndexError, AssertionError, ValueError, TypeError):
        pass
    return scan.found
