"""A second opinion on the machine itself: which texts a sentence-embedding model is asked about, where one is installed."""

from typing import Annotated

from msgspec import Meta, Struct

from llmproxy.common.actions import Probability

EMBEDDING = "embedding"


class Embedding(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Asked by a shield that has the model (docs/models/embedding.md). It can convict and not acquit."""

    low: Probability = 0.2  # From this probability on, as far as the text is below the threshold of its role. 1: never.
    timeout_ms: Annotated[int, Meta(ge=1, le=10_000)] = 500  # For all texts of one request.
