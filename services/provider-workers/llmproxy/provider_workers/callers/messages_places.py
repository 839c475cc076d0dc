"""Where a request to the Messages API has what stands at a path of its canonical form."""

from collections.abc import Mapping

from msgspec import Raw

from llmproxy.provider_workers.callers.messages_request import Reading, ours
from llmproxy.provider_workers.callers.messages_shapes import (
    Content,
    Redacted,
    Text,
    Thought,
    ToolResult,
    ToolUse,
    Turn,
)
from llmproxy.provider_workers.written import ENTRY, FUNCTION, MESSAGE, TOOL, brackets, inside, nth, renamed

NAMES: Mapping[str, str] = {
    "max_completion_tokens": "max_tokens",
    "stop": "stop_sequences",
    "reasoning_effort": "thinking",
    "response_format": "output_config.format",
    **dict.fromkeys(
        (f"response_format.json_schema{field}" for field in ("", ".name", ".strict")), "output_config.format"
    ),
    "tool_choice.function": "tool_choice",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "user": "metadata.user_id",
}
TOOL_NAMES = {**FUNCTION, "function.parameters": "input_schema", "type": "type", "cache_control": "cache_control"}
CALL_NAMES = {"id": "id", "type": "type", "function": "", "function.name": "name", "function.arguments": "input"}
RESULT_NAMES = {"tool_call_id": "tool_use_id", "content": "content", "is_error": "is_error", "role": "type"}
PART_NAMES = {"type": "type", "cache_control": "cache_control", "file.filename": "title"}
PART_NAMES |= dict.fromkeys(("image_url", "image_url.url", "file", "file.file_data"), "source")
TEXT_NAMES = {**PART_NAMES, "text": "text"}


def place(reading: Reading, path: str) -> str:
    """See `Caller.place`."""
    path = brackets(path)
    if (found := MESSAGE.fullmatch(path)) is not None:
        return _message(reading, int(found[1]), found[2])
    if (found := TOOL.fullmatch(path)) is not None:
        return inside(f"tools[{found[1]}]", TOOL_NAMES, found[2])
    config, names = reading.request.output_config, dict(NAMES)
    if config is not None and config.effort is not None:
        names["reasoning_effort"] = "output_config.effort"
    if config is None or config.format is None:
        names["response_format"] = names["response_format.json_schema"] = "output_format"
    return renamed(names, path)


def _message(reading: Reading, number: int, rest: str) -> str:
    if reading.request.system:
        if number == 0:
            return inside("", {"content": "system"}, rest) or "system"
        number -= 1
    for index, turn in enumerate(reading.request.messages):
        at, content = f"messages[{index}].content", turn.content
        if turn.role != "user" or isinstance(content, str):
            results, made = [], 1
        else:
            results = [one for one in reading.blocks(content, at) if isinstance(one[0], ToolResult)]
            made = len(list(reading.user_turn(content, at)))
        if number < len(results):
            return _result(reading, *results[number], rest)
        if number < made:
            return f"messages[{index}].role" if rest == "role" else _turn(reading, turn, at, rest)
        number -= made
    return "messages"


def _result(reading: Reading, block: Content, at: str, rest: str) -> str:
    found = ENTRY.fullmatch(rest)
    if found is None or not isinstance(block, ToolResult) or not isinstance(block.content, list):
        return inside(at, RESULT_NAMES, rest)
    return _part(reading, block.content, f"{at}.content", int(found[2]), found[3])


def _turn(reading: Reading, turn: Turn, at: str, rest: str) -> str:
    found = ENTRY.fullmatch(rest)
    if found is None or isinstance(turn.content, str):
        return at
    kind, number, tail = found[1], int(found[2]), found[3]
    if turn.role != "assistant":
        return _part(reading, turn.content, at, number, tail)
    kinds: dict[str, list[str]] = {"content": [], "tool_calls": [], "thinking_blocks": []}
    for block, here in reading.blocks(turn.content, at):
        match block:
            case Text():
                kinds["content"].append(here)
            case ToolUse():
                kinds["tool_calls"].append(here)
            case Thought(signature=signature) if ours(signature, here) is None:
                kinds["thinking_blocks"].append(here)
            case Redacted():
                kinds["thinking_blocks"].append(here)
    names = CALL_NAMES if kind == "tool_calls" else TEXT_NAMES
    return inside(nth(kinds.get(kind, []), number, at), names, tail)


def _part(reading: Reading, content: list[Raw], at: str, number: int, rest: str) -> str:
    """In the block that became the part of this number; one may become several."""
    for block, here in reading.blocks(content, at):
        if not isinstance(block, ToolResult):
            number -= len(reading.parts(block, here))
            if number < 0:
                return inside(here, TEXT_NAMES if isinstance(block, Text) else PART_NAMES, rest)
    return at
