"""DeepSeek. https://api-docs.deepseek.com/api/create-chat-completion and https://api-docs.deepseek.com/guides/thinking_mode"""

from msgspec import Raw

from llmproxy.provider_workers.adapters.base import Capability
from llmproxy.provider_workers.canonical import METADATA, says_nothing
from llmproxy.provider_workers.compatible import Compatible
from llmproxy.provider_workers.compatible_requests import (
    BASIC_MESSAGE,
    RARE,
    Fields,
    Messages,
    effort_of,
    encode,
    format_of,
    objects,
    text_in,
)
from llmproxy.provider_workers.reading import unsupported
from llmproxy.provider_workers.wire import Target

NAME = "DeepSeek"
IGNORED_WHEN_THINKING = ("frequency_penalty", "presence_penalty", "temperature", "top_p")
NEVER_THINKS = "deepseek-chat"  # The old name of the mode without thinking.
ENABLED, DISABLED = encode({"type": "enabled"}), encode({"type": "disabled"})
EFFORTS = {"minimal": "low", "low": "low", "medium": "high", "high": "high", "xhigh": "max", "max": "max"}


def rewrite(fields: Fields, target: Target, dropped: list[str]) -> None:
    if format_of(fields) == "json_schema":
        raise unsupported(NAME, "response_format", f"{NAME} knows json_object, and no schema")
    effort = effort_of(fields)
    if effort == "none":
        fields.pop("reasoning_effort", None)
        fields["thinking"] = DISABLED
    elif effort is not None:
        fields["reasoning_effort"] = encode(EFFORTS.get(effort, effort))
        fields["thinking"] = ENABLED
    if effort != "none" and (effort is not None or NEVER_THINKS not in target.model):
        for name in IGNORED_WHEN_THINKING:  # It would say nothing and not heed them.
            if name in fields and not says_nothing(name, fields.pop(name)):
                dropped.append(name)


def reshape(messages: list[Fields], fields: Fields, dropped: list[str]) -> list[Fields]:
    """A turn with tool calls must come back with what was thought, even if it was nothing; other turns need not."""
    if fields.get("thinking") == DISABLED or not any(_forgot(message) for message in messages):
        return messages
    return [{**message, "reasoning_content": Raw(b'""')} if _forgot(message) else message for message in messages]


def _forgot(message: Fields) -> bool:
    return bool(objects(message.get("tool_calls"))) and text_in(message, "reasoning_content") is None


DEEPSEEK = Compatible(
    name="deepseek",
    vendor=NAME,
    default_url="https://api.deepseek.com/v1",
    capabilities=frozenset(Capability)
    - {Capability.CHOICES, Capability.IMAGES, Capability.IMAGE_URLS, Capability.JSON_SCHEMA},
    lacks=RARE | METADATA | {"logit_bias", "n", "parallel_tool_calls", "seed", "top_k"},
    renamed={"max_completion_tokens": "max_tokens"},
    messages=Messages(
        fields=BASIC_MESSAGE | {"prefix", "reasoning_content"},
        reasoning="reasoning_content",
        developer=False,
        only_text=True,
    ),
    rewrite=rewrite,
    reshape=reshape,
)
