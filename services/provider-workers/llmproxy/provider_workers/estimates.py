"""What an answer used, where its provider has not counted, or not to the end."""

import re

from llmproxy.common.envelope import Api
from llmproxy.common.frames import Usage

CHARS_PER_TOKEN = 4
TOKENS_PER_IMAGE = 1_000
BINARY = re.compile(
    rb"data:[a-zA-Z0-9/.+-]{0,64};base64,[A-Za-z0-9+/=_-]*"
    rb'|(?<=")[A-Za-z0-9+/=_-]{1024,}+(?=")'  # Anthropic and Google have images without the prefix.
)

SPOKEN: frozenset[Api] = frozenset({"chat", "completions", "responses", "messages", "gemini", "transcriptions"})
"""APIs whose answers are text that the model wrote: what an uncounted one used can be told from its length."""


def estimate(body: bytes, text_chars: int) -> Usage:
    """For an answer that came without a count, or broke off."""
    characters, images = len(body), 0
    for image in BINARY.finditer(body):
        characters -= image.end() - image.start()
        images += 1
    tokens = -(-characters // CHARS_PER_TOKEN) + images * TOKENS_PER_IMAGE
    return Usage(input=tokens, output=-(-text_chars // CHARS_PER_TOKEN), estimated=True)
