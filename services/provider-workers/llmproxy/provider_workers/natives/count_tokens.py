"""How many tokens a Messages request has: asked where the vendor counts, estimated where none does.

https://docs.anthropic.com/en/api/messages-count-tokens
"""

import re

import msgspec
from msgspec import Struct

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.anthropic_answers import VENDOR, messages_url
from llmproxy.provider_workers.natives.messages import Messages
from llmproxy.provider_workers.reading import UNREADABLE, decode_vendor, tokens
from llmproxy.provider_workers.wire import ENCODER, Answer, Origin, StreamTranslator, failed

BYTES_PER_TOKEN = 4
"""Of text in UTF-8: English has about four letters per token, Chinese about one character of three bytes."""
TOKENS_PER_MESSAGE = 4  # What stands around each.
TOKENS_PER_BINARY = 1_600  # An image of the size that Anthropic scales to; a page of a document is much the same.
BINARY = re.compile(r"(?:data:[\w/.+-]{0,64};base64,)?[A-Za-z0-9+/=_-]{1024,}", re.ASCII)
ESTIMATED = (("x-llmproxy-token-count", "estimated"),)


class Counted(Struct, frozen=True):
    input_tokens: int


class Asked(Struct, frozen=True):
    messages: list[object]
    system: object = None
    tools: object = None


COUNTED = msgspec.json.Decoder(Counted)
ASKED = msgspec.json.Decoder(Asked)


def count_url(base: str) -> str:
    return messages_url(base) + "/count_tokens"


class CountTokens(Messages):
    """The same request at another address. It costs nothing."""

    def __init__(self, default_url: str) -> None:
        super().__init__(default_url, count_url)

    def response(self, body: bytes, request: Origin) -> Answer:
        try:
            decode_vendor(COUNTED, body, VENDOR)
        except GatewayError as error:
            return failed(error)
        return Answer(json=body)

    def events(self, request: Origin) -> StreamTranslator:
        raise GatewayError(
            "unsupported_parameter", "a count has no streamed answer; leave 'stream' out", param="stream"
        )


def estimated(body: bytes, origin: Origin) -> Answer:
    """Where nobody can be asked: from the length of what the model would read, and said to be that."""
    try:
        asked = ASKED.decode(body)
    except UNREADABLE:
        raise GatewayError("invalid_value", "'messages' must be a list of messages", param="messages") from None
    count = sum(map(_tokens, (asked.system, asked.tools, asked.messages))) + TOKENS_PER_MESSAGE * len(asked.messages)
    return Answer(json=ENCODER.encode(Counted(tokens(count))), headers=ESTIMATED)


def _tokens(tree: object) -> int:
    """Of every text in a JSON tree; the names of fields are the format's and count for nothing."""
    if isinstance(tree, str):
        return (
            TOKENS_PER_BINARY if BINARY.fullmatch(tree) else -(-len(tree.encode(errors="replace")) // BYTES_PER_TOKEN)
        )
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return sum(map(_tokens, inner))
