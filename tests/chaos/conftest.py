"""A gateway in front of a slow provider, for each way of hurting it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from gateway import Gateway
from ports import free_port

Started = Callable[..., AbstractContextManager[Gateway]]


@pytest.fixture
def upstream_port() -> int:
    return free_port()


@pytest.fixture
def started(tmp_path: Path, upstream_port: int) -> Started:
    @contextmanager
    def start(**scale: int) -> Iterator[Gateway]:
        config = {
            "endpoints": {
                "slow": {"provider": "openai", "url": f"http://127.0.0.1:{upstream_port}/v1", "models": ["slow"]}
            }
        }
        named = {service.replace("_", "-"): count for service, count in scale.items()}
        with Gateway(tmp_path / "gateway", config, environment={"LLM_PROXY_LOST_S": "2.5"}, scale=named) as gateway:
            yield gateway

    return start
