"""Cohere's chat, read back."""

import json
from typing import Any

from inverses.meaning import Meaning, Teller, from_url, lines

EFFORTS = {1024: "low", 4096: "medium", 16_384: "high"}


def cohere(body: dict[str, Any]) -> Meaning:
    teller = Teller()
    for message in body["messages"]:
        content = message.get("content") or []
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        match message["role"]:
            case "system":
                teller.instruct(content)
            case "tool":
                teller.result(message["content"], message["tool_call_id"])
            case role:
                for part in parts:
                    _part(teller, role, part)
                teller.text(role, message.get("tool_plan"))
                for call in message.get("tool_calls", ()):
                    teller.call(call["function"]["name"], json.loads(call["function"]["arguments"]), call["id"])
    form = body.get("response_format") or {}
    schema = form.get("json_schema")
    functions = [tool["function"] for tool in body.get("tools") or []]
    options = {
        **{
            name: body.get(name)
            for name in ("max_tokens", "temperature", "seed", "presence_penalty", "frequency_penalty")
        },
        "top_p": body.get("p"),
        "top_k": body.get("k"),
        "stop": body.get("stop_sequences"),
        "choice": {"REQUIRED": "required", "NONE": "none"}.get(body.get("tool_choice", "")),
        "json": True if form and schema is None else None,
        "schema": schema,
        "effort": EFFORTS.get((body.get("thinking") or {}).get("token_budget", 0)),
    }
    is_strict = body.get("strict_tools", False)
    tools = [(tool["name"], tool.get("description", ""), tool["parameters"], is_strict) for tool in functions]
    return teller.told(tools, options)


def _part(teller: Teller, role: str, part: dict[str, Any]) -> None:
    match part["type"]:
        case "text":
            teller.text(role, part["text"])
        case "thinking":
            teller.say(role, *(("thought", line) for line in lines(part["thinking"])))
        case "image_url":
            teller.say(role, from_url(part["image_url"]["url"]))
        case kind:
            raise AssertionError(kind)
