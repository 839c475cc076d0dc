"""xAI. https://docs.x.ai/docs/api-reference#chat-completions"""

import re

from llmproxy.common.frames import Usage
from llmproxy.provider_workers.adapters.base import Capability
from llmproxy.provider_workers.canonical import METADATA
from llmproxy.provider_workers.compatible import Compatible
from llmproxy.provider_workers.compatible_answers import WireUsage, usage_of
from llmproxy.provider_workers.compatible_requests import (
    BASIC_MESSAGE,
    Fields,
    Messages,
    leave_out,
)
from llmproxy.provider_workers.natives.images import Images
from llmproxy.provider_workers.natives.responses import Responses
from llmproxy.provider_workers.wire import Target

NAME = "xAI"
URL = "https://api.x.ai/v1"
REASONS = re.compile(r"grok-(?:3-mini|[4-9]|code)(?!.*non-reasoning)")
REASONING_LACKS = frozenset({"frequency_penalty", "presence_penalty", "stop"})


def rewrite(fields: Fields, target: Target, dropped: list[str]) -> None:
    if REASONS.match(target.model):
        leave_out(fields, REASONING_LACKS, NAME, dropped)


def usage(wire: WireUsage | None) -> Usage:
    """Reasoning is counted beside the output; a total that says otherwise is believed."""
    said = usage_of(wire)
    if wire is None or wire.total_tokens is not None:
        return said
    return Usage(
        input=said.input, output=said.output + said.reasoning, cache_read=said.cache_read, reasoning=said.reasoning
    )


XAI = Compatible(
    name="xai",
    vendor=NAME,
    default_url=URL,
    capabilities=frozenset(Capability),
    lacks=(METADATA - {"user"})
    | {"audio", "function_call", "functions", "logit_bias", "modalities", "thinking", "top_k", "verbosity"},
    messages=Messages(fields=BASIC_MESSAGE | {"reasoning_content"}, reasoning="reasoning_content"),
    efforts=True,
    rewrite=rewrite,
    usage=usage,
    natives={"images": Images(URL), "responses": Responses(URL)},
)
