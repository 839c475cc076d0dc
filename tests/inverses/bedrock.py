"""Bedrock's Converse, for Claude, read back."""

import json
from typing import Any

from inverses.meaning import Meaning, Teller, dumped

JSON_ONLY = "Answer with one valid JSON object and nothing else"


def bedrock(body: dict[str, Any]) -> Meaning:
    teller = Teller()
    json_mode = None
    for block in body.get("system") or []:
        if block["text"].startswith(JSON_ONLY):
            json_mode = True
        else:
            teller.instruct(block["text"])
    for message in body["messages"]:
        for block in message["content"]:
            _block(teller, message["role"], block)
    config, more = body.get("inferenceConfig") or {}, body.get("additionalModelRequestFields") or {}
    tool_config = body.get("toolConfig") or {}
    choice = tool_config.get("toolChoice") or {}
    native = ((body.get("outputConfig") or {}).get("textFormat") or {}).get("structure") or {}
    options = {
        "max_tokens": config.get("maxTokens"),
        "temperature": config.get("temperature"),
        "top_p": config.get("topP"),
        "top_k": more.get("top_k"),
        "stop": config.get("stopSequences"),
        "choice": "required" if "any" in choice else (choice.get("tool") or {}).get("name"),
        "one_at_a_time": (more.get("tool_choice") or {}).get("disable_parallel_tool_use"),
        "json": json_mode,
        "schema": json.loads(native["jsonSchema"]["schema"]) if native else None,
        "effort": (more.get("output_config") or {}).get("effort"),
    }
    specified = [tool["toolSpec"] for tool in tool_config.get("tools") or []]
    tools = [
        (tool["name"], tool.get("description", ""), tool["inputSchema"]["json"], tool.get("strict", False))
        for tool in specified
    ]
    return teller.told(tools, options)


def _block(teller: Teller, role: str, block: dict[str, Any]) -> None:
    match block:
        case {"text": text}:
            teller.text(role, text)
        case {"image": {"format": form, "source": {"bytes": data}}}:
            teller.say(role, ("image", f"image/{form}", data))
        case {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}:
            teller.say(role, ("sealed", dumped({"type": "thinking", "thinking": text, "signature": signature})))
        case {"toolUse": use}:
            teller.call(use["name"], use["input"], use["toolUseId"])
        case {"toolResult": result}:
            content = "\n".join(part["text"] if "text" in part else dumped(part["json"]) for part in result["content"])
            teller.result(content, result["toolUseId"], is_error=result.get("status") == "error")
        case _:
            raise AssertionError(block)
