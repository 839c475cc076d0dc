"""What `/v1/models` shows follows the configuration and the vendors' lists, and waits for neither."""

import asyncio

from llmproxy.common.channels import MODELS_BUCKET
from llmproxy.common.config import Config, Endpoint, Snapshot
from llmproxy.common.model_lists import AGE_MAX_MS, ENCODER, ModelList
from llmproxy.common.testing import FakeBroker, fake_bus
from llmproxy.edge.catalogue import Catalogue

CONFIG = Config(endpoints={"any": Endpoint(provider="vllm", models=("mine", "*"))})


def of(*models: str) -> bytes:
    return ENCODER.encode(ModelList(provider="vllm", models=models, listed_at_ms=0))


def test_lists_come_and_go_beside_the_configured_names() -> None:
    async def scenario() -> None:
        bus = await fake_bus(FakeBroker(), "edge")
        bucket = await bus.wire.bucket(MODELS_BUCKET)
        await bucket.put("any", of("theirs"))
        shown = Catalogue(now=lambda: 0.0)
        shown.swap(Snapshot(revision=1, config=CONFIG))
        assert list(shown.models) == ["mine"]
        await shown.watch(bus)
        assert list(shown.models) == ["mine", "theirs"]
        await bucket.put("any", of("other"))
        await bus.wire.flush()
        assert list(shown.models) == ["mine", "other"]
        shown.swap(Snapshot(revision=2, config=Config()))
        assert shown.models == {}
        shown.swap(Snapshot(revision=3, config=CONFIG))
        await bucket.delete("any")
        await bus.wire.flush()
        assert list(shown.models) == ["mine"]
        await bus.drain(0.0)

    asyncio.run(scenario())


def test_a_list_that_cannot_be_read_is_not_shown() -> None:
    shown = Catalogue(now=lambda: 0.0)
    shown.swap(Snapshot(revision=1, config=CONFIG))
    shown.change("any", of("theirs"))
    shown.change("any", b"nonsense")
    assert list(shown.models) == ["mine"]


def test_a_list_grows_old_while_nothing_else_happens() -> None:
    now_s = 0.0
    shown = Catalogue(now=lambda: now_s)
    shown.swap(Snapshot(revision=1, config=CONFIG))
    shown.change("any", of("theirs"))
    assert "theirs" in shown.models
    now_s = AGE_MAX_MS / 1000 + 1
    assert list(shown.models) == ["mine"]
