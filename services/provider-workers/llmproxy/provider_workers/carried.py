"""What one vendor wants back and a caller's API has no place for, sealed into a field that callers return untouched.

Gemini refuses a conversation whose tool calls come back without their thought signatures. The APIs of Anthropic and
OpenAI have a field that a client must not look into (`signature`, `encrypted_content`); what we write there says so.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec
from msgspec import Raw, Struct

from llmproxy.provider_workers.reading import ABSENT, UNREADABLE
from llmproxy.provider_workers.wire import ENCODER

OURS = "llmproxy:"  # Begins what we wrote.


class Carried(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The canonical form's extensions."""

    thinking_blocks: list[Raw] = []
    calls: dict[str, Raw] = {}  # `extra_content` by call id.
    message: Raw = ABSENT  # The message's own `extra_content`.


CARRIED = msgspec.json.Decoder(Carried)


def pack(carried: Carried) -> str:
    return OURS + urlsafe_b64encode(ENCODER.encode(carried)).decode()


def unpack(sealed: str) -> Carried | None:
    """What `pack` put in; None when somebody else wrote it. Raises ValueError when it was changed on the way."""
    if not sealed.startswith(OURS):
        return None
    try:
        return CARRIED.decode(urlsafe_b64decode(sealed.removeprefix(OURS)))
    except UNREADABLE as error:
        raise ValueError("not what was sent") from error
