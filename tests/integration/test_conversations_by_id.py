"""A conversation that the provider keeps, over a real nats-server: whichever shield has which turn, and within each one's permissions."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from conversing import Around, serve
from patience import NATS_S, PATIENCE_S

from llmproxy.common.bus import Bus
from llmproxy.common.channels import CONVERSATIONS_BUCKET
from llmproxy.common.envelope import INLINE_BYTES_MAX
from llmproxy.common.errors import Unavailable
from llmproxy.common.nats_wire import NatsWire
from llmproxy.common.policy import Injection
from llmproxy.launcher.embedded import EmbeddedServers
from llmproxy.shield import conversations
from llmproxy.shield.conversations import Conversations, name_of
from llmproxy.shield.vault import tenant_key


@pytest.fixture(autouse=True)
def _shields_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what others have heard: what is tested is not how long a busy machine takes."""
    monkeypatch.setattr(conversations, "TIMEOUT_S", PATIENCE_S)


BLOCK = Injection(mode="block", user=0.6, trajectory=0.8)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    with EmbeddedServers(tmp_path_factory.mktemp("conversations"), durable=False, which=("nats",)) as running:
        yield running


async def bus(servers: EmbeddedServers, service: str, instance: str = "1") -> Bus:
    password = servers.nats_password(service)
    wire = await NatsWire.connect(
        servers.nats_address, user=service, password=password, service=service, timeout_s=NATS_S
    )
    made = Bus(wire, service=service, instance=f"{service}-{instance}")
    await made.start()
    return made


async def remembered(admin: Bus) -> Any:
    return await admin.wire._jetstream.stream_info(f"KV_{CONVERSATIONS_BUCKET}")  # type: ignore[attr-defined]


def test_turns_that_come_through_different_shields_are_one_conversation(servers: EmbeddedServers) -> None:
    async def main() -> None:
        admin = await bus(servers, "admin")
        await admin.wire.provision()
        await admin.wire.provision()  # A second start finds its bucket again.
        before = (await remembered(admin)).state.messages
        edge, vendor = await bus(servers, "edge"), await bus(servers, "router")
        around = Around(edge)
        await around.serve(vendor)
        for tenant, stream in (("acme", False), ("other", True)):
            last, codes = {}, []
            for turn in range(3):  # Each shield has one turn, and is gone when the next one comes.
                shield = await bus(servers, "shield", f"{tenant}-{turn}")
                await serve(shield, BLOCK)
                codes.append(await around.ask("p=0.55", tenant=tenant, stream=stream, **last))
                last = {"previous_response_id": codes[-1]}
                await shield.drain(PATIENCE_S)
            assert codes[2] == "content_blocked"
            assert codes[0].startswith("resp_")
            assert codes[1].startswith("resp_")
        bucket = await remembered(admin)
        assert bucket.state.messages == before + 4
        assert bucket.config.storage == "file"
        assert bucket.config.max_age == 86_400
        assert bucket.config.discard == "old"
        for one in (admin, edge, vendor):
            await one.drain(PATIENCE_S)

    asyncio.run(main())


def test_turns_sent_at_the_same_moment_through_several_shields_stay_under_no_limit(servers: EmbeddedServers) -> None:
    async def main() -> None:
        admin = await bus(servers, "admin")
        await admin.wire.provision()
        edge, vendor = await bus(servers, "edge"), await bus(servers, "router")
        around = Around(edge)
        await around.serve(vendor)
        shields = [await bus(servers, "shield", f"parallel-{number}") for number in range(3)]
        for shield in shields:
            await serve(shield, BLOCK)
        asked = [around.ask(f"p=0.55 {turn}", conversation="conv_parallel") for turn in range(16)]
        assert (await asyncio.gather(*asked)).count("content_blocked") == 14
        assert len(around.routed) == 2
        kept = Conversations(lambda: shields[0].wire.bucket(CONVERSATIONS_BUCKET))
        name = name_of(tenant_key(b"secret", "acme"), "conv_parallel")
        assert await kept.recall(name) == (0.55, 0.55)
        for one in (admin, edge, vendor, *shields):
            await one.drain(PATIENCE_S)

    asyncio.run(main())


def test_after_a_restart_of_nats_alone_conversations_are_known_and_large_bodies_are_taken(
    servers: EmbeddedServers,
) -> None:
    async def main() -> None:
        admin = await bus(servers, "admin")
        await admin.wire.provision()
        shield = await bus(servers, "shield", "before")
        memory = Conversations(lambda: shield.wire.bucket(CONVERSATIONS_BUCKET))
        await memory.remember("a" * 32, (0.55,))
        await shield.drain(PATIENCE_S)
        servers.restart("nats")  # In this thread, with whose end the server's comes.
        other = await bus(servers, "shield", "after")
        again = Conversations(lambda: other.wire.bucket(CONVERSATIONS_BUCKET))
        assert await again.recall("a" * 32) == (0.55,)
        assert await again.recall("b" * 32) == ()
        async with asyncio.timeout(PATIENCE_S):
            while not await takes_bodies(other):  # These lie in memory: admin makes their bucket again.
                await asyncio.sleep(0.05)
        for one in (other, admin):
            await one.drain(PATIENCE_S)

    asyncio.run(main())


async def takes_bodies(shield: Bus) -> bool:
    body = b"x" * (INLINE_BYTES_MAX + 1)
    try:
        return await shield.withdraw(await shield.deposit("a-large-body", body)) == body
    except Unavailable:
        return False
