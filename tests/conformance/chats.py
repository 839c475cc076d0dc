"""What a chat may have besides words, each as a change to a plain one."""

import json
from collections.abc import Callable
from typing import Any

Tree = dict[str, Any]

URLS = {"azure": "https://example.openai.azure.com", "bedrock": "https://bedrock-runtime.us-east-1.amazonaws.com"}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SIGNED = {"type": "thinking", "thinking": "They want it brief.", "signature": "c2lnbmF0dXJl"}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": SCHEMA}}


def part(chat: Tree, **fields: Any) -> None:
    chat["messages"][-1]["content"] = [{"type": "text", "text": "Look."}, fields]


def option(**fields: Any) -> Callable[[Tree], None]:
    return lambda chat: chat.update(fields)


def with_tool(**fields: Any) -> Callable[[Tree], None]:
    return lambda chat: chat.update({"tools": [*chat.get("tools", []), TOOL], **fields})


def strict(chat: Tree) -> None:
    chat["tools"] = [{"type": "function", "function": {**tool["function"], "strict": True}} for tool in [TOOL]]


def before_last(*messages: Tree) -> Callable[[Tree], None]:
    def change(chat: Tree) -> None:
        chat["messages"][-1:-1] = [{"role": "user", "content": "Well?"}, *messages]

    return change


def called(content: str, *, is_error: bool = False, **fields: Any) -> Callable[[Tree], None]:
    call = {"id": "toolu_7", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}
    result: Tree = {"role": "tool", "tool_call_id": "toolu_7", "content": content}
    if is_error:
        result["is_error"] = True
    history = before_last({"role": "assistant", "content": None, "tool_calls": [call], **fields}, result)

    def change(chat: Tree) -> None:
        chat.setdefault("tools", [TOOL])
        history(chat)

    return change


def calls_alone(chat: Tree) -> None:
    """Calls in the history, and no tool any more."""
    called("It rains.")(chat)
    del chat["tools"]


def out_of_order(chat: Tree) -> None:
    """Two calls of one tool, and the second one's result first."""
    function = {"name": "get_weather", "arguments": "{}"}
    calls = [{"id": id, "type": "function", "function": function} for id in ("call_1", "call_2")]
    results = [{"role": "tool", "tool_call_id": id, "content": id} for id in ("call_2", "call_1")]
    chat["tools"] = [TOOL]
    before_last({"role": "assistant", "content": None, "tool_calls": calls}, *results)(chat)


FEATURES: dict[str, Callable[[Tree], None]] = {
    "tools": with_tool(),
    "tool history": called("It rains."),
    "tool history without tools": calls_alone,
    "nothing from a tool": called(""),
    "results in another order": out_of_order,
    "JSON from a tool": called('{"sky": ["grey", 1.5, null], "city": "Rome"}'),
    "failed tool": called("It broke.", is_error=True),
    "signed thinking": called("It rains.", thinking_blocks=[SIGNED]),
    "thinking": called("It rains.", reasoning_content="They want it brief."),
    "strict": strict,
    "choice none": with_tool(tool_choice="none"),
    "choice required": with_tool(tool_choice="required"),
    "choice named": with_tool(tool_choice={"type": "function", "function": {"name": "get_weather"}}),
    "one at a time": with_tool(parallel_tool_calls=False),
    "image": lambda chat: part(chat, type="image_url", image_url={"url": f"data:image/png;base64,{PIXEL}"}),
    "image url": lambda chat: part(chat, type="image_url", image_url={"url": "https://example.com/a.png"}),
    "developer": lambda chat: chat["messages"].insert(0, {"role": "developer", "content": "Be kind."}),
    "late instruction": before_last({"role": "assistant", "content": "So."}, {"role": "system", "content": "Be rude."}),
    "refusal": before_last({"role": "assistant", "content": None, "refusal": "I will not."}),
    "max_completion_tokens": option(max_completion_tokens=2000),
    "max_tokens": option(max_tokens=2000),
    "temperature": option(temperature=0.25),
    "top_p": option(top_p=0.5),
    "top_k": option(top_k=40),
    "n": option(n=2),
    "seed": option(seed=7),
    "penalties": option(presence_penalty=0.5, frequency_penalty=0.25),
    "stop": option(stop="END"),
    "stops": option(stop=["END", "FIN"]),
    "json": option(response_format={"type": "json_object"}),
    "schema": option(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}),
    "low effort": option(reasoning_effort="low"),
    "high effort": option(reasoning_effort="high"),
    "user": option(user="user-1"),
}

OPTIONS = frozenset(
    ("max_completion_tokens", "temperature", "top_p", "top_k", "n", "seed", "penalties", "stop", "stops", "json", "schema",
     "low effort", "high effort", "user", "developer", "late instruction", "refusal")
)  # fmt: skip

PLAIN: Tree = {
    "model": "m",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."}],
}


def plain() -> Tree:
    return json.loads(json.dumps(PLAIN))  # type: ignore[no-any-return]
