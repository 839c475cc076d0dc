"""Whether a configuration can be used: what types cannot say, each mistake with its path and the fix."""

import ipaddress
import re
from urllib.parse import urlsplit

from llmproxy.common import addresses, money, outbound, references
from llmproxy.common import auth as authentication
from llmproxy.common.config import Config, ConfigError, Endpoint, Limit, Signature, Target, models
from llmproxy.common.mistakes import meant
from llmproxy.common.policy import INJECTION, KINDS, changed, problems
from llmproxy.common.prices import comparable

LIMIT_MAX = 1_000_000_000  # Redis' Lua counts in doubles.
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
SIGNATURES_MAX = 1_000  # Custom ones; they are compiled again at each change.
PHRASE_WORD_MIN = 3
PHRASE_CHARACTERS_MAX = 200
FORMAT_WORDS = frozenset(
    ["assistant", "content", "contents", "developer", "false", "function", "input", "max", "messages", "model", "name", "parts", "role",
     "stream", "system", "text", "tokens", "tool", "tools", "true", "type", "user"]
)  # fmt: skip
"""Of the bodies themselves, in which any sign may stand between the words of a phrase: `"role": "user"` is `role user`."""

WEIGHED = (INJECTION, "firewall", "rule", "topic", "link", "language", "pii", "unreadable", *KINDS)
"""What the threat ledger may weigh, with what is below them: a name that nothing has would weigh nothing, and nobody would notice."""

USER_AGENT_CHARS_MAX = 256
VARIABLE, PATH = re.compile(r"[A-Za-z_]\w*", re.ASCII), re.compile(r"\S.*", re.DOTALL)
NAMES_NOTHING = {"env": "names no variable; write env:NAME", "file": "names no file; write file:PATH"}


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
    _check_prices(config.prices)
    _check_signatures(config.firewall.signatures)
    unsound = config.threats.problem()
    if unsound is not None:
        raise ConfigError(f"threats.{unsound[0]}: {unsound[1]}")
    for kind in config.threats.kinds:
        if kind.partition(".")[0] not in WEIGHED:
            known = meant(kind, WEIGHED) or f"; one of {', '.join(WEIGHED[:6])}, or a kind of docs/policy.md"
            raise ConfigError(f"threats.kinds: unknown kind {kind!r}{known}")
    for scope in ("key", "ip", "tenant"):
        _check_limit(f"limits.{scope}", getattr(config.limits, scope))


def _check_prices(prices: dict[str, money.ListedPrice]) -> None:
    named: dict[str, str] = {}
    for model, listed in prices.items():
        if not model.strip():
            raise ConfigError("prices: a price is of a model; name it")
        other = named.setdefault(comparable(model), model)
        if prices[other] != listed:
            raise ConfigError(f"prices.{model}: is the same model as {other}, at another price; keep one of them")
        try:
            money.price(listed)
        except ValueError as error:
            raise ConfigError(f"prices.{model}.{error}") from None


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
        longest = max((sum(map(_width, word)) for word in one.phrase.split()), default=0)
        if longest < PHRASE_WORD_MIN or len(one.phrase) > PHRASE_CHARACTERS_MAX:
            raise ConfigError(
                f"{at}.phrase: at most {PHRASE_CHARACTERS_MAX} characters, and one word of at least {PHRASE_WORD_MIN} letters"
            )
        words = re.findall(r"[^\W_]+", one.phrase.lower())
        if words and FORMAT_WORDS.issuperset(words):
            raise ConfigError(f"{at}.phrase: {one.phrase!r} stands in every request's own format; add a word to it")


def _width(sign: str) -> int:
    """Two of a script whose signs are syllables or words say as much as three letters."""
    return 2 if sign >= "\u2e80" else 1


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
