"""How attempts at providers ended: what routers learn from, and what settlement counts."""

from msgspec import Struct


class Outcome(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    id: str
    tenant: str = ""
    endpoint: str
    provider: str
    model: str
    ok: bool
    code: str = ""  # The error's, when it failed.
    counts: bool = True  # False for the caller's own faults and cancellations: they say nothing about the endpoint.
    probe: bool = False
    retry_after_ms: int = 0
    first_byte_ms: int = 0
    total_ms: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0  # Nano-dollars.


class Outcomes(Struct, frozen=True):
    """A batch from one worker for one provider, in the order in which they ended."""

    instance: str
    outcomes: list[Outcome]
