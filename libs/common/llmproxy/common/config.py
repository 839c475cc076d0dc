"""The whole configuration as frozen structs, swapped as one snapshot.

A file becomes one in `config_file.py`; what is wrong with one, `config_checks.py` says.
"""

import hashlib
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Struct

from llmproxy.common import auth as authentication
from llmproxy.common import money, outbound, references
from llmproxy.common.envelope import BODY_BYTES_MAX
from llmproxy.common.policy import Policy
from llmproxy.common.threats import Threats

Provider = Literal[
    "openai",
    "openai-responses",
    "anthropic",
    "google",
    "ollama",
    "demo",
    "azure",
    "bedrock",
    "cohere",
    "deepseek",
    "fireworks",
    "groq",
    "mistral",
    "openrouter",
    "perplexity",
    "sambanova",
    "together",
    "vertex",
    "vllm",  # And whatever else speaks OpenAI's format.
    "xai",
]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)
Strategy = Literal["failover", "round_robin"]
COUNT_MAX = (1 << 31) - 1
"""Of a count, and of a wait: three weeks in milliseconds. More is a mistake in writing, and above 53 bits Redis' scripts round it."""

SIZE_MAX = 1 << 40  # A tebibyte.

Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=COUNT_MAX)]
Bytes = Annotated[int, msgspec.Meta(ge=1, le=SIZE_MAX)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]


class ConfigError(Exception):
    """The configuration cannot be used. The message names the place and the fix."""


class Endpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One place that serves models. `key` is a reference (`env:NAME` or `file:PATH`); only provider workers resolve it."""

    provider: Provider
    url: str = ""  # What the vendor documents as the base, with or without its version path; "" is the vendor's own.
    key: str = ""
    auth: authentication.Auth | None = None  # When the vendor's usual way of showing a key is not this endpoint's.
    region: str = ""  # AWS, Google Cloud.
    project: str = ""  # Google Cloud.
    models: tuple[str, ...] = ()
    first_byte_ms: Positive = 120_000
    idle_ms: Positive = 60_000
    connect_ms: Positive = 5_000
    proxy: outbound.Proxy | None = None
    tls: outbound.Tls | None = None
    headers: outbound.HeaderRules = outbound.HeaderRules()
    user_agent: str = ""  # "" is llmproxy.

    @property
    def references(self) -> dict[str, str]:
        """Field -> the reference in it."""
        return references.written(self.key, self.auth, self.proxy, self.headers)

    @property
    def files(self) -> dict[str, str]:
        """Field -> the path that it makes a provider worker read."""
        return references.files(self.references, self.tls)


class Target(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    endpoint: str
    model: str = ""  # "" is the name that was asked for.


class Group(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A model name of your own, served by several targets."""

    targets: tuple[Target, ...]
    strategy: Strategy = "failover"


class Limit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """None is unlimited."""

    requests_per_minute: int | None = None
    burst: int | None = None  # Requests at once before the rate applies; default: a tenth of the rate, at least 1.
    concurrency: int | None = None


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Defaults for every key, client address and tenant; a key's own limits replace `key`."""

    key: Limit = Limit()
    ip: Limit = Limit()
    tenant: Limit = Limit()
    when_redis_fails: Literal["local", "closed"] = "local"
    redis_timeout_ms: Positive = 50  # For what is counted here, and for the router's circuits.


class Breaker(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    # In a row, within `window_ms`: of one model at an endpoint, or of connections to the endpoint.
    failures: Positive = 5
    window_ms: Positive = 30_000
    open_ms: Positive = 10_000  # Then one probe is let through.
    probe_lease_ms: Positive = 30_000


class Routing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    attempts_max: Positive = 4
    breaker: Breaker = Breaker()
    # What a provider cannot express: 400 by name, or left out and listed in `x-llmproxy-dropped-params`.
    unsupported_parameters: Literal["refuse", "drop"] = "refuse"
    # A model that nobody has priced costs nothing in any record; refuse: it is not called (docs/prices.md).
    unpriced_models: Literal["allow", "refuse"] = "allow"


class Audit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    mode: Literal["strict", "relaxed"] = "strict"
    spool_bytes_max: Bytes = 64 << 20  # relaxed: what is kept on disk while JetStream is away.
    # Older entries of the ledger are taken out of it; 0: never.
    retention_days: Annotated[int, msgspec.Meta(ge=0, le=36_500)] = 0


class Gateway(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    max_body_bytes: Bytes = BODY_BYTES_MAX
    max_depth: Positive = 64
    max_in_flight: Positive = 4_096  # Per edge; above it 503 at once.
    deadline_ms: Positive = 600_000
    grace_ms: Count = 3_000  # How long the edge tries again while a stage has no instance.
    trusted_proxies: tuple[str, ...] = ()  # Addresses or networks whose X-Forwarded-For is believed.
    private_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")  # Where endpoints may be besides public addresses.


class Signature(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A phrase of your own for the firewall: words, not an expression; case, spaces and punctuation do not count."""

    id: str
    phrase: str
    category: str = "custom"
    severity: Literal["high", "medium", "low"] = "high"  # high blocks; the others are recorded.


class Firewall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the edge looks for in a body before it is parsed."""

    enabled: bool = True  # LLM_PROXY_FIREWALL_ENABLED comes before it.
    signatures: tuple[Signature, ...] = ()  # Added to the shipped ones.
    disabled: tuple[str, ...] = ()  # Ids or categories that are not looked for.


class Fetch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Contents at https addresses (pictures, PDF), fetched for providers that take bytes alone."""

    enabled: bool = False  # A caller decides where the gateway connects to (docs/adr/0015).
    max_bytes: Bytes = 8 << 20  # Of one; together they are bounded by gateway.max_body_bytes.
    timeout_ms: Positive = 10_000
    redirects_max: Count = 3
    addresses_max: Positive = 16  # Of one request.
    ports: tuple[Port, ...] = (443,)
    private_networks: tuple[str, ...] = ()  # Where from, besides public addresses.


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    gateway: Gateway = Gateway()
    endpoints: dict[str, Endpoint] = {}
    groups: dict[str, Group] = {}
    fallbacks: dict[str, tuple[Target, ...]] = {}  # Model asked for -> what to try when its own endpoints fail.
    policy: Policy = Policy()
    limits: Limits = Limits()
    routing: Routing = Routing()
    audit: Audit = Audit()
    firewall: Firewall = Firewall()
    fetch: Fetch = Fetch()
    threats: Threats = Threats()
    # Before the shipped ones: of a model, of a model at one endpoint (endpoint/model), of all there (endpoint/*).
    prices: dict[str, money.ListedPrice] = {}


class Snapshot(Struct, frozen=True, kw_only=True):
    """What travels in KV: a configuration, its number and its fingerprint."""

    revision: int
    config: Config
    source: Literal["file", "environment", "api"] = "file"

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.config)


def fingerprint(config: Config) -> str:
    """SHA-256 of the canonical form, first 16 hex digits."""
    return hashlib.sha256(msgspec.json.encode(config, order="deterministic")).hexdigest()[:16]


def schema() -> dict[str, Any]:
    """JSON Schema of the configuration file."""
    document = msgspec.json.schema(Config)
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    document["title"] = "LLMProxy configuration"
    return document


def models(config: Config) -> dict[str, str]:
    """Every model name a client may ask for -> its provider, in the order configured; '*' is not a name."""
    names: dict[str, str] = {}
    for endpoint in config.endpoints.values():
        for model in endpoint.models:
            if model != "*":
                names.setdefault(model, endpoint.provider)
    for name, group in config.groups.items():
        names[name] = config.endpoints[group.targets[0].endpoint].provider
    return names
