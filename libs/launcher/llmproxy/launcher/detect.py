"""The configuration of a gateway that was given none: made from environment variables and from model servers nearby."""

import http.client
import re
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from llmproxy.common import auth
from llmproxy.common.config import PROVIDERS, Config, ConfigError, Endpoint, Provider
from llmproxy.common.config_checks import check

ENDPOINT_PREFIX, ENDPOINT_FIELDS = "LLM_PROXY_ENDPOINT_", ("URL", "PROVIDER", "MODELS", "KEY", "REGION", "PROJECT")
ENDPOINT_VARIABLE = re.compile(rf"{ENDPOINT_PREFIX}(\w+)_({'|'.join(ENDPOINT_FIELDS)})")
LOCAL_DISCOVERY = "LLM_PROXY_LOCAL_DISCOVERY"  # `0` or `false`: do not ask local ports.
PROBE_TIMEOUT_S = 0.3
ANSWER_BYTES_MAX = 1 << 20
MODELS_MAX = 200  # Of one local server.
ANY_MODEL = ("*",)


class Vendor(Struct, frozen=True, kw_only=True):
    """A provider that is recognised by its key variable. The models are today's; LLM_PROXY_ENDPOINT_* names others."""

    host: str
    key_variables: tuple[str, ...]
    models: tuple[str, ...]


VENDORS: dict[Provider, Vendor] = {
    "openai": Vendor(
        host="api.openai.com",
        key_variables=("OPENAI_API_KEY",),
        models=(
            *("gpt-4o-mini", "gpt-4o", "gpt-4.1-mini", "gpt-4.1", "gpt-4.1-nano"),
            *("gpt-5-mini", "gpt-5", "gpt-5-nano", "o3", "o4-mini"),
        ),
    ),
    "anthropic": Vendor(
        host="api.anthropic.com",
        key_variables=("ANTHROPIC_API_KEY",),
        models=("claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5"),
    ),
    "google": Vendor(
        host="generativelanguage.googleapis.com",
        key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        models=("gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.5-flash-lite", "gemini-2.0-flash"),
    ),
    "cohere": Vendor(
        host="api.cohere.com",
        key_variables=("COHERE_API_KEY", "CO_API_KEY"),
        models=(
            *("command-a-03-2025", "command-a-reasoning-08-2025", "command-r7b-12-2024"),
            *("embed-v4.0", "rerank-v3.5"),
        ),
    ),
    "groq": Vendor(
        host="api.groq.com",
        key_variables=("GROQ_API_KEY",),
        models=(
            *("openai/gpt-oss-120b", "openai/gpt-oss-20b", "llama-3.3-70b-versatile", "llama-3.1-8b-instant"),
            *("qwen/qwen3-32b", "whisper-large-v3", "whisper-large-v3-turbo"),
        ),
    ),
    "mistral": Vendor(
        host="api.mistral.ai",
        key_variables=("MISTRAL_API_KEY",),
        models=(
            *("mistral-large-latest", "mistral-medium-latest", "mistral-small-latest", "magistral-medium-latest"),
            *("codestral-latest", "mistral-embed", "mistral-moderation-latest", "voxtral-mini-latest"),
        ),
    ),
    "deepseek": Vendor(
        host="api.deepseek.com",
        key_variables=("DEEPSEEK_API_KEY",),
        models=("deepseek-chat", "deepseek-reasoner", "deepseek-v4-pro", "deepseek-v4-flash"),
    ),
    "xai": Vendor(
        host="api.x.ai",
        key_variables=("XAI_API_KEY",),
        models=("grok-4.3", "grok-4.20-reasoning", "grok-4.20-non-reasoning", "grok-latest"),
    ),
    "perplexity": Vendor(
        host="api.perplexity.ai",
        key_variables=("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
        models=("sonar", "sonar-pro", "sonar-reasoning-pro", "sonar-deep-research"),
    ),
    "sambanova": Vendor(
        host="api.sambanova.ai",
        key_variables=("SAMBANOVA_API_KEY",),
        models=("Meta-Llama-3.3-70B-Instruct", "gpt-oss-120b", "E5-Mistral-7B-Instruct"),
    ),
    "together": Vendor(host="api.together.ai", key_variables=("TOGETHER_API_KEY",), models=ANY_MODEL),
    "fireworks": Vendor(host="api.fireworks.ai", key_variables=("FIREWORKS_API_KEY",), models=ANY_MODEL),
    "openrouter": Vendor(host="openrouter.ai", key_variables=("OPENROUTER_API_KEY",), models=ANY_MODEL),
}
"""In this order they are asked for a model that several list. The last ones have every vendor's models under names of
their own, so they come after the rest."""
AZURE_KEY, AZURE_URL, AZURE_MODELS = "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_DEPLOYMENT"
AZURE_HOSTS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
AZURE_VERSION = "OPENAI_API_VERSION"  # As OpenAI's own package calls it; without one the v1 API is meant.
KEY_VARIABLES = (*(name for vendor in VENDORS.values() for name in vendor.key_variables), AZURE_KEY)

# Clouds: what must be set for one to be taken as wanted. AWS's general keys are not enough; many machines have them.
BEDROCK_KEY, AWS_REGIONS = "AWS_BEARER_TOKEN_BEDROCK", ("AWS_REGION", "AWS_DEFAULT_REGION")
BEDROCK_MODELS = (
    *("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "global.anthropic.claude-haiku-4-5-20251001-v1:0"),
    *("amazon.nova-pro-v1:0", "amazon.nova-lite-v1:0", "openai.gpt-oss-120b-1:0"),
)
GOOGLE_PROJECT, GOOGLE_REGION = "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"
VERTEX_MODELS = ("gemini-2.5-flash", "gemini-2.5-pro", "claude-sonnet-4-5@20250929")

OLLAMA_PORT = 11434
DEMO = Endpoint(provider="demo", models=("demo",))


class LocalServer(Struct, frozen=True, kw_only=True):
    """A model server that answered on this machine."""

    name: str
    provider: Provider
    url: str
    models: tuple[str, ...]


def config(environment: Mapping[str, str], local: Sequence[LocalServer]) -> Config:
    """Named endpoints first, then vendors whose key is set, then local servers; `demo` when there is nothing else.

    Keys become references, never values. Raises ConfigError with the variable and the fix.
    """
    endpoints = _named(environment)
    for provider in VENDORS:
        if _key_variable(provider, environment):
            endpoints.setdefault(provider, _vendor(provider, environment))
    for name, endpoint in _clouds(environment):
        endpoints.setdefault(name, endpoint)
    for server in local:
        if server.models:
            endpoints.setdefault(server.name, _local(server))
    found = Config(endpoints=endpoints or {"demo": DEMO})
    check(found)
    return found


def _named(environment: Mapping[str, str]) -> dict[str, Endpoint]:
    """The endpoints of LLM_PROXY_ENDPOINT_<NAME>_URL, _PROVIDER, _MODELS, _KEY, _REGION and _PROJECT."""
    given: dict[str, dict[str, str]] = {}
    for variable in sorted(environment):
        match = ENDPOINT_VARIABLE.fullmatch(variable)
        if match is None and variable.startswith(ENDPOINT_PREFIX):
            raise ConfigError(
                f"{variable}: there is no such setting of an endpoint; one of _{', _'.join(ENDPOINT_FIELDS)}"
            )
        if match and environment[variable].strip():
            given.setdefault(match[1].lower(), {})[match[2]] = environment[variable].strip()
    return {name: _named_endpoint(name, fields, environment) for name, fields in given.items()}


def _named_endpoint(name: str, fields: Mapping[str, str], environment: Mapping[str, str]) -> Endpoint:
    prefix = f"LLM_PROXY_ENDPOINT_{name.upper()}"
    url = fields.get("URL", "")
    if url and not url.startswith(("http://", "https://")):
        raise ConfigError(f"{prefix}_URL: must start with http:// or https://")
    if not url and "PROVIDER" not in fields and name not in PROVIDERS:  # Its key would go to whoever is guessed.
        raise ConfigError(f"{prefix}_URL: say where the endpoint is, or with {prefix}_PROVIDER whose it is")
    provider = fields.get("PROVIDER", "").lower() or provider_of(url, name)
    if provider not in PROVIDERS:
        raise ConfigError(f"{prefix}_PROVIDER: {provider!r} is unknown; one of {', '.join(PROVIDERS)}")
    vendor = VENDORS.get(provider)
    at_vendor = vendor is not None and (not url or urlsplit(url).hostname == vendor.host)
    # A vendor's key goes to the vendor's own host and to no other, unless it is named for this endpoint.
    own_key = f"env:{prefix}_KEY" if "KEY" in fields else ""
    vendor_key = _key_variable(provider, environment) if at_vendor else ""
    models = tuple(model.strip() for model in fields.get("MODELS", "").split(",") if model.strip())
    key = own_key or (f"env:{vendor_key}" if vendor_key else "")
    return Endpoint(
        provider=provider,
        url=url,
        key=key,
        auth=auth.Google() if provider == "vertex" and not key else None,
        region=fields.get("REGION", ""),
        project=fields.get("PROJECT", ""),
        models=models or (vendor.models if vendor is not None and at_vendor else _default_models(provider)),
    )


def provider_of(url: str, name: str) -> Provider:
    """From the host of the URL, else from the endpoint's name; an unknown server is taken to speak OpenAI's format."""
    parts = urlsplit(url)
    for provider, vendor in VENDORS.items():
        if parts.hostname == vendor.host:
            return provider
    if (parts.hostname or "").endswith(AZURE_HOSTS):
        return "azure"
    if "ollama" in (parts.hostname or "") or (parts.port == OLLAMA_PORT and not parts.path.rstrip("/").endswith("/v1")):
        return "ollama"
    return next((provider for provider in PROVIDERS if provider == name), "openai")


def _default_models(provider: Provider) -> tuple[str, ...]:
    return DEMO.models if provider == "demo" else ANY_MODEL


def _vendor(name: Provider, environment: Mapping[str, str]) -> Endpoint:
    return Endpoint(provider=name, key=f"env:{_key_variable(name, environment)}", models=VENDORS[name].models)


def _clouds(environment: Mapping[str, str]) -> Iterator[tuple[str, Endpoint]]:
    resource, version = (environment.get(name, "").strip() for name in (AZURE_URL, AZURE_VERSION))
    if resource and environment.get(AZURE_KEY, "").strip():
        given = environment.get(AZURE_MODELS, "").split(",")
        deployments = tuple(name.strip() for name in given if name.strip())
        url = f"{resource.rstrip('/')}?api-version={version}" if version else resource
        # Deployments are often called as the model they serve.
        models = deployments or VENDORS["openai"].models
        yield "azure", Endpoint(provider="azure", url=url, key=f"env:{AZURE_KEY}", models=models)
    region = next((environment[name].strip() for name in AWS_REGIONS if environment.get(name, "").strip()), "")
    if region and environment.get(BEDROCK_KEY, "").strip():
        yield "bedrock", Endpoint(provider="bedrock", key=f"env:{BEDROCK_KEY}", region=region, models=BEDROCK_MODELS)
    project, place = (environment.get(name, "").strip() for name in (GOOGLE_PROJECT, GOOGLE_REGION))
    if project and place and environment.get(auth.GOOGLE_ACCOUNT, "").strip():
        account = auth.Google()
        yield "vertex", Endpoint(provider="vertex", auth=account, project=project, region=place, models=VERTEX_MODELS)


def _key_variable(provider: Provider, environment: Mapping[str, str]) -> str:
    """The vendor's variable that is set, or ""."""
    vendor = VENDORS.get(provider)
    names = vendor.key_variables if vendor else ()
    return next((name for name in names if environment.get(name, "").strip()), "")


def _local(server: LocalServer) -> Endpoint:
    return Endpoint(provider=server.provider, url=server.url, models=server.models)


# What runs nearby.


class Candidate(Struct, frozen=True, kw_only=True):
    name: str
    provider: Provider
    url: str
    path: str


def candidates(environment: Mapping[str, str]) -> list[Candidate]:
    if environment.get(LOCAL_DISCOVERY, "").lower() in ("0", "false", "no", "off"):
        return []
    return [
        Candidate(
            name="ollama", provider="ollama", url=ollama_url(environment.get("OLLAMA_HOST", "")), path="/api/tags"
        ),
        Candidate(name="vllm", provider="vllm", url="http://127.0.0.1:8000", path="/v1/models"),
        Candidate(name="lmstudio", provider="vllm", url="http://127.0.0.1:1234", path="/v1/models"),
    ]


def ollama_url(host: str) -> str:
    """OLLAMA_HOST as Ollama reads it: host, host:port or URL; 0.0.0.0 is what a server binds, not where to call. Raises ConfigError."""
    text = host.strip().rstrip("/")
    if "://" not in text:
        text = f"http://{text or '127.0.0.1'}"
    try:
        parts = urlsplit(text)
        given = parts.port
    except ValueError as error:
        raise ConfigError(f"OLLAMA_HOST: {error}; write host, host:port or a URL") from None
    name = parts.hostname or "127.0.0.1"
    name = "127.0.0.1" if name in ("0.0.0.0", "::") else name  # noqa: S104 - compared, not bound
    name = f"[{name}]" if ":" in name else name
    port = given or (443 if parts.scheme == "https" else OLLAMA_PORT)
    return f"{parts.scheme}://{name}:{port}"


def probe(environment: Mapping[str, str]) -> list[LocalServer]:
    """Asks all candidates at once; who does not answer within PROBE_TIMEOUT_S is not there."""
    asked = candidates(environment)
    if not asked:
        return []
    with ThreadPoolExecutor(len(asked)) as pool:
        return [server for server in pool.map(_ask, asked) if server is not None and server.models]


def _ask(candidate: Candidate) -> LocalServer | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # Nearby, so never through a proxy.
    try:
        with opener.open(candidate.url + candidate.path, timeout=PROBE_TIMEOUT_S) as answer:
            models = models_in(answer.read(ANSWER_BYTES_MAX))
    except (OSError, ValueError, http.client.HTTPException):  # The last: it speaks something else.
        return None
    return LocalServer(name=candidate.name, provider=candidate.provider, url=candidate.url, models=models)


def models_in(answer: bytes) -> tuple[str, ...]:
    """The names in Ollama's `{"models": [{"name"}]}` or OpenAI's `{"data": [{"id"}]}`; none in anything else."""
    try:
        body: Any = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    entries = (body.get("models") or body.get("data") or []) if isinstance(body, dict) else []
    if not isinstance(entries, list):
        return ()
    names = [entry.get("name") or entry.get("id") for entry in entries if isinstance(entry, dict)]
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name))[:MODELS_MAX]
