"""OpenAI Chat Completions. https://platform.openai.com/docs/api-reference/chat

The canonical form is this one, so bodies pass through: unknown fields, key order and number spelling stay as they are.
"""

import re

from msgspec.structs import replace

from llmproxy.provider_workers.compatible import Compatible
from llmproxy.provider_workers.compatible_requests import OWN, Fields, Messages, rename
from llmproxy.provider_workers.natives.embeddings import Embeddings
from llmproxy.provider_workers.natives.images import Images
from llmproxy.provider_workers.natives.moderations import Moderations
from llmproxy.provider_workers.natives.responses import Responses
from llmproxy.provider_workers.natives.speech import Speech
from llmproxy.provider_workers.natives.transcriptions import Transcriptions
from llmproxy.provider_workers.wire import Target

URL = "https://api.openai.com/v1"

REASONS = re.compile(r"(?:o\d|gpt-[5-9])")  # Models that take max_completion_tokens alone.


def rewrite(fields: Fields, target: Target, dropped: list[str]) -> None:
    if REASONS.match(target.model) and "max_tokens" in fields:
        rename(fields, {"max_tokens": "max_completion_tokens"} if "max_completion_tokens" not in fields else {})
        fields.pop("max_tokens", None)


OPENAI = Compatible(
    name="openai",
    vendor="the provider",  # Which of the many servers of this format it is, the endpoint's name says.
    default_url=URL,
    home="api.openai.com",
    lacks=OWN,
    messages=Messages(fields=None),
    efforts=True,
    rewrite=rewrite,
    # Not `completions`: its own models there are gone, and those that chat answer through the translation.
    natives={
        "embeddings": Embeddings(URL),
        "images": Images(URL),
        "moderations": Moderations(URL),
        "responses": Responses(URL),
        "speech": Speech(URL),
        "transcriptions": Transcriptions(URL),
    },
)

ELSEWHERE = replace(OPENAI, natives={api: wire for api, wire in OPENAI.natives.items() if api != "responses"})
"""Another server of the format: its chat answers the Responses API, because few have that."""
