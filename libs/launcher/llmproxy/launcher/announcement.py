"""What `llmproxy up` prints when everything is ready."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from msgspec import json

from llmproxy.common.config import Config, models
from llmproxy.launcher.options import DEFAULT_DATA

MODELS_SHOWN_MAX = 6
ANY_MODEL = "MODEL"
COMMAND = "llmproxy"


def lines(
    *,
    gateway_url: str,
    admin_url: str,
    token_in: str,
    config: Config,
    is_ours: bool,
    key: str,
    keys_exist: bool,
    data: Path,
    command: str = COMMAND,
) -> Iterator[str]:
    """`config`: that is in force. Not `is_ours`: not the one that this start was given. `command`: as this one is called."""
    make = f"{command} keys create --name NAME" + (
        "" if data == DEFAULT_DATA.absolute() else f" --data {shlex.quote(str(data))}"
    )
    names = list(models(config))
    more = f" and {len(names) - MODELS_SHOWN_MAX} more" if len(names) > MODELS_SHOWN_MAX else ""
    yield ""
    yield f"  Gateway   {gateway_url}/v1"
    yield f"  Admin     {admin_url}   token in {token_in}"
    nothing_named = "any" if config.endpoints else "none; the configuration has no endpoints"
    yield f"  Models    {', '.join(names[:MODELS_SHOWN_MAX]) or nothing_named}{more}"
    if not is_ours:
        yield "  Config    kept from before: with LLM_PROXY_CONFIG_SOURCE=api a file or the environment give the first one alone"
    if key:
        yield f"  API key   {key}   (shown once; only its hash is stored)"
    elif keys_exist:
        yield f"  API key   there are keys already; make another with `{make}`"
    else:
        yield f"  API key   admin did not answer; make one with `{make}`"
    yield ""
    yield "  " + curl(gateway_url, names[0] if names else ANY_MODEL, key or "$LLM_PROXY_KEY")
    yield ""
    yield "  Ctrl-C finishes what is under way and stops everything."


def called(started_as: str, on_path: str | None) -> str:
    """How the same command is called again: by its name where the shell finds it, else as it was called now."""
    return COMMAND if on_path or Path(started_as).name != COMMAND else shlex.quote(started_as)


def curl(gateway_url: str, model: str, key: str) -> str:
    body = json.encode({"model": model, "messages": [{"role": "user", "content": "Hello"}]}).decode()
    quoted = body.replace("'", "'\\''")
    return (
        f'curl {gateway_url}/v1/chat/completions -H "Authorization: Bearer {key}" '
        f"-H 'Content-Type: application/json' -d '{quoted}'"
    )
