"""What a conversation says, whoever's words it is written in: the common ground that two requests are compared on."""

import json
from dataclasses import dataclass, field
from typing import Any

Item = tuple[Any, ...]
"""("text", line), ("image", type, data or address), ("call", number, name, arguments), ("result", number, value, is_error),
("thought", text), ("sealed", block)."""


@dataclass(frozen=True)
class Meaning:
    """`options` has only what was asked for."""

    system: list[str]
    turns: list[tuple[str, list[Item]]]  # (side, items): what one side says in a row is one turn.
    tools: list[tuple[str, str, Any, bool | None]] = field(default_factory=list)  # (name, description, schema, strict)
    options: dict[str, Any] = field(default_factory=dict)


class Teller:
    """Collects what is said in order. Ids of calls differ from vendor to vendor, so calls are numbered."""

    def __init__(self) -> None:
        self.system: list[str] = []
        self.turns: list[tuple[str, list[Item]]] = []
        self._numbers: dict[str, int] = {}
        self._open: list[tuple[int, str]] = []  # Calls without a result, with their names.
        self._calls = 0

    def instruct(self, text: str | None) -> None:
        self.system += lines(text)

    def say(self, side: str, *items: Item) -> None:
        if not items:
            return
        if not self.turns or self.turns[-1][0] != side:
            self.turns.append((side, []))
        self.turns[-1][1].extend(items)

    def text(self, side: str, text: str | None) -> None:
        self.say(side, *(("text", line) for line in lines(text)))

    def call(self, name: str, arguments: Any, id: str = "") -> None:
        self._calls += 1
        self._open.append((self._calls, name))
        if id:
            self._numbers[id] = self._calls
        self.say("assistant", ("call", self._calls, name, dumped(arguments)))

    def result(self, value: str | dict[str, Any], id: str = "", name: str = "", *, is_error: bool = False) -> None:
        """Of the call with this id; without one, of the first open call of that name."""
        number = self._numbers.get(id) or next(number for number, called in self._open if called == name)
        self._open = [one for one in self._open if one[0] != number]
        self.say("user", ("result", number, result_value(value), is_error))

    def told(self, tools: list[tuple[str, str, Any, bool | None]], options: dict[str, Any]) -> Meaning:
        return Meaning(
            self.system, self.turns, tools, {key: value for key, value in options.items() if value is not None}
        )


def lines(text: str | None) -> list[str]:
    """Vendors join and split texts at line breaks, and refuse blank ones."""
    return [line for line in (text or "").split("\n") if line.strip()]


def dumped(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def result_value(value: str | dict[str, Any]) -> Any:
    """A result that is a JSON object is one, whether it is written as a text or not."""
    try:
        read = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        read = None
    return dumped(read) if isinstance(read, dict) else lines(str(value))


def from_url(url: str) -> Item:
    """An image, from a data URL or an address."""
    if not url.startswith("data:"):
        return ("image", "", url)
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    return ("image", kind, data)


def chat(body: dict[str, Any]) -> Meaning:
    """Of OpenAI's chat completions, with the extensions that the gateway's canonical form has."""
    teller = Teller()
    for message in body["messages"]:
        content = message.get("content")
        match message["role"]:
            case "system" | "developer":
                for text in _texts(content):
                    teller.instruct(text)
            case "tool":
                texts = "\n".join(_texts(content))
                teller.result(texts, message["tool_call_id"], is_error=bool(message.get("is_error")))
            case "user":
                for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
                    _part(teller, part)
            case "assistant":
                _assistant(teller, message)
            case role:
                raise AssertionError(role)
    tools = [one["function"] for one in body.get("tools") or []]
    return teller.told(
        [
            (tool["name"], tool.get("description") or "", tool.get("parameters"), bool(tool.get("strict")))
            for tool in tools
        ],
        _options(body),
    )


def _texts(content: Any) -> list[str]:
    return [content] if isinstance(content, str) else [part["text"] for part in content or []]


def _part(teller: Teller, part: dict[str, Any]) -> None:
    match part["type"]:
        case "text":
            teller.text("user", part["text"])
        case "image_url":
            teller.say("user", from_url(part["image_url"]["url"]))
        case kind:
            raise AssertionError(kind)


def _assistant(teller: Teller, message: dict[str, Any]) -> None:
    blocks = message.get("thinking_blocks")
    for block in blocks or []:
        teller.say("assistant", ("sealed", dumped(block)))
    thought = message.get("reasoning_content") or message.get("reasoning")
    if thought and not blocks:
        teller.say("assistant", *(("thought", line) for line in lines(thought)))
    for text in _texts(message.get("content")):
        teller.text("assistant", text)
    teller.text("assistant", message.get("refusal"))
    for call in message.get("tool_calls") or []:
        teller.call(call["function"]["name"], json.loads(call["function"]["arguments"]), call["id"])


def _options(body: dict[str, Any]) -> dict[str, Any]:
    choice = body.get("tool_choice")
    form = body.get("response_format") or {}
    stop = body.get("stop")
    return {
        "max_tokens": body.get("max_completion_tokens") or body.get("max_tokens"),
        **{name: body.get(name) for name in NUMBERS},
        "stop": [stop] if isinstance(stop, str) else stop,
        "choice": choice["function"]["name"] if isinstance(choice, dict) else None if choice == "auto" else choice,
        "one_at_a_time": True if body.get("parallel_tool_calls") is False else None,
        "json": True if form.get("type") == "json_object" else None,
        "schema": form["json_schema"]["schema"] if form.get("type") == "json_schema" else None,
        "effort": body.get("reasoning_effort"),
        "user": body.get("user"),
    }


NUMBERS = ("temperature", "top_p", "top_k", "n", "seed", "presence_penalty", "frequency_penalty")
