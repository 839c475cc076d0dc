"""The models that vendors say they have: for endpoints that take every name, so that callers can see which ones there are.

A list is for reading. What a caller may use is decided by the configuration and the key alone, so a vendor that lists
nonsense, or nothing, changes no decision.
"""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct, json

from llmproxy.common.config import Config, models

ANY = "*"
NAMES_MAX = 2_000  # Of one endpoint; the largest reseller has some hundreds.
NAME = re.compile(r"[A-Za-z0-9][\w.:/@+~-]{0,127}", re.ASCII)
AGE_MAX_MS = 24 * 3_600_000  # An older list is not shown: its endpoint may have changed, and nobody has confirmed it.


class ModelList(Struct, frozen=True, kw_only=True):
    """What one endpoint's vendor listed."""

    provider: str
    models: tuple[str, ...]
    listed_at_ms: int


ENCODER, DECODER = json.Encoder(), json.Decoder(ModelList)


def tidy(names: Iterable[object]) -> tuple[str, ...]:
    """Those that look like names, each once, as many as are kept."""
    found = dict.fromkeys(name for name in names if isinstance(name, str) and NAME.fullmatch(name))
    return tuple(found)[:NAMES_MAX]


def listed(config: Config, lists: Mapping[str, ModelList], now_ms: int) -> dict[str, str]:
    """Model -> provider: the configured names first, then what the vendors of endpoints with `*` have."""
    names = models(config)
    for endpoint, configured in config.endpoints.items():
        known = lists.get(endpoint)
        if known is None or ANY not in configured.models or known.provider != configured.provider:
            continue
        if now_ms - known.listed_at_ms <= AGE_MAX_MS:
            for name in known.models:
                names.setdefault(name, configured.provider)
    return names
