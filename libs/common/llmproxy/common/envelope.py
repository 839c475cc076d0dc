"""The one shape that crosses the request subjects: whose request it is, until when, and the caller's bytes.

What crosses the bus is made of values alone and cannot be part of a circle, so the garbage collector is not told of it (`gc=False`).
"""

from functools import lru_cache
from typing import Literal

from msgspec import Raw, Struct, json

from llmproxy.common.explanations import Explained

Api = Literal[
    "chat",  # OpenAI's chat completions: the canonical form.
    "completions",
    "responses",
    "messages",  # Anthropic's.
    "count_tokens",
    "gemini",  # generateContent and streamGenerateContent.
    "embeddings",
    "moderations",
    "rerank",
    "images",
    "speech",
    "transcriptions",
    "probe",
]
"""Which API was called. `probe` walks the whole path and calls no provider (edge readiness)."""

Dialect = Literal["openai", "anthropic", "google"]
"""Whose wire format the caller speaks; answers and errors are rendered in it."""


class Price(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Nano-dollars per million tokens."""

    input: int = 0
    output: int = 0
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_hour: int | None = None  # What is kept for an hour.
    audio_input: int | None = None
    audio_output: int | None = None
    long: "Price | None" = None  # In the place of this one when there are more input tokens than
    above: int = 0  # that one says here.
    unknown: bool = False  # Nobody has said one: what it costs is not nothing, but is counted as such.


class Attempt(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, cache_hash=True):
    """One stop of the routing slip: which endpoint to try, as which model, for how long."""

    endpoint: str
    provider: str
    model: str
    price: Price = Price()
    first_byte_ms: int = 120_000  # Until the provider's first content byte; then the next attempt is tried.
    idle_ms: int = 60_000  # Between two reads of a stream.
    probe: bool = False  # The one request let through a half-open circuit.


class Envelope(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    id: str  # UUIDv7.
    tenant: str
    key: str = ""  # The key's public id, never the key.
    principal: str = ""
    roles: tuple[str, ...] = ()
    client_ip: str = ""
    api: Api = "chat"
    dialect: Dialect = "openai"
    model: str = ""  # As the caller wrote it.
    stream: bool = False
    include_usage: bool = False  # The caller asked for the usage chunk of a stream.
    max_output_tokens: int | None = None
    # Of the caller's, those that a provider of the same dialect is shown (`anthropic-beta`).
    headers: dict[str, str] = {}
    attempt: int = 0  # Counts the edge's publications of this request; frames of older ones are dropped.
    deadline_ms: int  # Unix time. A stage that receives it late drops it.
    traceparent: str = ""
    policy: int = 0  # Revision of the configuration the edge decided under.
    edge: str  # Address of the instance that holds the client; holders announce themselves to it.
    reply_to: (
        str  # Address of the instance that receives the frames: the edge, or the shield that sits in the return path.
    )
    plan: tuple[Attempt, ...] = ()
    step: int = 0  # Index of the attempt in `plan` to try now.
    findings: dict[str, int] = {}  # What the guards saw: kind -> count. Never the text.
    explained: Explained | None = None  # Where they saw it, and what was done.
    body: Raw = Raw(b"")  # The caller's JSON as it came, or as the shield masked it.
    body_ref: str = ""  # Claim check, when the body is above INLINE_BYTES_MAX.


INLINE_BYTES_MAX = 1 << 20  # Larger bodies go by claim check; NATS' own default limit is 1 MiB for a whole message.
BODY_BYTES_MAX = 32 << 20

PLANS_KEPT_MAX = 1_024  # As they are written: there are as many as routes, and more while circuits are open.

ENCODER, DECODER = json.Encoder(), json.Decoder(Envelope)


def planned(written: bytes, plan: tuple[Attempt, ...]) -> bytes:
    """An envelope without a plan, as it was written, with this one. What nobody changes is not written anew."""
    return written[:-1] + _plan(plan)


@lru_cache(PLANS_KEPT_MAX)
def _plan(plan: tuple[Attempt, ...]) -> bytes:
    return b',"plan":%b}' % ENCODER.encode(plan)
