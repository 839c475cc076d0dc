"""Stands in for llmproxy.common.permissions until it is there."""

from msgspec import Struct


class Permission(Struct, frozen=True):
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


PERMISSIONS = {
    user: Permission((">",), (">",))
    for user in ("edge", "shield", "router", "provider-workers", "audit", "admin", "operator")
}
