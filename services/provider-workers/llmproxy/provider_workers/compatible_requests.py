"""Requests in OpenAI's format for servers that differ from OpenAI: what each lacks, renames or wants in another place.

Bodies pass through: only what a rule is about is looked at, and a body that needs no change keeps its bytes.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Raw

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.canonical import METADATA, says_nothing
from llmproxy.provider_workers.reading import UNREADABLE, printable, unsupported
from llmproxy.provider_workers.wire import Target

Fields = dict[str, Raw]
"""A JSON object whose values nobody has looked at."""

DEVELOPER, TOOL, USER = Raw(b'"developer"'), Raw(b'"tool"'), Raw(b'"user"')
TRUE, FALSE = Raw(b"true"), Raw(b"false")
BASIC_MESSAGE = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
VERSION = re.compile(r"/v\d+[a-z0-9]*(?:/|$)")
UNVERSIONED_HOSTS = frozenset({"api.perplexity.ai", "models.github.ai", "models.inference.ai.azure.com"})
TOOL_IMAGES = "The images of the tool result follow."

FIELDS = msgspec.json.Decoder(Fields)
OBJECTS = msgspec.json.Decoder(list[Fields])
TEXT = msgspec.json.Decoder(str)

OWN = frozenset({"top_k", "thinking"})
"""Canonical, but not OpenAI's."""
RARE = frozenset({"audio", "function_call", "functions", "modalities", "verbosity", "web_search_options"})
"""OpenAI's, and hardly anybody else's."""


def read_fields(body: bytes) -> Fields:
    try:
        return FIELDS.decode(body)
    except UNREADABLE:
        raise GatewayError("invalid_json", "the body is not a valid JSON object") from None


def encode(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))


@lru_cache(maxsize=256)
def chat_url(base: str) -> str:
    """`base` with or without its version path. Azure's deployments and a few hosts have none."""
    at = urlsplit(base)
    path = at.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        versioned = VERSION.search(path) or "/deployments/" in path or at.hostname in UNVERSIONED_HOSTS
        path += "/chat/completions" if versioned else "/v1/chat/completions"
    return urlunsplit((at.scheme, at.netloc, path, at.query, ""))


def aim(fields: Fields, target: Target, *, asks_for_usage: bool = True) -> None:
    """For the target's model, asking a stream for its usage. What says so already keeps its spelling."""
    model = msgspec.json.encode(target.model)
    if bytes(fields.get("model", b"")) != model:
        fields["model"] = Raw(model)
    if (bytes(fields.get("stream", b"false")) == b"true") != target.stream:
        fields["stream"] = TRUE if target.stream else FALSE
    if not asks_for_usage:
        fields.pop("stream_options", None)
    elif target.stream:
        options = _options(fields.get("stream_options"))
        if bytes(options.get("include_usage", b"")) != b"true":
            fields["stream_options"] = encode({**options, "include_usage": TRUE})


class Aim(msgspec.Struct, frozen=True):
    model: str | None = None
    stream: bool | None = None
    stream_options: Raw | msgspec.UnsetType = msgspec.UNSET


AIM = msgspec.json.Decoder(Aim)


def is_aimed(body: bytes, target: Target) -> bool:
    """Whether there is nothing to do for `aim`, told without a look at the rest. A stream, and what is no JSON, is its business."""
    try:
        aim = AIM.decode(body)
    except UNREADABLE:
        return False
    if target.stream or aim.stream or aim.stream_options is not msgspec.UNSET:
        return False
    return aim.model == target.model


def _options(raw: Raw | None) -> Fields:
    if raw is None or bytes(raw) == b"null":
        return {}
    try:
        return FIELDS.decode(raw)
    except UNREADABLE:
        raise GatewayError("invalid_type", "'stream_options' must be an object", param="stream_options") from None


def leave_out(fields: Fields, lacks: frozenset[str], vendor: str, dropped: list[str]) -> None:
    """Takes out what the vendor has no place for. Raises GatewayError naming the first whose value changes the answer."""
    for name in sorted(fields.keys() & lacks):
        if not says_nothing(name, fields[name]):
            if name not in METADATA:
                raise unsupported(vendor, name)
            dropped.append(name)
        del fields[name]


def rename(fields: Fields, names: Mapping[str, str]) -> None:
    """A field that says nothing is left out. Where old and new name are both given, the renamed one holds."""
    for old in [name for name in fields if name in names]:
        value, new = fields.pop(old), names[old]
        if bytes(value) != b"null":
            fields[new] = value


def effort_of(fields: Fields) -> str | None:
    """What `reasoning_effort` says, or what Anthropic's `thinking` amounts to where there is none."""
    effort = text_in(fields, "reasoning_effort")
    if effort is not None or "thinking" not in fields:
        return effort
    try:
        thinking = FIELDS.decode(fields["thinking"])
    except UNREADABLE:
        return None
    if text_in(thinking, "type") == "disabled":
        return "none"
    budget = bytes(thinking.get("budget_tokens", b""))
    tokens = int(budget) if budget.isdigit() and len(budget) < 9 else 0
    return next((name for name, most in EFFORT_BUDGETS if tokens <= most), "high") if tokens else "medium"


EFFORT_BUDGETS = (("low", 2_048), ("medium", 12_288))
"""Thinking tokens up to which a budget is that effort; above them all it is high."""


def effort_instead_of_thinking(fields: Fields) -> None:
    """For vendors that know efforts and no budgets."""
    if "thinking" in fields:
        effort = effort_of(fields)
        del fields["thinking"]
        if effort is not None and "reasoning_effort" not in fields:
            fields["reasoning_effort"] = encode(effort)


def text_in(fields: Fields, name: str) -> str | None:
    """The field's text; None when it is not there or no text."""
    value = fields.get(name)
    if value is None or not _begins(value, QUOTE):
        return None  # Looked at first: an exception costs more than the text.
    try:
        return TEXT.decode(value)
    except UNREADABLE:
        return None


def format_of(fields: Fields) -> str | None:
    """The type of `response_format`."""
    try:
        return text_in(FIELDS.decode(fields["response_format"]), "type") if "response_format" in fields else None
    except UNREADABLE:
        return None


def is_list(raw: Raw | None) -> bool:
    return raw is not None and _begins(raw, BRACKET)


def objects(raw: Raw | None) -> list[Fields] | None:
    """The objects of an array; None of anything else, about which the vendor will have its say."""
    if raw is None or not _begins(raw, BRACKET):
        return None
    try:
        return OBJECTS.decode(raw)
    except UNREADABLE:
        return None


def _begins(raw: Raw, byte: int) -> bool:
    view = memoryview(raw)  # Not a copy: it may be an image.
    return len(view) > 0 and view[0] == byte


QUOTE, BRACKET = b'"'[0], b"["[0]


class Messages(msgspec.Struct, frozen=True, kw_only=True):
    """What a vendor takes in a message."""

    fields: frozenset[str] | None = BASIC_MESSAGE  # None: all but those of other vendors.
    reasoning: str = ""  # Its name for what the model thought before; "" has no place for it.
    developer: bool = True  # Knows the role; otherwise those messages are the system's.
    only_text: bool = False
    also: frozenset[str] = frozenset()  # Of other vendors' fields, those that it knows.
    tool_images: bool = False  # Takes images in the result of a tool.
    extensions: bool = False  # Knows EXTENSIONS.

    def fit(self, messages: list[Fields], vendor: str, dropped: list[str], hints: "Hints") -> list[Fields]:
        """The same list when nothing had to be changed."""
        fitted = [
            message if self._fits(message) else self._fit_one(message, index, vendor, dropped)
            for index, message in enumerate(messages)
        ]
        if hints.extended and not self.extensions:
            fitted = [_without_extensions(message, dropped) for message in fitted]
        if hints.pictured and not self.tool_images:
            fitted = with_tool_images_after(fitted)
        same = len(fitted) == len(messages) and all(new is old for new, old in zip(fitted, messages, strict=True))
        return messages if same else fitted

    def _fits(self, message: Fields) -> bool:
        """Nearly every message does."""
        fields = self.fields
        if not (message.keys().isdisjoint(FOREIGN) if fields is None else message.keys() <= fields):
            return False
        return (self.developer or message.get("role") != DEVELOPER) and not (
            self.only_text and is_list(message.get("content"))
        )

    def _fit_one(self, message: Fields, index: int, vendor: str, dropped: list[str]) -> Fields:
        made = message
        strange = message.keys() & FOREIGN - self.also if self.fields is None else message.keys() - self.fields
        if strange:
            made = {name: value for name, value in message.items() if name not in strange}
            if "refusal" in strange and _is_unsaid(message) and text_in(message, "refusal"):
                made["content"] = message["refusal"]  # What the model said instead.
                strange -= {"refusal"}
            if self.reasoning and self.reasoning not in made:
                thought = _thought(message)
                if thought is not None:
                    made[self.reasoning] = thought
                    strange -= THOUGHTS
            for name in sorted(strange):
                if bytes(message[name]) not in SILENT:
                    dropped.append(f"messages[{index}].{printable(name, 40)}")
        if not self.developer and message.get("role") == DEVELOPER:
            made = {**made, "role": Raw(b'"system"')}
        if self.only_text and "content" in message:
            flat = _flat(message["content"], f"messages[{index}].content", vendor)
            made = made if flat is message["content"] else {**made, "content": flat}
        return made


THOUGHTS = frozenset({"reasoning", "reasoning_content", "thinking_blocks"})
FOREIGN = THOUGHTS | {"extra_content", "is_error", "reasoning_details"}
SILENT = frozenset({b"null", b"[]", b"false", b'""'})  # What answers carry of annotations and the like.


def _is_unsaid(message: Fields) -> bool:
    return bytes(message.get("content", b"null")) in SILENT


def _thought(message: Fields) -> Raw | None:
    for name in ("reasoning_content", "reasoning"):
        if bytes(message.get(name, b"null")) != b"null":
            return message[name]
    blocks = objects(message.get("thinking_blocks"))
    said = [text for block in blocks or [] if (text := text_in(block, "thinking"))]
    return encode("".join(said)) if said else None


def _flat(content: Raw, at: str, vendor: str) -> Raw:
    """The content as one text. Raises GatewayError naming the first part that is none."""
    parts = objects(content)
    if parts is None:
        return content
    said = []
    for index, part in enumerate(parts):
        kind = text_in(part, "type") or ""
        if kind not in ("text", "refusal"):
            raise unsupported(vendor, f"{at}[{index}].type", f"{vendor} takes only text, not '{printable(kind, 40)}'")
        said.append(text_in(part, kind) or "")
    return encode("\n".join(said))


class Hints(msgspec.Struct, frozen=True):
    """What a search of the bytes finds, which costs next to nothing: whether it is worth to look closer."""

    extended: bool  # Somewhere are fields of EXTENSIONS.
    pictured: bool


def hints(body: bytes) -> Hints:
    return Hints(any(name in body for name in EXTENSION_NAMES), b'"image_url"' in body)


EXTENSIONS = (("content", "cache_control"), ("tool_calls", "extra_content"))
"""What Anthropic's and Google's clients put inside parts and calls."""
EXTENSION_NAMES = tuple(f'"{name}"'.encode() for _, name in EXTENSIONS)


def _without_extensions(message: Fields, dropped: list[str]) -> Fields:
    for name, inside in EXTENSIONS:
        if name in message:
            value = without(message[name], inside, dropped)
            message = message if value is message[name] else {**message, name: value}
    return message


def without(raw: Raw, name: str, dropped: list[str]) -> Raw:
    """An array of objects without one of their fields."""
    found = objects(raw)
    if found is None or not any(name in one for one in found):
        return raw
    if name not in dropped:
        dropped.append(name)
    return encode([{key: value for key, value in one.items() if key != name} for one in found])


def with_tool_images_after(messages: list[Fields]) -> list[Fields]:
    """OpenAI's tool results are text: their images go into a message of the user behind the results."""
    if not any(_has_images(message) for message in messages):
        return messages
    out: list[Fields] = []
    images: list[Fields] = []
    for message in messages:
        if images and message.get("role") != TOOL:
            out.append(_shown(images))
            images = []
        if _has_images(message):
            parts = objects(message["content"]) or []
            images += [part for part in parts if text_in(part, "type") == "image_url"]
            rest = [part for part in parts if text_in(part, "type") != "image_url"]
            message = {**message, "content": encode(rest or TOOL_IMAGES)}
        out.append(message)
    return [*out, _shown(images)] if images else out


def _has_images(message: Fields) -> bool:
    return message.get("role") == TOOL and b'"image_url"' in bytes(message.get("content", b""))


def _shown(images: list[Fields]) -> Fields:
    return {"role": USER, "content": encode(images)}
