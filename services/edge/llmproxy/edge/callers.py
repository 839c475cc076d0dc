"""What a caller's own headers and query say: which dialect it speaks, what its provider is shown of it, how a stream is written."""

import re
from typing import Protocol

from llmproxy.common.envelope import Dialect
from llmproxy.common.errors import GatewayError
from llmproxy.edge.ingress import Headers

VERSION = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
FEATURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
FEATURES_MAX = 32
ALT = re.compile(r"(?:^|&)(?:\$|%24)?alt=([a-z]*)", re.ASCII)
NOTHING_SHOWN: dict[str, str] = {}


class Names(Protocol):
    def __contains__(self, name: object, /) -> bool: ...


def dialect_of(headers: Names) -> Dialect:
    """Who calls a path that several APIs have."""
    if "anthropic-version" in headers:
        return "anthropic"
    return "google" if "x-goog-api-key" in headers else "openai"


def shown_headers(headers: Headers) -> dict[str, str]:
    """Of an Anthropic caller's headers, those that an Anthropic provider is shown. Raises GatewayError."""
    shown: dict[str, str] = {}
    version = headers.get("anthropic-version", "").strip()
    if version:
        if not VERSION.fullmatch(version):
            raise _invalid("anthropic-version", "a date, as in 2023-06-01")
        shown["anthropic-version"] = version
    features = [name.strip() for name in ",".join(headers.getall("anthropic-beta", ())).split(",")]
    features = [name for name in features if name]
    if len(features) > FEATURES_MAX or not all(map(FEATURE.fullmatch, features)):
        raise _invalid("anthropic-beta", f"at most {FEATURES_MAX} names of features, separated by commas")
    if features:
        shown["anthropic-beta"] = ",".join(features)
    return shown


def as_array(query: str) -> bool:
    """Whether a stream of Gemini's is asked for as one JSON array, which is what it is without `alt=sse`."""
    found = ALT.search(query)
    match found[1] if found else "json":
        case "sse":
            return False
        case "json":
            return True
    raise _invalid("alt", "sse or json")


def _invalid(name: str, expected: str) -> GatewayError:
    return GatewayError("invalid_value", f"invalid '{name}': it must be {expected}", param=name)
