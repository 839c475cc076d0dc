"""Anthropic's messages, read back."""

from typing import Any

from inverses.meaning import Meaning, Teller, dumped

JSON_ONLY = "Answer with one valid JSON object and nothing else"


def anthropic(body: dict[str, Any]) -> Meaning:
    teller = Teller()
    json_mode = None
    for block in body.get("system") or []:
        if block["text"].startswith(JSON_ONLY):
            json_mode = True
        else:
            teller.instruct(block["text"])
    for message in body["messages"]:
        content = message["content"]
        for block in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            _block(teller, message["role"], block)
    choice = body.get("tool_choice") or {}
    config = body.get("output_config") or {}
    options = {
        "max_tokens": body["max_tokens"],
        **{name: body.get(name) for name in ("temperature", "top_p", "top_k")},
        "stop": body.get("stop_sequences"),
        "choice": {"any": "required", "none": "none", "tool": choice.get("name")}.get(choice.get("type", "")),
        "one_at_a_time": choice.get("disable_parallel_tool_use"),
        "json": json_mode,
        "schema": (config.get("format") or {}).get("schema"),
        "effort": config.get("effort"),
        "user": (body.get("metadata") or {}).get("user_id"),
    }
    tools = [
        (tool["name"], tool.get("description", ""), tool["input_schema"], tool.get("strict", False))
        for tool in body.get("tools") or []
    ]
    return teller.told(tools, options)


def _block(teller: Teller, role: str, block: dict[str, Any]) -> None:
    match block["type"]:
        case "text":
            teller.text(role, block["text"])
        case "image":
            source = block["source"]
            is_address = source["type"] == "url"
            teller.say(
                role, ("image", "", source["url"]) if is_address else ("image", source["media_type"], source["data"])
            )
        case "thinking" | "redacted_thinking":
            teller.say(role, ("sealed", dumped(block)))
        case "tool_use":
            teller.call(block["name"], block["input"], block["id"])
        case "tool_result":
            content = block.get("content", "")
            texts = content if isinstance(content, str) else "\n".join(part["text"] for part in content)
            teller.result(texts, block["tool_use_id"], is_error=block.get("is_error", False))
        case kind:
            raise AssertionError(kind)
