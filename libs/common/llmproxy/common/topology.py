"""The streams and buckets that must exist on NATS, as data."""

from msgspec import Struct

from llmproxy.common.channels import (
    BODIES_BUCKET,
    CONFIG_BUCKET,
    CONVERSATIONS_BUCKET,
    KEYS_BUCKET,
    MODELS_BUCKET,
    ROOT,
)

DAY_S = 86_400


class Stream(Struct, frozen=True, kw_only=True):
    name: str
    subjects: tuple[str, ...]
    work_queue: bool = False  # A message is gone once acknowledged; otherwise it stays until `max_age_s`.
    max_age_s: int = 0  # 0: for ever.
    max_bytes: int


class BucketSpec(Struct, frozen=True, kw_only=True):
    name: str
    history: int = 1
    max_bytes: int
    ttl_s: int = 0  # 0: for ever. Otherwise the oldest entry goes when it is full.


STREAMS = (
    # Kept until the ledger has it. When full the publisher is refused, which strict mode turns into 503.
    Stream(name="AUDIT", subjects=(f"{ROOT}.audit.*",), work_queue=True, max_bytes=4 << 30),
    Stream(name="EVENTS", subjects=(f"{ROOT}.event.>",), max_age_s=DAY_S, max_bytes=1 << 30),
    Stream(name="OUTCOME", subjects=(f"{ROOT}.outcome.*",), max_age_s=DAY_S, max_bytes=1 << 30),
)
BUCKETS = (
    BucketSpec(name=CONFIG_BUCKET, history=32, max_bytes=64 << 20),
    BucketSpec(name=KEYS_BUCKET, max_bytes=256 << 20),
    BucketSpec(name=MODELS_BUCKET, max_bytes=16 << 20),
    # Some 400,000 conversations with a suspicious turn; the others are not in it (docs/adr/0027).
    BucketSpec(name=CONVERSATIONS_BUCKET, max_bytes=64 << 20, ttl_s=DAY_S),
)
OBJECT_BUCKET = BucketSpec(name=BODIES_BUCKET, max_bytes=512 << 20)
OBJECT_TTL_S = 600  # As long as a request may last.
