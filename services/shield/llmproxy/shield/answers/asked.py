"""What of a request the answer to it is compared with, and whether the request holds anything that an answer could betray."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from llmproxy.common.answers import Answers
from llmproxy.common.envelope import Api
from llmproxy.common.segments import roles

SPOKEN: frozenset[Api] = frozenset(
    {"chat", "completions", "responses", "messages", "gemini", "transcriptions", "images"}
)
"""APIs whose answers have text that a model wrote: of pictures the prompt, as the vendor's model has revised it."""

SAID_CHARS_MAX = 1 << 20
"""Of the request's text, kept while its answer comes. What is behind it counts as not said, so more is found."""

TRUSTED_ROLES = frozenset({"system", "developer"})
TOOL_ROLES = frozenset({"tool", "function"})
SYSTEM_FIELDS = ("system", "instructions", "systemInstruction", "system_instruction")
TURNS = ("messages", "input", "contents")
PROMPTS = ("prompt", "input")
RETURNED = ("tool_result", "_output")  # What types of parts end with that a tool gave.
TOOLS = ("tools", "functions")
DEFINITIONS = (*TOOLS, "response_format", "text", "generationConfig", "generation_config", "output_config")
"""What an answer is to look like, and what may be called in it."""

RESULT_KEYS = ("functionResponse", "function_response")


class Asked(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The words of one request."""

    system: str = ""  # What its system and developer messages say.
    users: str = ""  # What its users say: not what a model has said, nor what a tool gave it.
    said: str = ""  # Every text of it.
    definitions: str = ""  # Its tools and the forms that it wants, as JSON.
    canary: str = ""  # The marker that was put into its system text.
    is_exposed: bool = False  # It has something that an answer could betray, or be turned by.


NOTHING = Asked()


def asked(tree: Any, said: str) -> Asked:
    """Of the tree of a body, and all its texts."""
    system = "\n".join(_system(tree))
    return Asked(
        system=system,
        users="\n".join(_users(tree)),
        said=said[:SAID_CHARS_MAX],
        definitions=_definitions(tree),
        is_exposed=bool(system) or any(tree.get(name) for name in TOOLS) or _has_results(tree),
    )


def is_inspected(answers: Answers, request: Asked, *, is_masked: bool) -> bool:
    match answers.when:
        case "always":
            return True
        case "exposed":
            return is_masked or request.is_exposed or bool(request.canary)
        case "never":
            return False


def _system(tree: dict[str, Any]) -> Iterator[str]:
    for name in SYSTEM_FIELDS:
        if (value := tree.get(name)) is not None:
            yield from _texts(value)
    for role, turn in _turns(tree):
        if role in TRUSTED_ROLES:
            yield from _texts(turn)


def _users(tree: dict[str, Any]) -> Iterator[str]:
    for role, turn in _turns(tree):
        if role == "user":
            yield from _texts(turn)
    for name in PROMPTS:
        prompt = tree.get(name)
        if type(prompt) is str:
            yield prompt
        elif type(prompt) is list:
            yield from (one for one in prompt if type(one) is str)


def _definitions(tree: dict[str, Any]) -> str:
    found = [value for name in DEFINITIONS if (value := tree.get(name)) and type(value) in (dict, list)]
    written = msgspec.json.encode(found).decode() if found else ""
    return written if len(written) <= SAID_CHARS_MAX else ""


def _has_results(tree: dict[str, Any]) -> bool:
    """Whether there is something that a tool gave."""
    return any(
        role in TOOL_ROLES or _is_result(turn) or any(map(_is_result, _parts(turn))) for role, turn in _turns(tree)
    )


def _parts(turn: Any) -> list[Any]:
    parts = (turn.get("content") or turn.get("parts")) if type(turn) is dict else None
    return parts if type(parts) is list else []


def _is_result(part: Any) -> bool:
    if type(part) is not dict:
        return False
    return str(part.get("type", "")).endswith(RETURNED) or any(key in part for key in RESULT_KEYS)


def _turns(tree: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    role = roles(tree)
    for name in TURNS:
        turns = tree.get(name)
        if type(turns) is list:
            for place, turn in enumerate(turns):
                yield role((name, place)), turn


def _texts(value: Any) -> Iterator[str]:
    """The texts of a message, whatever its form: a string, parts, contents with parts."""
    if type(value) is str:
        yield value
    elif type(value) is list:
        for item in value:
            yield from _texts(item)
    elif type(value) is dict and not str(value.get("type", "")).endswith(RETURNED):
        for name in ("content", "parts", "text"):
            if name in value:
                yield from _texts(value[name])
