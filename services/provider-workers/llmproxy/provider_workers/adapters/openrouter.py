"""OpenRouter. https://openrouter.ai/docs/api-reference/chat-completion

It passes on to many vendors, so it takes nearly everything; the charge that it names is what is booked.
"""

from msgspec import Raw

from llmproxy.provider_workers.compatible import Compatible, charged
from llmproxy.provider_workers.compatible_requests import FIELDS, Fields, Messages, encode, objects, text_in
from llmproxy.provider_workers.natives.embeddings import Embeddings
from llmproxy.provider_workers.reading import UNREADABLE
from llmproxy.provider_workers.wire import Target

URL = "https://openrouter.ai/api/v1"


def rewrite(fields: Fields, target: Target, dropped: list[str]) -> None:
    """Anthropic's `thinking` and signed blocks have their own words there."""
    if "thinking" in fields:
        thinking = fields.pop("thinking")
        if "reasoning" not in fields and "reasoning_effort" not in fields:
            fields["reasoning"] = encode(_reasoning(thinking))
    messages = objects(fields.get("messages"))
    if messages and any("thinking_blocks" in message for message in messages):
        fields["messages"] = encode([_with_details(message) for message in messages])


def _reasoning(thinking: Raw) -> dict[str, object]:
    try:
        asked = FIELDS.decode(thinking)
    except UNREADABLE:
        return {}
    if text_in(asked, "type") == "disabled":
        return {"enabled": False}
    return {"max_tokens": asked["budget_tokens"]} if "budget_tokens" in asked else {"enabled": True}


def _with_details(message: Fields) -> Fields:
    blocks = objects(message.get("thinking_blocks"))
    if not blocks:
        return message
    made = {name: value for name, value in message.items() if name != "thinking_blocks"}
    made.setdefault("reasoning_details", encode([_detail(block, index) for index, block in enumerate(blocks)]))
    return made


def _detail(block: Fields, index: int) -> dict[str, object]:
    common = {"format": "anthropic-claude-v1", "index": index}
    if text_in(block, "type") == "redacted_thinking":
        return {"type": "reasoning.encrypted", "data": block.get("data", Raw(b"null")), **common}
    text, signature = block.get("thinking", Raw(b'""')), block.get("signature", Raw(b"null"))
    return {"type": "reasoning.text", "text": text, "signature": signature, **common}


OPENROUTER = Compatible(
    name="openrouter",
    vendor="OpenRouter",
    default_url=URL,
    messages=Messages(
        fields=None, also=frozenset({"reasoning", "reasoning_details"}), reasoning="reasoning", extensions=True
    ),
    rewrite=rewrite,
    usage=charged,
    natives={"embeddings": Embeddings(URL)},
)
