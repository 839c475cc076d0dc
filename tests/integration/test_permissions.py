"""Who may say and hear what on the bus, against the table of ARCHITECTURE.md and a real nats-server (not against our own list)."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest
from patience import NATS_S, PATIENCE_S

from llmproxy.common.channels import CHANNELS, ROOT, Channel
from llmproxy.common.nats_wire import NatsWire
from llmproxy.launcher.embedded import EmbeddedServers

SERVICES = ("edge", "shield", "router", "provider-workers", "audit", "admin", "operator")
ADDRESSED = ("reply", "holding", "control", "bounce")

# By channel: who publishes and who subscribes. A name after a colon narrows to that service's own.
MAY_PUBLISH = {
    "edge": {"request.inspect", "reply:edge", "control", "event", "audit", "threats.answer"},
    "shield": {"request.route", "reply", "holding", "event"},
    "router": {"request.call", "reply", "holding", "event"},
    "provider-workers": {"request.call", "reply", "holding", "outcome", "event"},
    "audit": {"event", "ledger.answer"},
    "admin": {"event", "audit", "ledger.query", "ledger.verify", "threats.ask"},
    "operator": set(),
}
MAY_SUBSCRIBE = {
    "edge": {"reply:edge", "holding:edge", "threats.ask", "control:edge", "bounce:edge"},
    "shield": {"request.inspect", "reply:shield", "control:shield", "bounce:shield"},
    "router": {"request.route", "outcome", "control:router", "bounce:router"},
    "provider-workers": {"request.call", "control:provider-workers", "bounce:provider-workers"},
    "audit": {"ledger.query", "ledger.verify", "control:audit", "bounce:audit"},
    "admin": {
        *("event.instance", "event.circuit", "event.ledger"),
        *("ledger.answer", "threats.answer", "control:admin", "bounce:admin"),
    },
    "operator": {"event"},
}
# Only admin writes configuration and keys, only workers what vendors list, only the shield what it remembers of conversations; nobody destroys a stream; only audit takes from the audit stream.
JETSTREAM_WRITES = {
    "$KV.LLMPROXY_CONFIG.current": {"admin"},
    "$KV.LLMPROXY_KEYS.abc": {"admin"},
    "$KV.LLMPROXY_MODELS.openai": {"provider-workers"},
    "$KV.LLMPROXY_CONVERSATIONS.abc": {"shield"},
    "$JS.API.DIRECT.GET.KV_LLMPROXY_CONVERSATIONS.$KV.LLMPROXY_CONVERSATIONS.abc": {"shield"},
    "$JS.API.STREAM.DELETE.AUDIT": set(),
    "$JS.API.STREAM.PURGE.AUDIT": set(),
    "$JS.API.STREAM.PURGE.EVENTS": set(),
    "$JS.API.STREAM.MSG.DELETE.AUDIT": set(),
    "$JS.API.STREAM.MSG.GET.AUDIT": {"audit"},
    "$JS.API.STREAM.MSG.GET.KV_LLMPROXY_KEYS": {"edge", "admin"},
    "$JS.API.STREAM.MSG.GET.OBJ_LLMPROXY_BODIES": {"edge", "shield", "provider-workers"},
    "$JS.API.STREAM.MSG.GET.EVENTS": set(),
    "$JS.API.CONSUMER.MSG.NEXT.AUDIT.audit": {"audit"},
    "$JS.API.STREAM.CREATE.EVIL": {"admin"},
    "$SYS.REQ.ACCOUNT.PING.CONNZ": set(),
    "anything.else": set(),
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    with EmbeddedServers(tmp_path_factory.mktemp("permissions"), durable=False, which=("nats",)) as running:
        yield running


def family(channel: Channel[object]) -> str:
    return channel.pattern.split(".{")[0]


def examples(channel: Channel[object]) -> list[tuple[str, str]]:
    """(what the tables call it, a concrete subject); for addressed channels one for each service."""
    places = {"provider": "openai", "tenant": "acme", "id": "0192f0c1", "stage": "router", "attempt": "0"}
    if "{address}" not in channel.pattern:
        return [(family(channel), channel.subject(**places))]
    if channel.pattern.startswith(("ledger", "threats")):
        return [(family(channel), channel.subject(address="admin.admin-1", **places))]
    return [
        (f"{family(channel)}:{owner}", channel.subject(address=f"{owner}.x-1", publisher=f"{owner}.x-1", **places))
        for owner in SERVICES
    ]


def allowed(name: str, table: set[str]) -> bool:
    parts = name.split(":")[0].split(".")
    return name in table or any(".".join(parts[:length]) in table for length in range(1, len(parts) + 1))


def violations(servers: EmbeddedServers, service: str, publish: list[str], subscribe: list[tuple[str, str]]) -> str:
    """Everything the server complained about while `service` tried all of it."""

    async def attempt() -> str:
        complaints: list[str] = []

        async def complained(error: Exception) -> None:
            complaints.append(str(error).lower())

        connection = await nats.connect(
            servers.nats_address,
            user=service,
            password=servers.nats_password(service),
            error_cb=complained,
            connect_timeout=int(PATIENCE_S),
        )
        for subject in publish:
            await connection.publish(subject, b"{}")
        for subject, queue in subscribe:
            await connection.subscribe(subject, queue=queue)
        await asyncio.sleep(0)
        for _ in range(2):  # nats-py's flush may overtake what is buffered; the second one cannot.
            await connection.flush(int(PATIENCE_S))
        await connection.close()
        return "\n".join(complaints)

    return asyncio.run(attempt())


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_publishes_only_in_its_row(servers: EmbeddedServers, service: str) -> None:
    pairs = [pair for channel in CHANNELS for pair in examples(channel)]
    complaints = violations(servers, service, [subject for _, subject in pairs], [])
    for name, subject in pairs:
        refused = f'publish to "{subject}"'.lower() in complaints
        assert refused is not allowed(name, MAY_PUBLISH[service]), f"{service} publishing on {subject}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_writes_to_jetstream_only_what_it_owns(servers: EmbeddedServers, service: str) -> None:
    complaints = violations(servers, service, list(JETSTREAM_WRITES), [])
    for subject, owners in JETSTREAM_WRITES.items():
        refused = f'publish to "{subject}"'.lower() in complaints
        assert refused is (service not in owners), f"{service} publishing on {subject}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_subscribes_only_in_its_row(servers: EmbeddedServers, service: str) -> None:
    tried = [(name, subject, channel.queue) for channel in CHANNELS for name, subject in examples(channel)]
    complaints = violations(servers, service, [], [(subject, queue) for _, subject, queue in tried])
    for name, subject, _ in tried:
        refused = f'subscription to "{subject}"'.lower() in complaints
        assert refused is not allowed(name, MAY_SUBSCRIBE[service]), f"{service} subscribing to {subject}"


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "subject", [">", f"{ROOT}.>", f"{ROOT}.request.>", f"{ROOT}.reply.>", "_INBOX.>", "$JS.>", "$KV.>"]
)
def test_nobody_listens_wider_than_its_row(servers: EmbeddedServers, service: str, subject: str) -> None:
    assert f'subscription to "{subject}"'.lower() in violations(servers, service, [], [(subject, "")])


@pytest.mark.parametrize(("service", "subject"), [("shield", "request.inspect"), ("router", "request.route")])
def test_requests_cannot_be_listened_to_beside_the_queue_group(
    servers: EmbeddedServers, service: str, subject: str
) -> None:
    """A plain subscription would get a copy of every prompt."""
    assert "permissions violation" in violations(servers, service, [], [(f"{ROOT}.{subject}", "")])
    assert "permissions violation" in violations(servers, service, [], [(f"{ROOT}.{subject}", "spies")])


def test_without_a_password_nothing_is_reached(servers: EmbeddedServers) -> None:
    async def attempt() -> None:
        await nats.connect(servers.nats_address, allow_reconnect=False, connect_timeout=int(PATIENCE_S))

    with pytest.raises(nats.errors.Error):
        asyncio.run(attempt())


def test_every_service_can_reach_what_it_needs(servers: EmbeddedServers, tmp_path: Path) -> None:
    async def attempt() -> None:
        for service in SERVICES[:-1]:
            wire = await NatsWire.connect(
                servers.nats_address,
                user=service,
                password=servers.nats_password(service),
                service=service,
                timeout_s=NATS_S,
            )
            if service == "admin":
                await wire.provision()
            await wire.close()

    asyncio.run(attempt())
