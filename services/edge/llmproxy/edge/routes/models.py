"""The list of models as a key sees it."""

import msgspec
from msgspec import Struct

from llmproxy.common.keyring import KeyRecord
from llmproxy.edge.identity import may_use

CREATED = 1_700_000_000  # Clients require a time; a configured name has none.


class Model(Struct, frozen=True):
    id: str
    owned_by: str  # The provider.
    object: str = "model"
    created: int = CREATED


class Models(Struct, frozen=True):
    data: list[Model]
    object: str = "list"


_encode = msgspec.json.Encoder().encode


def listing(models: dict[str, str], record: KeyRecord) -> bytes:
    return _encode(Models([Model(name, provider) for name, provider in models.items() if may_use(record, name)]))


def one(models: dict[str, str], record: KeyRecord, name: str) -> bytes | None:
    """None when it does not exist for this key; which of the two is not said."""
    provider = models.get(name)
    return None if provider is None or not may_use(record, name) else _encode(Model(name, provider))
