"""Ollama's chat, read back. Its images have no place among the words and no type."""

from typing import Any

from inverses.meaning import NUMBERS, Meaning, Teller, lines


def ollama(body: dict[str, Any]) -> Meaning:
    teller = Teller()
    for message in body["messages"]:
        match message["role"]:
            case "system":
                teller.instruct(message["content"])
            case "tool":
                teller.result(message["content"], name=message["tool_name"])
            case role:
                teller.say(role, *(("thought", line) for line in lines(message.get("thinking"))))
                teller.text(role, message["content"])
                teller.say(role, *(("image", "", data) for data in message.get("images", ())))
                for call in message.get("tool_calls", ()):
                    teller.call(call["function"]["name"], call["function"]["arguments"])
    given = body.get("options") or {}
    form, think = body.get("format"), body.get("think")
    options = {
        "max_tokens": given.get("num_predict"),
        **{name: given.get(name) for name in NUMBERS},
        "stop": given.get("stop"),
        "json": True if form == "json" else None,
        "schema": form if isinstance(form, dict) else None,
        "effort": think if isinstance(think, str) else None,
    }
    functions = [tool["function"] for tool in body.get("tools") or []]
    tools = [(tool["name"], tool.get("description", ""), tool["parameters"], False) for tool in functions]
    return teller.told(tools, options)
