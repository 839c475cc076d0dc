"""Every text of a request body, with its place: what guards read, and where what they find is replaced.

The default is to read: an unknown field, an object key or a long number is a segment like a message is, so nothing is
a hiding place. Two passes keep that cheap. `decode` and `texts` cost microseconds and are enough for a body in which no
guard sees anything; `segments` is the exact scan that knows paths and spans, for the bodies in which one might.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from json import dumps, loads
from typing import Any, Literal, NoReturn

import msgspec
from msgspec import Struct

from llmproxy.common.errors import GatewayError

DEPTH_MAX = 64
PATH_CHARS_MAX = 200  # A path in an error message; the rest is cut.
TEXT_CHARS_MIN = 5  # Shorter strings cannot hold anything that a guard looks for (`::1.2`, `a@b.c`).
NUMBER_CHARS_MIN = 9
NUMBER_MIN = 99_999_999  # Numbers of nine digits and more can be a card, a phone or a social security number.
EMBEDDED_DEPTH_MAX = 3  # Documents in strings in documents in strings; deeper ones are read as plain text.

STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
TOKEN = re.compile(rf"{STRING}|[{{}}\[\]]|[^\s{{}}\[\],:\"]+", re.DOTALL)
ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}", re.ASCII)
BASE64_URL = re.compile(r"data:(?!text/)[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*;base64,[A-Za-z0-9+/=_\r\n-]*", re.ASCII)
BASE64 = re.compile(r"[A-Za-z0-9+/=_\r\n-]*", re.ASCII)

URL_HOLDERS = frozenset({"url", "image_url", "file_data"})
"""Keys whose value may be a base64 data: URL: pictures and files. Anywhere else such a string is text."""

DRAWN_NUMBERS = frozenset({"seed"})  # Root numbers that callers draw at random, and providers want as numbers.

KNOWN_KEYS = frozenset(
    ["model", "messages", "role", "content", "name", "tool_calls", "tool_call_id", "function", "arguments", "type", "text", "image_url", "url", "detail", "tools", "parameters", "properties", "description", "required", "enum", "items", "strict", "additionalProperties", "response_format", "json_schema", "schema", "stream", "stream_options", "include_usage", "temperature", "top_p", "max_tokens", "max_completion_tokens", "presence_penalty", "frequency_penalty", "tool_choice", "parallel_tool_calls", "metadata", "refusal", "reasoning_effort", "reasoning_content"]
)  # fmt: skip
"""Names of the chat API itself: they say nothing, and are most of the strings of a body."""

Form = Literal["value", "key", "number"]


class Segment(Struct, frozen=True, kw_only=True):
    """One text, whose it is, and where it is written."""

    role: str  # system, developer, user, assistant, tool, function; definition; parameter.
    path: str  # `messages[3].content[0].text`; a key that is not a plain name is written `*`.
    text: str  # Decoded.
    form: Form = "value"
    start: int = 0  # Of the undecoded text, in the document that holds it (the body, or the text of `host`).
    raw: str = ""  # The undecoded text when that differs from `text`.
    host: "Segment | None" = None  # The string in which this document is embedded.


Role = Callable[[Sequence[str | int]], str]
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


def texts(tree: Any, body: bytes, max_depth: int = DEPTH_MAX) -> list[str]:
    """Every text of the tree, for a quick look. Raises GatewayError when too deep, or when a key is there twice."""
    found: list[str] = []
    keys, depth, level = 0, 0, [tree]
    while level:
        depth += 1
        if depth > max_depth:
            _Scan(lambda _: "unknown", max_depth).run(body.decode())
            raise AssertionError("the scan counts levels as the tree does")
        below: list[Any] = []
        for node in level:
            if type(node) is dict:
                keys += len(node)
                for key, value in node.items():
                    if key not in KNOWN_KEYS:
                        found.append(key)
                    kind = type(value)
                    if kind is str:
                        if len(value) >= TEXT_CHARS_MIN and not (key in URL_HOLDERS and is_base64_url(value)):
                            found.append(value)
                    elif kind is dict or kind is list:
                        below.append(value)
                    elif (kind is int or kind is float) and abs(value) > NUMBER_MIN:
                        found.append(_digits(value))
            else:
                for value in node:
                    kind = type(value)
                    if kind is str:
                        found.append(value)
                    elif kind is dict or kind is list:
                        below.append(value)
                    elif (kind is int or kind is float) and abs(value) > NUMBER_MIN:
                        found.append(_digits(value))
        level = below
    if not _each_key_once(body, keys):
        _Scan(lambda _: "unknown", max_depth).run(body.decode())
    return found


def is_base64_url(value: str) -> bool:
    """Base64 of a picture or a file, and nothing else: not text, and never masked."""
    return value.startswith("data:") and BASE64_URL.fullmatch(value) is not None


def _digits(value: float) -> str:
    return str(value) if isinstance(value, int) or abs(value) >= 1e22 else format(value, ".0f")


def _plain_digits(written: str) -> str:
    """A number without exponent and fraction, however it is written."""
    return written if written.lstrip("-").isdecimal() else _digits(float(written))


def _each_key_once(body: bytes, keys: int) -> bool:
    """True only if the body has as many keys as its tree. False means: count exactly.

    A quote and a colon end a key, or open a string that begins with a colon (which counts one too many, and so leads to
    the exact count), or stand in a string, where the quote is escaped. The first line sends away what counts too few:
    a space before the colon, and a key that ends in a backslash.
    """
    if b" :" in body or any(space in body and space + b":" in body for space in (b"\n", b"\t", b"\r")):
        return False
    if b"\\" not in body:
        return body.count(b'":') == keys
    return b'\\\\":' not in body and body.count(b'":') - body.count(b'\\":') == keys


# -- the exact pass


def segments(text: str, tree: Any, max_depth: int = DEPTH_MAX, *, embedded: bool = True) -> list[Segment]:
    """Every segment of a body that `decode` has accepted, in order; those inside tool-call arguments, if `embedded`."""
    return _Scan(roles(tree), max_depth, embedded=0 if embedded else EMBEDDED_DEPTH_MAX).run(text)


def roles(tree: Any) -> Role:
    """Whose text a path holds, by the roles that the messages state."""
    messages = tree.get("messages")
    stated = (
        [message.get("role") if type(message) is dict else None for message in messages]
        if type(messages) is list
        else []
    )

    def role(path: Sequence[str | int]) -> str:
        if not path:
            return "parameter"
        if path[0] == "messages" and len(path) > 1:
            name = stated[path[1]] if isinstance(path[1], int) and path[1] < len(stated) else None
            return name if isinstance(name, str) and name in MESSAGE_ROLES else "unknown"
        return "definition" if path[0] in DEFINITIONS else "parameter"

    return role


MESSAGE_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
DEFINITIONS = frozenset({"tools", "functions", "response_format"})


class Rewrite:
    """Replacements in the segments of one body; whatever lies between them stays as it is written, to the byte."""

    __slots__ = ("_edits", "_escapes")

    def __init__(self) -> None:
        self._edits: list[tuple[int, int, str]] = []
        self._escapes: dict[int, tuple[list[int], list[int]]] = {}  # Of a segment, by identity.

    @property
    def is_empty(self) -> bool:
        return not self._edits

    def replace(self, segment: Segment, start: int, end: int, replacement: str) -> None:
        """`segment.text[start:end]` becomes `replacement`. Replacements must not overlap."""
        if segment.form == "number":  # A number cannot hold text: the whole of it becomes a string.
            first, last, written = segment.start, segment.start + len(segment.raw), dumps(replacement)
        else:
            first, last = self._written_at(segment, start), self._written_at(segment, end)
            written = dumps(replacement, ensure_ascii=False)[1:-1]
        if segment.host is None:
            self._edits.append((first, last, written))
        else:
            self.replace(segment.host, first, last, written)

    def apply(self, text: str) -> str:
        parts: list[str] = []
        at = 0
        for first, last, written in sorted(self._edits):
            assert first >= at, "replacements overlap"
            parts += (text[at:first], written)
            at = last
        parts.append(text[at:])
        return "".join(parts)

    def _written_at(self, segment: Segment, offset: int) -> int:
        """Where the decoded character at `offset` is written: every escape before it is longer than its character."""
        if not segment.raw:
            return segment.start + offset
        known = self._escapes.get(id(segment))
        if known is None:
            known = self._escapes[id(segment)] = _escapes(segment.raw)
        places, extras = known
        return segment.start + offset + extras[bisect_left(places, offset)]


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

    def __init__(self, role: Role, max_depth: int, host: Segment | None = None, embedded: int = 0) -> None:
        self.found: list[Segment] = []
        self.chars_min = TEXT_CHARS_MIN
        self._role, self._max_depth, self._host, self._embedded = role, max_depth, host, embedded
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
        if key in URL_HOLDERS and is_base64_url(segment.text):
            return
        if (
            key == "data"
            and len(self._open) > 1
            and self._open[-2].at == "input_audio"
            and BASE64.fullmatch(segment.text)
        ):
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
            return _Scan(self._role, self._max_depth, segment, self._embedded + 1).run(segment.text)
        except (msgspec.DecodeError, UnicodeError, RecursionError, GatewayError):
            return None

    def _segment(self, written: str, start: int, form: Form) -> Segment:
        path = [level.at for level in self._open if level.at is not None]
        host = self._host
        return Segment(
            role=host.role if host else self._role(path),
            path=host.path if host else join([*path, "*"] if form == "key" else path),
            text=_unescape(written) if form != "number" else _plain_digits(written),
            form=form,
            start=start,
            raw=written if form == "number" or "\\" in written else "",
            host=host,
        )

    def _is_drawn(self) -> bool:
        """A number at the root that callers draw at random and providers want as a number."""
        return self._host is None and len(self._open) == 1 and self._open[0].at in DRAWN_NUMBERS

    def _where(self) -> str:
        return join([level.at for level in self._open if level.at is not None])


def join(path: Sequence[str | int]) -> str:
    """`messages[3].content[0].text`. A key that is not a plain name may be text, and is written `*`."""
    parts: list[str] = []
    for place in path:
        if isinstance(place, int):
            parts.append(f"[{place}]")
        else:
            parts.append(("." if parts else "") + (place if PLAIN_KEY.fullmatch(place) else "*"))
    return "".join(parts)[:PATH_CHARS_MAX]


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
