"""What travels back towards the client: one packet per message, each a numbered run of frames."""

from typing import Literal

from msgspec import Raw, Struct, json

from llmproxy.common.envelope import Price
from llmproxy.common.explanations import Explained

Finish = Literal["stop", "length", "tool_calls", "content_filter", "error", "cancelled", ""]


class Usage(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Token counts. `input` includes cache reads and writes, `output` includes reasoning, whatever the provider's habit."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_hour: int = 0  # Of `cache_write`, what is kept for an hour.
    reasoning: int = 0
    audio_input: int = 0  # Of `input` and `output`, what was sound.
    audio_output: int = 0
    charged: int | None = None  # Nano-dollars, where the provider itself says what it took.
    estimated: bool = False  # The provider gave none (interrupted stream); counted by us.


class Head(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="frame", tag="head"):
    """The answer begins. Sent once, before any data."""

    status: int = 200
    endpoint: str = ""
    provider: str = ""
    model: str = ""  # As the provider was asked.
    retries: int = 0  # Attempts of the plan that failed before this one.
    headers: dict[str, str] = {}  # Provider headers worth re-exposing (request id, rate limits).
    findings: dict[str, int] = {}
    explained: Explained | None = None
    price: Price = Price()  # What the edge settles by when the worker cannot say what was used.
    dropped: tuple[str, ...] = ()  # Request fields that the provider has no word for and that were left out.
    # Of an answer that is not JSON (speech): its one `Data` is a string of the base64 of its bytes.
    content_type: str = ""


class Data(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="frame", tag="data"):
    """One JSON value in the caller's dialect: the whole answer, or one event of a stream. `ref` is its claim check."""

    json: Raw = Raw(b"")
    ref: str = ""


class End(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="frame", tag="end"):
    """The answer is complete."""

    usage: Usage = Usage()
    cost: int = 0  # Nano-dollars.
    finish: Finish = "stop"
    provider_ms: int = 0  # From the call to the last byte.
    first_byte_ms: int = 0
    findings: dict[str, int] = {}  # In the answer itself; the request's stand in `Head`.
    explained: Explained | None = None


class Failure(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="frame", tag="failure"):
    """The answer cannot come, or cannot go on. `code` is one of `errors.CATALOGUE`."""

    code: str
    message: str  # Safe to show: no payload, no credential.
    param: str = ""
    status: int = 0  # Overrides the catalogue's (a provider's own 4xx); 0 keeps it.
    type: str = ""  # Overrides the catalogue's error type.
    retry_after_ms: int = 0
    stage: str = ""  # Who says so.
    # The edge may publish the request again (nothing was done): no responders, draining, overloaded.
    again: bool = False
    endpoint: str = ""
    provider: str = ""
    model: str = ""
    retries: int = 0
    usage: Usage = Usage()
    cost: int = 0
    findings: dict[str, int] = {}
    explained: Explained | None = None


Frame = Head | Data | End | Failure


class Packet(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Frames of one attempt. `seq` counts packets from 0; a gap is a failure, an older attempt is dropped."""

    id: str
    attempt: int = 0
    seq: int = 0
    frames: list[Frame]


class Holding(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Alive: the requests of one edge that this instance holds, batched. `role` tells the return path from the chain."""

    address: str  # Where `Cancel` reaches it.
    role: Literal["chain", "return"] = "chain"
    held: list[tuple[str, int]]  # (id, attempt)


class Cancel(Struct, frozen=True, gc=False, tag="cancel"):
    """Nobody waits for this attempt any more: stop and free what it holds."""

    id: str
    attempt: int = 0


Control = Cancel

ENCODER, DECODER = json.Encoder(), json.Decoder(Packet)
