"""OpenAI's Responses API, read back."""

import json
from typing import Any

from inverses.meaning import Meaning, Teller, from_url


def responses(body: dict[str, Any]) -> Meaning:
    teller = Teller()
    for item in body["input"]:
        _item(teller, item)
    choice, form = body.get("tool_choice"), (body.get("text") or {}).get("format") or {}
    options = {
        "max_tokens": body.get("max_output_tokens"),
        "temperature": body.get("temperature"),
        "top_p": body.get("top_p"),
        "choice": choice["name"] if isinstance(choice, dict) else None if choice == "auto" else choice,
        "one_at_a_time": True if body.get("parallel_tool_calls") is False else None,
        "json": True if form.get("type") == "json_object" else None,
        "schema": form.get("schema"),
        "effort": (body.get("reasoning") or {}).get("effort"),
        "user": body.get("user"),
    }
    tools = [
        (tool["name"], tool.get("description", ""), tool["parameters"], tool["strict"])
        for tool in body.get("tools") or []
    ]
    return teller.told(tools, options)


def _item(teller: Teller, item: dict[str, Any]) -> None:
    content = item.get("content")
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content or []
    match item:
        case {"role": "system" | "developer"}:
            for part in parts:
                teller.instruct(part["text"])
        case {"role": role}:
            for part in parts:
                if part["type"] == "input_image":
                    teller.say(role, from_url(part["image_url"]))
                else:
                    teller.text(role, part.get("text") or part.get("refusal"))
        case {"type": "function_call", "name": name, "arguments": arguments, "call_id": id}:
            teller.call(name, json.loads(arguments), id)
        case {"type": "function_call_output", "output": str(output), "call_id": id}:
            teller.result(output, id)
        case _:
            raise AssertionError(item)
