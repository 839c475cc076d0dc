"""Requests to the vendors that speak OpenAI's format, with their own names for a few fields, read back."""

from typing import Any

from inverses.meaning import Meaning, chat

HEARD = {"role": "assistant", "content": "OK."}
NAMES = {"random_seed": "seed"}


def compatible(body: dict[str, Any]) -> Meaning:
    read = {NAMES.get(name, name): value for name, value in body.items()}
    if read.get("tool_choice") == "any":
        read["tool_choice"] = "required"
    if "reasoning" in read:  # OpenRouter's place for it.
        read["reasoning_effort"] = read["reasoning"]["effort"]
    return chat({**read, "messages": [_message(message) for message in read["messages"]]})


def mistral(body: dict[str, Any]) -> Meaning:
    """Between the results of tools and the user it wants to hear the assistant, who then says nothing of weight."""
    messages = body["messages"]
    before = [None, *messages]
    kept = [
        one for one, last in zip(messages, before, strict=False) if one != HEARD or not last or last["role"] != "tool"
    ]
    return compatible({**body, "messages": kept})


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """Mistral has thoughts among the parts of the content, OpenRouter its own form of what was signed."""
    if "reasoning_details" in message:
        blocks = [
            {"type": "thinking", "thinking": one["text"], "signature": one["signature"]}
            for one in message["reasoning_details"]
        ]
        return {**message, "thinking_blocks": blocks}
    content = message.get("content")
    if message["role"] != "assistant" or not isinstance(content, list):
        return message
    thought = [one["text"] for part in content if part["type"] == "thinking" for one in part["thinking"]]
    texts = [part for part in content if part["type"] == "text"]
    return {**message, "content": texts or None, **({"reasoning_content": "\n".join(thought)} if thought else {})}
