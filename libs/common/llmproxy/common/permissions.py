"""What each service may publish and subscribe to on NATS: the table of ARCHITECTURE.md ("Who may know what") as data, rendered into the server's users.

Nothing is allowed that is not listed. JetStream is reached through subjects too, so its share is spelled out.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, json

from llmproxy.common.channels import (
    ALL_EVENTS,
    AUDIT,
    BODIES_BUCKET,
    CONFIG_BUCKET,
    CONTROL,
    CONVERSATIONS_BUCKET,
    EVENT_INSTANCE_ANNOUNCED,
    HOLDING,
    KEYS_BUCKET,
    MODELS_BUCKET,
    OUTCOME,
    REPLY,
    REQUEST_CALL,
    REQUEST_INSPECT,
    REQUEST_ROUTE,
    ROOT,
    Channel,
)

EDGE, SHIELD, ROUTER, WORKERS, AUDITOR, ADMIN, OPERATOR = (
    "edge",
    "shield",
    "router",
    "provider-workers",
    "audit",
    "admin",
    "operator",
)


class Permission(Struct, frozen=True):
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]  # `subject queue` restricts to that queue group.


def _shared(channel: Channel[Any]) -> str:
    return f"{channel.filter()} {channel.queue}"


def _inbox(service: str) -> str:
    return f"_INBOX_{service}.>"


def _read_stream(name: str) -> tuple[str, ...]:
    return (
        f"$JS.API.STREAM.INFO.{name}",
        f"$JS.API.CONSUMER.CREATE.{name}",
        f"$JS.API.CONSUMER.CREATE.{name}.>",
        f"$JS.API.CONSUMER.DELETE.{name}.>",
        f"$JS.API.CONSUMER.INFO.{name}.>",
        f"$JS.API.DIRECT.GET.{name}.>",
        f"$JS.API.DIRECT.GET.{name}",
        f"$JS.API.STREAM.MSG.GET.{name}",
        f"$JS.ACK.{name}.>",
        f"$JS.FC.{name}.>",
    )


def _consume_stream(name: str) -> tuple[str, ...]:
    return (
        *_read_stream(name),
        f"$JS.API.CONSUMER.DURABLE.CREATE.{name}.>",
        f"$JS.API.CONSUMER.MSG.NEXT.{name}.>",
    )


def _objects(bucket: str) -> tuple[str, ...]:
    return (
        *_read_stream(f"OBJ_{bucket}"),
        f"$O.{bucket}.C.>",
        f"$O.{bucket}.M.>",
        f"$JS.API.STREAM.PURGE.OBJ_{bucket}",
        "$JS.API.STREAM.NAMES",  # nats-py looks the stream up by its subject.
    )


EVENTS = ALL_EVENTS
CONFIG_READ = _read_stream(f"KV_{CONFIG_BUCKET}")
KEYS_READ = _read_stream(f"KV_{KEYS_BUCKET}")
CONVERSATIONS_READ = _read_stream(f"KV_{CONVERSATIONS_BUCKET}")
MODELS_READ = _read_stream(f"KV_{MODELS_BUCKET}")
BODIES = _objects(BODIES_BUCKET)


def _service(service: str, *publish: str, subscribe: tuple[str, ...] = ()) -> Permission:
    """What every service has: its inbox, its control subject, its bounces, events to publish, configuration to read."""
    return Permission(
        publish=(EVENTS, *CONFIG_READ, *publish),
        subscribe=(
            _inbox(service),
            f"{ROOT}.control.{service}.*",
            f"{ROOT}.bounce.{service}.>",
            *subscribe,
        ),
    )


_REPLIES = (REPLY.filter(), HOLDING.filter())

PERMISSIONS: dict[str, Permission] = {
    EDGE: _service(
        EDGE,
        REQUEST_INSPECT.filter(),
        f"{ROOT}.reply.{EDGE}.*",  # Its own bounces become replies to itself.
        CONTROL.filter(),
        AUDIT.filter(),
        *KEYS_READ,
        *MODELS_READ,
        *BODIES,
        f"{ROOT}.threats.answer.{ADMIN}.>",
        subscribe=(f"{ROOT}.reply.{EDGE}.*", f"{ROOT}.holding.{EDGE}.*", f"{ROOT}.threats.ask {EDGE}"),
    ),
    SHIELD: _service(
        SHIELD,
        REQUEST_ROUTE.filter(),
        *_REPLIES,
        *BODIES,
        *CONVERSATIONS_READ,
        f"$KV.{CONVERSATIONS_BUCKET}.>",
        subscribe=(_shared(REQUEST_INSPECT), f"{ROOT}.reply.{SHIELD}.*"),
    ),
    ROUTER: _service(
        ROUTER,
        REQUEST_CALL.filter(),
        *_REPLIES,
        subscribe=(_shared(REQUEST_ROUTE), OUTCOME.filter()),
    ),
    WORKERS: _service(
        WORKERS,
        REQUEST_CALL.filter(),
        OUTCOME.filter(),
        *_REPLIES,
        *BODIES,
        f"$KV.{MODELS_BUCKET}.>",
        *MODELS_READ,
        subscribe=(_shared(REQUEST_CALL),),
    ),
    AUDITOR: _service(
        AUDITOR,
        f"{ROOT}.ledger.answer.{ADMIN}.>",
        *_consume_stream("AUDIT"),
        subscribe=(f"{ROOT}.ledger.query {AUDITOR}", f"{ROOT}.ledger.verify {AUDITOR}"),
    ),
    ADMIN: _service(
        ADMIN,
        AUDIT.filter(),
        f"{ROOT}.ledger.query",
        f"{ROOT}.ledger.verify",
        f"{ROOT}.threats.ask",
        f"$KV.{CONFIG_BUCKET}.>",
        f"$KV.{KEYS_BUCKET}.>",
        *KEYS_READ,
        "$JS.API.INFO",
        "$JS.API.STREAM.CREATE.*",
        "$JS.API.STREAM.UPDATE.*",
        "$JS.API.STREAM.INFO.*",
        subscribe=(
            EVENT_INSTANCE_ANNOUNCED.filter(),
            f"{ROOT}.event.circuit.*",
            f"{ROOT}.event.ledger.*",
            f"{ROOT}.ledger.answer.{ADMIN}.>",
            f"{ROOT}.threats.answer.{ADMIN}.>",
        ),
    ),
    OPERATOR: Permission(publish=(), subscribe=(EVENTS,)),
}


def authorization(passwords: Mapping[str, str]) -> str:
    """The `authorization` block of nats-server.conf: one user for each service that has a password here."""
    users = [
        {
            "user": user,
            "password": passwords[user],
            "permissions": {
                "publish": {"allow": list(permission.publish)} if permission.publish else {"deny": [">"]},
                "subscribe": {"allow": list(permission.subscribe)},
            },
        }
        for user, permission in PERMISSIONS.items()
        if user in passwords
    ]
    return "authorization: " + json.format(json.encode({"users": users}), indent=2).decode() + "\n"
