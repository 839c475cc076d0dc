"""The list of models as a key sees it, in the dialect of whoever asks."""

from collections.abc import Callable
from functools import cache
from typing import cast

import msgspec
from msgspec import Struct

from llmproxy.common.config import Provider
from llmproxy.common.envelope import Dialect
from llmproxy.common.keyring import KeyRecord
from llmproxy.common.offers import OFFERS, capabilities
from llmproxy.edge.identity import may_use

CREATED = 1_700_000_000  # Clients require a time; a configured name has none.
CREATED_AT = "2023-11-14T22:13:20Z"
GENERATES = ("generateContent", "streamGenerateContent")
GOOGLE_PREFIX = "models/"


class Model(Struct, frozen=True):
    """https://platform.openai.com/docs/api-reference/models"""

    id: str
    owned_by: str  # The provider.
    apis: tuple[str, ...]  # Ours: where it can be asked,
    capabilities: tuple[str, ...]  # and what of a chat the provider has a word for. Some of its models have less.
    object: str = "model"
    created: int = CREATED


class Models(Struct, frozen=True):
    data: list[Model]
    object: str = "list"


class AnthropicModel(Struct, frozen=True):
    """https://docs.anthropic.com/en/api/models-list"""

    id: str
    display_name: str
    type: str = "model"
    created_at: str = CREATED_AT


class AnthropicModels(Struct, frozen=True):
    data: list[AnthropicModel]
    first_id: str | None
    last_id: str | None
    has_more: bool = False


class GoogleModel(Struct, frozen=True, rename="camel"):
    """https://ai.google.dev/api/models"""

    name: str
    display_name: str
    version: str = "1"
    supported_generation_methods: tuple[str, ...] = GENERATES


class GoogleModels(Struct, frozen=True):
    models: list[GoogleModel]


_encode = msgspec.json.Encoder().encode


def listing(models: dict[str, str], record: KeyRecord, dialect: Dialect = "openai") -> bytes:
    """All of them, whatever page was asked for."""
    return _encode(LISTS[dialect]([(name, provider) for name, provider in models.items() if may_use(record, name)]))


def one(models: dict[str, str], record: KeyRecord, name: str, dialect: Dialect = "openai") -> bytes | None:
    """None when it does not exist for this key; which of the two is not said."""
    provider = models.get(name)
    return None if provider is None or not may_use(record, name) else _encode(MODELS[dialect](name, provider))


def _anthropic(name: str, _: str) -> AnthropicModel:
    return AnthropicModel(name, name)


def _google(name: str, _: str) -> GoogleModel:
    return GoogleModel(GOOGLE_PREFIX + name, name)


def _openai(name: str, provider: str) -> Model:
    return Model(name, provider, *_abilities(provider))


@cache
def _abilities(provider: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    known = cast("Provider", provider)
    return tuple(sorted(OFFERS[known])), tuple(sorted(capabilities(known)))


def _openai_list(named: list[tuple[str, str]]) -> Models:
    return Models([_openai(name, provider) for name, provider in named])


def _anthropic_list(named: list[tuple[str, str]]) -> AnthropicModels:
    data = [_anthropic(name, provider) for name, provider in named]
    return AnthropicModels(data, data[0].id if data else None, data[-1].id if data else None)


def _google_list(named: list[tuple[str, str]]) -> GoogleModels:
    return GoogleModels([_google(name, provider) for name, provider in named])


MODELS: dict[Dialect, Callable[[str, str], Struct]] = {"openai": _openai, "anthropic": _anthropic, "google": _google}
LISTS: dict[Dialect, Callable[[list[tuple[str, str]]], Struct]] = {
    "openai": _openai_list,
    "anthropic": _anthropic_list,
    "google": _google_list,
}
