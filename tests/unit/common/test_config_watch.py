"""What a service sees of the configuration: always whole, always the newest that can be read."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from patience import PATIENCE_S

from llmproxy.common.channels import CONFIG_BUCKET
from llmproxy.common.config import Config, Gateway, Snapshot
from llmproxy.common.config_watch import CURRENT, ConfigWatch
from llmproxy.common.testing import FakeBroker, FakeWire, fake_bus


def snapshot(revision: int, max_depth: int = 64) -> Snapshot:
    return Snapshot(revision=revision, config=Config(gateway=Gateway(max_depth=max_depth)))


class Published:
    """A broker and the control plane's side of the bucket."""

    def __init__(self) -> None:
        self.broker = FakeBroker()
        self.wire = FakeWire(self.broker)

    async def put(self, published: Snapshot | bytes) -> None:
        bucket = await self.wire.bucket(CONFIG_BUCKET)
        await bucket.put(CURRENT, published if isinstance(published, bytes) else msgspec.json.encode(published))

    async def applied(self, count: int) -> list[int]:
        """Revisions in the first `count` config.applied events, which may share messages."""
        while True:
            found = [
                msgspec.json.decode(line)["facts"]["revision"]
                for subject, payload in self.broker.published
                if subject.endswith("config.applied")
                for line in payload.splitlines()
            ]
            if len(found) >= count:
                return found
            await asyncio.sleep(0)


def run(scenario: Callable[[Published], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scenario(Published())

    asyncio.run(main())


async def watching(published: Published) -> ConfigWatch:
    watch = ConfigWatch(await fake_bus(published.broker, "shield"))
    await watch.start()
    return watch


async def revision(watch: ConfigWatch, wanted: int) -> None:
    while watch.snapshot.revision != wanted:
        await asyncio.sleep(0)


def test_a_service_starts_with_what_was_published() -> None:
    async def scenario(published: Published) -> None:
        await published.put(snapshot(3, max_depth=9))
        watch = await watching(published)
        assert (watch.snapshot.revision, watch.config.gateway.max_depth) == (3, 9)

    run(scenario)


def test_a_service_waits_until_something_is_published() -> None:
    async def scenario(published: Published) -> None:
        starting = asyncio.create_task(watching(published))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not starting.done()
        await published.put(snapshot(1))
        assert (await starting).snapshot.revision == 1

    run(scenario)


def test_a_service_waits_for_jetstream_too() -> None:
    async def scenario(published: Published) -> None:
        await published.put(snapshot(1))
        published.broker.jetstream_down = True
        starting = asyncio.create_task(watching(published))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not starting.done()
        published.broker.jetstream_down = False
        assert (await starting).snapshot.revision == 1

    run(scenario)


def test_a_change_is_swapped_whole_and_told_in_order() -> None:
    async def scenario(published: Published) -> None:
        await published.put(snapshot(1))
        watch = await watching(published)
        told: list[tuple[int, int]] = []
        watch.on_change(lambda new: told.append((new.revision, watch.snapshot.revision)))
        await published.put(snapshot(2))
        await published.put(snapshot(3))
        await revision(watch, 3)
        assert told == [(1, 1), (2, 2), (3, 3)]

    run(scenario)


@pytest.mark.parametrize(
    "unreadable",
    [
        *(b"", b"{", b"\xff", b'{"revision":2}', b'{"revision":2,"config":{"gateway":{"later_field":1}}}'),
        *(b'{"revision":2,"config":{"endpoints":{"\xff":{}}}}', b'{"x":' + b"[" * 100_000),
    ],
)
def test_a_configuration_that_cannot_be_read_leaves_the_last_one_in_force(
    unreadable: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(published: Published) -> None:
        await published.put(snapshot(1))
        watch = await watching(published)
        await published.put(unreadable)
        await published.put(snapshot(3))
        await revision(watch, 3)
        assert await published.applied(2) == [1, 3]

    with caplog.at_level(logging.ERROR):
        run(scenario)
    assert "keeping revision 1" in caplog.text


def test_other_keys_and_deletions_change_nothing() -> None:
    async def scenario(published: Published) -> None:
        await published.put(snapshot(1))
        watch = await watching(published)
        bucket = await published.wire.bucket(CONFIG_BUCKET)
        await bucket.put("draft", msgspec.json.encode(snapshot(9)))
        await bucket.delete(CURRENT)
        for _ in range(5):
            await asyncio.sleep(0)
        assert watch.snapshot.revision == 1

    run(scenario)


def test_every_applied_revision_is_an_event() -> None:
    async def scenario(published: Published) -> None:
        await published.put(snapshot(4))
        watch = await watching(published)
        await published.put(snapshot(5))
        await revision(watch, 5)
        assert await published.applied(2) == [4, 5]

    run(scenario)


def test_without_a_bus_the_defaults_hold() -> None:
    watch = ConfigWatch()
    told: list[int] = []
    watch.on_change(lambda new: told.append(new.revision))
    watch.swap(snapshot(2))
    assert told == [0, 2]
