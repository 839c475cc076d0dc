"""The whole configuration as frozen structs: parsed once, checked with the fix in the message, swapped as one snapshot."""

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import msgspec
import yaml
from msgspec import Struct

from llmproxy.common import addresses, money, outbound, references
from llmproxy.common import auth as authentication
from llmproxy.common.envelope import BODY_BYTES_MAX
from llmproxy.common.mistakes import explained, meant
from llmproxy.common.policy import Policy, changed, problems
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
Positive = Annotated[int, msgspec.Meta(ge=1)]
LIMIT_MAX = 1_000_000_000  # Redis' Lua counts in doubles.

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
SIGNATURES_MAX = 1_000  # Custom ones; they are compiled again at each change.
VALUES_MAX = 500_000  # Of a file. Aliases of aliases can make more of a few lines than any machine holds.
PHRASE_WORD_MIN = 3
PHRASE_CHARACTERS_MAX = 200
USER_AGENT_CHARS_MAX = 256
VARIABLE, PATH = re.compile(r"[A-Za-z_]\w*", re.ASCII), re.compile(r"\S.*", re.DOTALL)
NAMES_NOTHING = {"env": "names no variable; write env:NAME", "file": "names no file; write file:PATH"}
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


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


class Audit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    mode: Literal["strict", "relaxed"] = "strict"
    spool_bytes_max: Positive = 64 << 20  # relaxed: what is kept on disk while JetStream is away.
    # Older entries of the ledger are taken out of it; 0: never.
    retention_days: Annotated[int, msgspec.Meta(ge=0, le=36_500)] = 0


class Gateway(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    max_body_bytes: Positive = BODY_BYTES_MAX
    max_depth: Positive = 64
    max_in_flight: Positive = 4_096  # Per edge; above it 503 at once.
    deadline_ms: Positive = 600_000
    grace_ms: Annotated[int, msgspec.Meta(ge=0)] = 3_000  # How long the edge tries again while a stage has no instance.
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
    max_bytes: Positive = 8 << 20  # Of one; together they are bounded by gateway.max_body_bytes.
    timeout_ms: Positive = 10_000
    redirects_max: Annotated[int, msgspec.Meta(ge=0)] = 3
    addresses_max: Positive = 16  # Of one request.
    ports: tuple[int, ...] = (443,)
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
    prices: dict[str, money.ListedPrice] = {}  # Added to, and before, the shipped ones.


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


def parse(text: str, environment: Mapping[str, str]) -> Config:
    """YAML to a checked Config. `${NAME}` in a value is replaced from `environment`. Raises ConfigError.

    A text that says nothing is most likely cut off or not written yet, and would take every endpoint, limit and rule away.
    """
    tree = _tree(text)
    if tree is None:
        raise ConfigError("it is empty; write {} if nothing is to be configured")
    return _config(tree, environment)


def parse_policy(text: str, environment: Mapping[str, str]) -> Policy:
    """The policy of a whole configuration file, or a file that is one: what stands under `policy`. Raises ConfigError.

    The rest of a whole file is not looked at, so that a policy can be tried where the variables of the endpoints are not set.
    """
    tree = _tree(text) or {}
    if isinstance(tree, dict):
        is_whole = any(name in Config.__struct_fields__ for name in tree)
        tree = {"policy": (tree.get("policy") or {}) if is_whole else tree}
    return _config(tree, environment).policy


def _tree(text: str) -> Any:
    try:
        tree = yaml.load(text, Loader=Loader)  # noqa: S506 - it is a SafeLoader
        values = _values(tree, {})
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"not valid YAML{where}: {getattr(error, 'problem', None) or 'cannot be read'}") from None
    except RecursionError:
        raise ConfigError(TOO_DEEP) from None
    if values > VALUES_MAX:
        raise ConfigError(f"more than {VALUES_MAX} values once its aliases (*name) are written out; write fewer")
    return tree


def _values(tree: Any, known: dict[int, int]) -> int:
    """How many values there are with every alias written out, found without writing them out."""
    if not isinstance(tree, dict | list):
        return 1
    if id(tree) not in known:
        below = tree.values() if isinstance(tree, dict) else tree
        known[id(tree)] = 1 + sum(_values(value, known) for value in below)
    return known[id(tree)]


def _config(tree: Any, environment: Mapping[str, str]) -> Config:
    try:
        tree = expand(tree, environment)
        config = msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(explained(str(error), tree, Config, {".auth.kind": authentication.TAGS})) from None
    except RecursionError:
        raise ConfigError(TOO_DEEP) from None
    check(config)
    return config


SWITCH = "tag:yaml.org,2002:bool"  # YAML 1.1 has six words for it that begin with other letters than true and false.
TOO_DEEP = "nested too deeply; does an alias (*name) refer to what holds it?"


def expand(tree: Any, environment: Mapping[str, str]) -> Any:
    """`${NAME}` in every string of the tree. An unset variable is an error, not an empty string."""

    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environment:
            raise ConfigError(f"${{{name}}} is not set; export {name} or remove the reference")
        return environment[name]

    if isinstance(tree, str):
        return REFERENCE.sub(value_of, tree)
    if isinstance(tree, dict):
        return {name: expand(value, environment) for name, value in tree.items()}
    if isinstance(tree, list):
        return [expand(value, environment) for value in tree]
    return tree


def check(config: Config) -> None:
    """What types cannot say. Raises ConfigError with the path and the fix."""
    for name, endpoint in config.endpoints.items():
        at = f"endpoints.{name}"
        if not NAME.fullmatch(name):
            raise ConfigError(f"{at}: a name is lower-case letters, digits, - and _, at most 63")
        if endpoint.url and not endpoint.url.startswith(("http://", "https://")):
            raise ConfigError(f"{at}.url: {endpoint.url!r} must start with http:// or https://")
        _check_url(f"{at}.url", endpoint.url)
        if endpoint.key and not endpoint.key.startswith(("env:", "file:")):
            raise ConfigError(f"{at}.key: write a reference, env:NAME or file:PATH, not the key itself")
        _check_credential(at, endpoint)
        _check_variables(at, endpoint)
        _check_way(at, endpoint)
        _check_place(at, endpoint)
        if not endpoint.models:
            raise ConfigError(f"{at}.models: list at least one model, or '*' for any")
        if any(not model or model != model.strip() for model in endpoint.models):
            raise ConfigError(f"{at}.models: nobody can ask for a name that is empty or has spaces around it")
    for name, group in config.groups.items():
        if not group.targets:
            raise ConfigError(f"groups.{name}.targets: list at least one target")
        _check_targets(f"groups.{name}.targets", group.targets, config)
    for name, targets in config.fallbacks.items():
        _check_targets(f"fallbacks.{name}", targets, config)
    for at, networks in (
        ("gateway.trusted_proxies", config.gateway.trusted_proxies),
        ("gateway.private_networks", config.gateway.private_networks),
        ("fetch.private_networks", config.fetch.private_networks),
    ):
        for address in networks:
            try:
                ipaddress.ip_network(address, strict=False)
            except ValueError:
                raise ConfigError(f"{at}: {address!r} is neither an address nor a network; write 10.0.0.0/8") from None
    for where, wrong in problems(config.policy):
        raise ConfigError(f"policy.{where}: {wrong}")
    _check_judges(config)
    for model, listed in config.prices.items():
        try:
            money.price(listed)
        except ValueError as error:
            raise ConfigError(f"prices.{model}: {error}") from None
    _check_signatures(config.firewall.signatures)
    unsound = config.threats.problem()
    if unsound is not None:
        raise ConfigError(f"threats.{unsound[0]}: {unsound[1]}")
    for scope in ("key", "ip", "tenant"):
        _check_limit(f"limits.{scope}", getattr(config.limits, scope))


def _check_judges(config: Config) -> None:
    """A judge is a model like any other. One that nobody serves would fail at each question, and let pass what is in doubt."""
    served = {*models(config), *config.fallbacks}
    if not config.endpoints or any("*" in endpoint.models for endpoint in config.endpoints.values()):
        return
    asked = [("policy", config.policy.injection.judge.model)]
    for index, override in enumerate(config.policy.overrides):
        its = changed(config.policy, override)
        asked.append((f"policy.overrides[{index}]", its.injection.judge.model))
    for at, model in asked:
        if model and model not in served:
            raise ConfigError(
                f"{at}.injection.judge.model: no endpoint or group has {model!r}{meant(model, served) or '; add it to one'}"
            )


class Loader(yaml.SafeLoader):
    """Refuses a key given twice: YAML would keep the last one, and nobody would know which rule holds. `off`, `no` and `on` are
    words, as in YAML 1.2: one is a mode, one is Norwegian."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - an instance variable to those who typed PyYAML
        first: [(tag, form) for tag, form in forms if tag != SWITCH or first in "tTfF"]
        for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for name, _ in node.value:
            called = str(name.value)
            if isinstance(name, yaml.ScalarNode) and called in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{called!r} is given twice; keep one", name.start_mark
                )
            seen.add(called)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Keeps of what `<<` merges only what holds: merges of merges would double it each time."""
        super().flatten_mapping(node)
        node.value = list({str(name.value): (name, value) for name, value in node.value}.values())


def _check_targets(at: str, targets: tuple[Target, ...], config: Config) -> None:
    for index, target in enumerate(targets):
        if target.endpoint not in config.endpoints:
            known = ", ".join(sorted(config.endpoints)) or "none is configured"
            raise ConfigError(f"{at}[{index}].endpoint: no endpoint {target.endpoint!r}; known: {known}")


def _check_credential(at: str, endpoint: Endpoint) -> None:
    if endpoint.auth is None:
        return
    if endpoint.key:
        raise ConfigError(f"{at}: key and auth are both given; keep one")
    wrong = authentication.problem(endpoint.auth)
    if wrong is not None:
        raise ConfigError(f"{at}.auth.{wrong[0]}: {wrong[1]}")
    for field in ("token_url", "authority"):
        _check_url(f"{at}.auth.{field}", getattr(endpoint.auth, field, ""))
    if isinstance(endpoint.auth, authentication.SigV4) and not (endpoint.auth.region or endpoint.region):
        raise ConfigError(f"{at}.region: a signature names its region; write one such as eu-central-1")


def _check_variables(at: str, endpoint: Endpoint) -> None:
    for field, reference in endpoint.references.items():
        scheme, _, name = reference.partition(":")
        if not (VARIABLE if scheme == "env" else PATH).fullmatch(name):
            raise ConfigError(f"{at}.{field}: {NAMES_NOTHING[scheme]}")
        if scheme == "env" and references.OWN.fullmatch(name):
            raise ConfigError(f"{at}.{field}: {name} is the gateway's own; put the key into a variable of another name")


def _check_url(at: str, url: str) -> None:
    wrong = addresses.problem(url) if url else ""
    if wrong:
        raise ConfigError(f"{at}: {wrong}")


def _check_way(at: str, endpoint: Endpoint) -> None:
    """How it is reached."""
    if endpoint.proxy is not None:
        _check_url(f"{at}.proxy.url", endpoint.proxy.url)
    shown = endpoint.auth.name if isinstance(endpoint.auth, authentication.Header) else ""
    for field, wrong in (
        ("proxy", outbound.proxy_problem(endpoint.proxy) if endpoint.proxy is not None else None),
        ("tls", outbound.tls_problem(endpoint.tls) if endpoint.tls is not None else None),
        ("headers", outbound.headers_problem(endpoint.headers, shown)),
    ):
        if wrong is not None:
            raise ConfigError(f"{at}.{field}.{wrong[0]}: {wrong[1]}")
    if endpoint.tls is not None and endpoint.url.startswith("http://"):
        raise ConfigError(f"{at}.tls: is of no use with http://; write https:// or remove it")
    if len(endpoint.user_agent) > USER_AGENT_CHARS_MAX or not outbound.TEXT.fullmatch(endpoint.user_agent):
        raise ConfigError(f"{at}.user_agent: at most {USER_AGENT_CHARS_MAX} printable ASCII characters")


def _check_place(at: str, endpoint: Endpoint) -> None:
    """What clouds want to know before they have an address."""
    if endpoint.region and not authentication.REGION.fullmatch(endpoint.region):
        raise ConfigError(f"{at}.region: {endpoint.region!r} is not a region; write one such as eu-central-1")
    if endpoint.project and not authentication.PROJECT.fullmatch(endpoint.project):
        raise ConfigError(f"{at}.project: {endpoint.project!r} is not a Google Cloud project id")
    if endpoint.provider == "azure" and not endpoint.url:
        raise ConfigError(f"{at}.url: Azure OpenAI is called by resource; write https://<resource>.openai.azure.com")
    if endpoint.provider == "bedrock" and not endpoint.region:
        raise ConfigError(f"{at}.region: Bedrock is called by region; write one such as us-east-1")
    if endpoint.provider != "vertex" or endpoint.key or isinstance(endpoint.auth, authentication.Header):
        return  # An API key knows its project.
    if endpoint.auth is None:
        raise ConfigError(
            f"{at}.auth: write a service account, {{kind: google, account: file:PATH}}, or an API key in key"
        )
    for field in ("project", "region"):
        if not getattr(endpoint, field) and not urlsplit(endpoint.url).path.strip("/"):
            raise ConfigError(f"{at}.{field}: Vertex AI is called by project and region; write both")


def _check_signatures(signatures: tuple[Signature, ...]) -> None:
    if len(signatures) > SIGNATURES_MAX:
        raise ConfigError(f"firewall.signatures: at most {SIGNATURES_MAX}; there are {len(signatures)}")
    ids: set[str] = set()
    for index, one in enumerate(signatures):
        at = f"firewall.signatures[{index}]"
        if not NAME.fullmatch(one.id) or not NAME.fullmatch(one.category):
            raise ConfigError(f"{at}: id and category are lower-case letters, digits, - and _, at most 63")
        if one.id in ids:
            raise ConfigError(f"{at}.id: {one.id!r} is given twice; keep one")
        ids.add(one.id)
        longest = max((len(word) for word in one.phrase.split()), default=0)
        if longest < PHRASE_WORD_MIN or len(one.phrase) > PHRASE_CHARACTERS_MAX:
            raise ConfigError(
                f"{at}.phrase: at most {PHRASE_CHARACTERS_MAX} characters, and one word of at least {PHRASE_WORD_MIN}"
            )


def _check_limit(at: str, limit: Limit) -> None:
    for field in ("requests_per_minute", "burst", "concurrency"):
        value = getattr(limit, field)
        if value is not None and value < 1:
            raise ConfigError(f"{at}.{field}: must be at least 1; leave it out for no limit")
        if value is not None and value > LIMIT_MAX:
            raise ConfigError(f"{at}.{field}: must be at most {LIMIT_MAX}; leave it out for no limit")
    if limit.burst is not None and limit.requests_per_minute is None:
        raise ConfigError(f"{at}.burst: is of no use without a rate; write requests_per_minute beside it")


def check_reach(config: Config, before: Config) -> None:
    """For a configuration that is not the operator's own file: it may neither name private addresses beyond those that
    are allowed, nor allow more of them than `before`. Raises ConfigError."""
    _check_wider("gateway.private_networks", config.gateway.private_networks, before.gateway.private_networks)
    _check_wider("fetch.private_networks", config.fetch.private_networks, before.fetch.private_networks)
    allowed = addresses.networks(*config.gateway.private_networks)
    for name, endpoint in config.endpoints.items():
        for field, url in _urls(endpoint):
            if url and addresses.private_literal(url, allowed):
                raise ConfigError(
                    f"endpoints.{name}.{field}: is a private address, and none of those in gateway.private_networks"
                )


def check_files(config: Config, allowed: references.Directories) -> None:
    """Whether endpoints name only files that may be read. Raises ConfigError."""
    for name, endpoint in config.endpoints.items():
        for field, path in endpoint.files.items():
            if not references.is_below(path, allowed):
                raise ConfigError(f"endpoints.{name}.{field}: {references.refusal(allowed)}")


def _check_wider(at: str, wanted: tuple[str, ...], before: tuple[str, ...]) -> None:
    known = addresses.networks(*before)
    for network in addresses.networks(*wanted):
        if not any(network.version == one.version and network.subnet_of(one) for one in known):  # type: ignore[arg-type]
            raise ConfigError(
                f"{at}: {network} is not allowed yet, and only the configuration file can allow it;"
                " start once with LLM_PROXY_CONFIG_SOURCE=file"
            )


def _urls(endpoint: Endpoint) -> tuple[tuple[str, str], ...]:
    """Where this endpoint makes the gateway connect to."""
    auth = endpoint.auth
    return (
        ("url", endpoint.url),
        ("auth.token_url", getattr(auth, "token_url", "")),
        ("auth.authority", getattr(auth, "authority", "")),
        ("proxy.url", endpoint.proxy.url if endpoint.proxy is not None else ""),
    )


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
