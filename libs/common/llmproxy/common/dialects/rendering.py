"""How an answer or an error looks to the caller: one rendering per dialect, chosen by the route that was called."""

from typing import Protocol

from llmproxy.common.dialects.anthropic import AnthropicRendering
from llmproxy.common.dialects.openai import OpenAIRendering
from llmproxy.common.envelope import Dialect
from llmproxy.common.errors import CATALOGUE, Kind
from llmproxy.common.frames import Data, Failure

UNKNOWN_KIND = CATALOGUE["server_error"]  # A code from a newer release than ours.


class Rendering(Protocol):
    """One dialect's bytes for what every dialect has."""

    @property
    def done(self) -> bytes:
        """What ends a complete stream; nothing else may."""
        ...

    @property
    def ping(self) -> bytes:
        """What keeps a silent stream open."""
        ...

    def error(self, failure: Failure, request_id: str) -> bytes:
        """The body of an error answer."""
        ...

    def error_event(self, failure: Failure, request_id: str) -> bytes:
        """The last event of a stream that broke."""
        ...

    def event(self, data: Data) -> bytes:
        """One event of a stream."""
        ...


RENDERINGS: dict[Dialect, Rendering] = {"openai": OpenAIRendering(), "anthropic": AnthropicRendering()}


def kind_of(failure: Failure) -> Kind:
    return CATALOGUE.get(failure.code, UNKNOWN_KIND)


def status_of(failure: Failure) -> int:
    """The HTTP status; a frame cannot make an error look like a success."""
    return failure.status if 400 <= failure.status <= 599 else kind_of(failure).status
