"""Together AI. https://docs.together.ai/reference/chat-completions-1"""

from llmproxy.provider_workers.adapters.base import Capability
from llmproxy.provider_workers.canonical import METADATA
from llmproxy.provider_workers.compatible import Compatible
from llmproxy.provider_workers.compatible_requests import (
    BASIC_MESSAGE,
    RARE,
    Fields,
    Messages,
    text_in,
)
from llmproxy.provider_workers.natives.completions import Completions
from llmproxy.provider_workers.natives.embeddings import Embeddings
from llmproxy.provider_workers.natives.images import Images
from llmproxy.provider_workers.natives.rerank import Rerank
from llmproxy.provider_workers.natives.speech import Speech
from llmproxy.provider_workers.natives.transcriptions import Transcriptions
from llmproxy.provider_workers.wire import Target

URL = "https://api.together.ai/v1"


def rewrite(fields: Fields, target: Target, dropped: list[str]) -> None:
    """It does not know `tool_choice: none`; without tools there is no choice."""
    if text_in(fields, "tool_choice") == "none":
        fields.pop("tool_choice")
        fields.pop("tools", None)


TOGETHER = Compatible(
    name="together",
    vendor="Together",
    default_url=URL,
    capabilities=frozenset(Capability) - {Capability.LOGPROBS},  # There a number, and answered in another shape.
    lacks=RARE | METADATA | {"logprobs", "parallel_tool_calls", "thinking", "top_logprobs"},
    renamed={"max_completion_tokens": "max_tokens"},
    messages=Messages(fields=BASIC_MESSAGE | {"reasoning_content"}, reasoning="reasoning_content", developer=False),
    efforts=True,
    rewrite=rewrite,
    natives={
        "completions": Completions(URL),
        "embeddings": Embeddings(URL),
        "images": Images(URL),
        "rerank": Rerank(URL),
        "speech": Speech(URL),
        "transcriptions": Transcriptions(URL),
    },
)
