"""What of a request the answer to it is compared with, and whether the request holds anything that an answer could betray."""

from typing import Any

import msgspec
from msgspec import Struct

from llmproxy.common.answers import Answers
from llmproxy.common.envelope import Api
from llmproxy.common.segments import Role, Turns, roles
from llmproxy.common.segments.names import RETURNED, RETURNED_PARTS

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
RETURNED_TYPES = ("tool_result", "search_result", "_output")
"""What types of parts end with that a tool gave, or a search."""

TOOLS = ("tools", "functions")
DEFINITIONS = (*TOOLS, "response_format", "text", "generationConfig", "generation_config", "output_config")
"""What an answer is to look like, and what may be called in it."""

APART = frozenset((*SYSTEM_FIELDS, *DEFINITIONS))
ELSEWHERE = frozenset(
    ["previous_response_id", "conversation", "cachedContent", "cached_content", "mcp_servers", "documents", "plugins",
     "web_search_options", "search_parameters"]
)  # fmt: skip
"""Fields that bring texts with them that the request does not say: turns, instructions and tools that a provider keeps, what it or
somebody else looks up."""

BESIDE_MESSAGES = APART.union(TURNS, PROMPTS, ELSEWHERE) - {"messages"}
"""Fields that may say something, too."""

SAYING = ("content", "parts", "text")
RESULT_KEYS = RETURNED | RETURNED_PARTS


class Asked(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The words of one request."""

    system: str = ""  # What its system and developer messages say.
    users: str = ""  # What its users say: not what a model has said, nor what a tool gave it.
    said: str = ""  # Every text of it.
    definitions: str = ""  # Its tools and the forms that it wants, as JSON.
    canary: str = ""  # The marker that was put into its system text.
    is_exposed: bool = False  # It has something that an answer could betray, or be turned by.


NOTHING = Asked()


def asked(tree: dict[str, Any], said: str, plain: Turns | None = None) -> Asked:
    """Of the tree of a body, all its texts, and what `plain_turns` says of its messages."""
    system: list[str] = []
    users: list[str] = []
    if plain is not None and BESIDE_MESSAGES.isdisjoint(tree):  # Most bodies are turns and nothing else.
        is_exposed = _read_plain(plain, system, users)
        return _asked(system, users, said, "", is_exposed=is_exposed)
    is_exposed = False
    if not APART.isdisjoint(tree):
        system += [text for name in SYSTEM_FIELDS if (value := tree.get(name)) is not None for text in _texts(value)]
        is_exposed = any(map(tree.get, TOOLS))
    if not ELSEWHERE.isdisjoint(tree):
        is_exposed = is_exposed or any(tree.get(name) is not None for name in ELSEWHERE)
    for name in TURNS:
        turns = tree.get(name)
        if name == "messages" and plain is not None:
            is_exposed = _read_plain(plain, system, users) or is_exposed
        elif type(turns) is list:
            is_exposed = _read(name, turns, roles(tree), system, users) or is_exposed
    for name in PROMPTS:
        prompt = tree.get(name)
        if type(prompt) is str:
            users.append(prompt)
        elif type(prompt) is list:
            users += [one for one in prompt if type(one) is str]
        elif type(prompt) is dict:  # Of the Responses API: a text with instructions and tools that the provider keeps.
            is_exposed = True
    return _asked(system, users, said, _definitions(tree), is_exposed=is_exposed)


def _asked(system: list[str], users: list[str], said: str, definitions: str, *, is_exposed: bool) -> Asked:
    system_text = "\n".join(system)
    return Asked(
        system=system_text[:SAID_CHARS_MAX],
        users="\n".join(users)[:SAID_CHARS_MAX],
        said=said[:SAID_CHARS_MAX],
        definitions=definitions,
        is_exposed=is_exposed or bool(system_text),
    )


def _read_plain(turns: Turns, system: list[str], users: list[str]) -> bool:
    """As `_read`."""
    is_exposed = False
    for role, text in zip(turns.roles, turns.contents, strict=True):
        if role == "user":
            users.append(text)
        elif role in TRUSTED_ROLES:
            system.append(text)
        elif role in TOOL_ROLES:
            is_exposed = True
    return is_exposed


def _read(name: str, turns: list[Any], role_of: Role, system: list[str], users: list[str]) -> bool:
    """Sorts the texts of turns; says whether one of them has what a tool gave."""
    is_exposed = False
    for place, turn in enumerate(turns):
        # A message states its role; to know that of an item or a content takes more.
        stated = turn.get("role") if name == "messages" and type(turn) is dict else None
        role = stated if type(stated) is str else role_of((name, place))
        if role == "user":
            users += _texts(turn)
        elif role in TRUSTED_ROLES:
            system += _texts(turn)
        is_exposed = is_exposed or role in TOOL_ROLES or _is_result(turn) or any(map(_is_result, _parts(turn)))
    return is_exposed


def is_inspected(answers: Answers, request: Asked, *, is_masked: bool) -> bool:
    match answers.when:
        case "always":
            return True
        case "exposed":
            return is_masked or request.is_exposed or bool(request.canary)
        case "never":
            return False


def _definitions(tree: dict[str, Any]) -> str:
    found = [value for name in DEFINITIONS if (value := tree.get(name)) and type(value) in (dict, list)]
    written = msgspec.json.encode(found).decode() if found else ""
    return written if len(written) <= SAID_CHARS_MAX else ""


def _parts(turn: Any) -> list[Any]:
    parts = (turn.get("content") or turn.get("parts")) if type(turn) is dict else None
    return parts if type(parts) is list else []


def _is_result(part: Any) -> bool:
    if type(part) is not dict:
        return False
    return _is_returned(part) or not RESULT_KEYS.isdisjoint(part)


def _texts(value: Any) -> list[str]:
    """The texts of a message, whatever its form: a string, parts, contents with parts."""
    if type(value) is str:
        return [value]
    if type(value) is list:
        return [text for item in value for text in _texts(item)]
    if type(value) is not dict or _is_returned(value):
        return []
    said = value.get("content")
    if type(said) is str and "parts" not in value and "text" not in value:
        return [said]
    return [text for name in SAYING if name in value for text in _texts(value[name])]


def _is_returned(part: dict[str, Any]) -> bool:
    kind = part.get("type")
    return kind is not None and str(kind).endswith(RETURNED_TYPES)
