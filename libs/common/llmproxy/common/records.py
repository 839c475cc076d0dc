"""One audit record per request or administrative change: facts about it, never its text."""

from typing import Literal

from msgspec import Struct

from llmproxy.common.explanations import Explained

Verdict = Literal["answered", "blocked", "refused", "failed", "cancelled", "changed"]
"""answered: an answer left (masked or not); blocked: a guard said no; refused: authentication, limits or a bad request;
failed: no provider could; cancelled: the client left; changed: an administrative change."""

ADMINISTRATION = "-"  # In the place of a tenant: it belongs to none.


class AuditRecord(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Integers only, so that its canonical form has one spelling. Amounts in nano-dollars, times in Unix milliseconds."""

    id: str
    at_ms: int
    verdict: Verdict
    tenant: str = ""
    key: str = ""
    principal: str = ""
    client_ip: str = ""
    api: str = ""
    method: str = ""
    route: str = ""
    model: str = ""
    endpoint: str = ""
    provider: str = ""
    provider_model: str = ""
    stream: bool = False
    status: int = 0
    code: str = ""  # errors.CATALOGUE
    findings: dict[str, int] = {}
    explained: Explained | None = None  # Left out where nothing was found.
    masked: bool = False
    attempts: int = 0  # Publications by the edge.
    retries: int = 0  # Provider attempts beyond the first.
    finish: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    cost: int = 0
    unpriced: bool = False  # Nobody has said what the model costs: what there was to pay is not in `cost`.
    latency_ms: int = 0
    first_byte_ms: int = 0
    policy: int = 0
    instance: str = ""
    action: str = ""  # Administrative: what was done, such as `key.created`.
    subject: str = ""  # Administrative: to what.
    unrecorded: int = 0  # Requests without a good key before this one that were too many to have a record each.


class AuditBatch(Struct, frozen=True, gc=False):
    """What one edge or admin commits to the AUDIT stream at once."""

    instance: str
    records: list[AuditRecord]


class Event(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What operators tail on `event.<noun>.<past participle>`: redacted facts."""

    at_ms: int
    service: str
    instance: str
    id: str = ""
    tenant: str = ""
    facts: dict[str, str | int | bool] = {}


class Announcement(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sent by every instance at start, at each change and every few seconds: who runs, how it is, and what runs in it."""

    at_ms: int
    service: str
    instance: str
    version: str
    revision: int = 0
    ready: bool = True
    in_flight: int = 0
    probes_url: str = ""
    steps: list["StepInfo"] = []
    notes: dict[str, str] = {}  # Readiness in words: "redis" -> "slow: local limits in force".


class StepInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step of a ring as the plugin list shows it."""

    name: str
    ring: int
    priority: int
    timeout_ms: int
    fail: Literal["closed", "open"]
    source: str = "built-in"
    version: str = ""
    enabled: bool = True
