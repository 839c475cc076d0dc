"""How an answer or an error looks to the caller: errors by the dialect of the route that was called, streams by its API."""

from typing import Protocol

from llmproxy.common.dialects.anthropic import AnthropicRendering, MessagesFraming
from llmproxy.common.dialects.framing import Framing
from llmproxy.common.dialects.google import GeminiArrayFraming, GeminiFraming, GoogleRendering
from llmproxy.common.dialects.openai import ChatFraming, OpenAIRendering, TypedFraming
from llmproxy.common.envelope import Api, Dialect
from llmproxy.common.frames import Failure


class Rendering(Protocol):
    """One dialect's errors."""

    def status(self, failure: Failure) -> int:
        """The HTTP status in this dialect."""
        ...

    def error(self, failure: Failure, request_id: str) -> bytes:
        """The body of an error answer."""
        ...


RENDERINGS: dict[Dialect, Rendering] = {
    "openai": OpenAIRendering(),
    "anthropic": AnthropicRendering(),
    "google": GoogleRendering(),
}

FRAMINGS: dict[Api, Framing] = {
    "chat": ChatFraming(),
    "completions": ChatFraming(),
    "responses": TypedFraming("response.completed", "response.incomplete", "response.failed"),
    "messages": MessagesFraming(),
    "gemini": GeminiFraming(),
    "images": TypedFraming("image_generation.completed", is_final=False),
    "speech": TypedFraming("speech.audio.done"),
    "transcriptions": TypedFraming("transcript.text.done"),
}
"""Every API that streams."""

GEMINI_ARRAY: Framing = GeminiArrayFraming()
