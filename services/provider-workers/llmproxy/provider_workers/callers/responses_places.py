"""Where a request of the Responses API has what stands at a path of its canonical form."""

from collections.abc import Mapping
from typing import Any

from llmproxy.provider_workers.callers.responses_request import TOOL, Conversation, Item, Request, item, parts_of, tools
from llmproxy.provider_workers.written import ENTRY, FUNCTION, MESSAGE, inside, nth, renamed
from llmproxy.provider_workers.written import TOOL as TOOL_AT

NAMES: Mapping[str, str] = {
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "response_format.json_schema": "text.format",
    "verbosity": "text.verbosity",
    "logprobs": "include",
    "tool_choice.function": "tool_choice",
}
TOOL_NAMES = {**FUNCTION, "function.parameters": "parameters", "type": "type"}
CALL_NAMES = {
    "id": "call_id",
    "type": "type",
    "function": "",
    "function.name": "name",
    "function.arguments": "arguments",
}
MESSAGE_NAMES = {"role": "role", "content": "content"}
OUTPUT_NAMES = {"role": "type", "content": "output", "tool_call_id": "call_id"}
PART_NAMES = {name: name for name in ("type", "text", "image_url", "input_audio", "file")}
PART_NAMES |= {"image_url.url": "image_url", "image_url.detail": "detail"}
PART_NAMES |= {"file": "", "file.file_data": "file_data", "file.file_id": "file_id", "file.filename": "filename"}


def place(request: Request, path: str) -> str:
    """See `Caller.place`."""
    if (found := MESSAGE.fullmatch(path)) is not None:
        return item_place(request, int(found[1]), found[2])
    if (found := TOOL_AT.fullmatch(path)) is not None:
        return tool_place(request, int(found[1]), found[2])
    return renamed({**NAMES, "logprobs": "top_logprobs"} if request.top_logprobs else NAMES, path)


def tool_place(request: Request, number: int, rest: str) -> str:
    """Of those that are offered: a choice may leave some out."""
    names = [TOOL.decode(raw).name for raw in request.tools or ()]
    offered = tools(request).get("tools", [])
    if number >= len(offered):
        return "tools"
    return inside(f"tools[{names.index(offered[number]['function']['name'])}]", TOOL_NAMES, rest)


def item_place(request: Request, number: int, rest: str) -> str:
    """In the item with which the message, and what `rest` names of it, came into being."""
    conversation = Conversation([])
    if request.instructions:
        conversation.messages.append({"role": "system", "content": request.instructions})
        if number == 0:
            return "instructions"
    otherwise = "input"
    for index, raw in enumerate(request.input if isinstance(request.input, list) else ()):
        at = f"input[{index}]"
        one = item(raw, at)
        before = len(conversation.messages) > number and len(parts_of(conversation.messages[number].get("content")))
        conversation.add(one, at)
        if len(conversation.messages) <= number:
            continue
        if holds(conversation.messages[number], rest):
            return within(one, at, rest, before)
        otherwise = at if otherwise == "input" else otherwise
    return otherwise


def holds(message: dict[str, Any], rest: str) -> bool:
    found = ENTRY.fullmatch(rest)
    if found is None:
        return not rest or rest.partition(".")[0] in message
    value = message.get(found[1])
    return len(parts_of(value) if found[1] == "content" else value or ()) > int(found[2])


def within(one: Item, at: str, rest: str, before: int) -> str:
    """`before`: how many parts the message had of other items."""
    found = ENTRY.fullmatch(rest)
    match one.type:
        case "function_call":
            return inside(at, CALL_NAMES, found[3]) if found is not None else at
        case "reasoning":
            return at if found is None else f"{at}.encrypted_content"
    names = OUTPUT_NAMES if one.type == "function_call_output" else MESSAGE_NAMES
    content = one.output if one.type == "function_call_output" else one.content
    if found is None or not isinstance(content, list):
        return inside(at, names, rest)
    here = f"{at}.{names['content']}"
    texts = [f"{here}[{i}]" for i, part in enumerate(content) if one.role != "assistant" or part.type != "refusal"]
    return inside(nth(texts, int(found[2]) - before, here), PART_NAMES, found[3])
