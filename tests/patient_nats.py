"""Tests that talk to a real nats-server give it more time than the services do, which ask again."""

from collections.abc import Iterator

import pytest

from llmproxy.common import bus, nats_wire

NATS_S = 20.0


@pytest.fixture(scope="session", autouse=True)
def _nats_has_time() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        for name in ("JETSTREAM_TIMEOUT_S", "SETTLE_TIMEOUT_S", "CLOSE_TIMEOUT_S"):
            patched.setattr(nats_wire, name, NATS_S)
        patched.setattr(bus, "COMMIT_TIMEOUT_S", NATS_S)
        yield
