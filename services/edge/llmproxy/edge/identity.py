"""Who is calling: the API keys that exist, the key that was presented, and the address that it came from."""

import asyncio
import hmac
import logging
import re
from collections.abc import Iterable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote_plus

import msgspec

from llmproxy.common import keyring
from llmproxy.common.bus import UNREADABLE, Bucket, Bus
from llmproxy.common.channels import KEYS_BUCKET
from llmproxy.common.errors import GatewayError
from llmproxy.common.keyring import KeyRecord

KEY_CHARACTERS_MAX = 512  # A longer one is not hashed.
MISSING_MAX = 10_000  # Hashes of keys that the store has not got, so that it is asked once; the oldest go first.
QUERY_KEYS = frozenset({"key", "api_key", "api-key", "apikey", "access_token", "x-api-key", "x-goog-api-key"})
FORWARDED_MAX = 32  # Hops of X-Forwarded-For that are read, from the right.
NO_KEY = (
    "You didn't provide an API key. Send it in the Authorization header, as in `Authorization: Bearer <your key>`, "
    "or in `x-api-key`, `api-key` or `x-goog-api-key`."
)
WRONG_KEY = "Incorrect API key provided. Ask whoever runs this gateway for a key."
MISTYPED_KEY = "Incorrect API key provided: it is mistyped or cut off. Copy it again."

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

log = logging.getLogger(__name__)


class UnknownKey(GatewayError):
    """A key of our own form that no record is known of: wrong, or made a moment ago."""

    def __init__(self, digest: str) -> None:
        super().__init__("invalid_api_key", WRONG_KEY)
        self.digest = digest


class Keys:
    """Every key record, by the full hash of its key. Watched, so a revocation counts at once and costs no look-up."""

    def __init__(self) -> None:
        self.loaded = False
        self._records: dict[str, KeyRecord] = {}
        self._decoder = msgspec.json.Decoder(KeyRecord)
        self._bucket: Bucket | None = None
        self._asking: dict[str, asyncio.Task[KeyRecord | None]] = {}  # By hash.
        self._missing: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._records)

    async def watch(self, bus: Bus) -> None:
        """Returns when every key is here. Raises GatewayError."""
        self._bucket = await bus.wire.bucket(KEYS_BUCKET)
        await self._bucket.watch(self.change)
        self.loaded = True

    def change(self, digest: str, value: bytes | None) -> None:
        if value is None:
            self._records.pop(digest, None)
            return
        record = self._decoded(value)
        if record is None:  # Fails closed: a record that we cannot read may be a revocation.
            self._records.pop(digest, None)
            return
        self._records[digest] = record

    def _decoded(self, value: bytes) -> KeyRecord | None:
        try:
            return self._decoder.decode(value)
        except UNREADABLE:
            log.error("a key record does not decode; that key is refused")
            return None

    def authenticate(self, presented: Sequence[str], now_ms: int) -> KeyRecord:
        """The record of the one key presented. Raises GatewayError that never quotes the key, and UnknownKey."""
        if not presented:
            raise GatewayError("invalid_api_key", NO_KEY)
        key = presented[0]
        if presented.count(key) < len(presented):
            raise GatewayError("invalid_api_key", "The request carries two different API keys; send one.")
        if not key or len(key) > KEY_CHARACTERS_MAX or not key.isascii():
            raise GatewayError("invalid_api_key", WRONG_KEY)
        digest = keyring.hash_key(key)
        record = self._records.get(digest)
        if record is None or not hmac.compare_digest(record.hash, digest):
            # The look-up costs less than the checksum, which is for telling people what they did.
            if not keyring.is_well_formed(key):
                raise GatewayError("invalid_api_key", MISTYPED_KEY)
            raise UnknownKey(digest) if key.startswith(keyring.PREFIX) else GatewayError("invalid_api_key", WRONG_KEY)
        return _in_force(record, now_ms)

    def may_be_new(self, digest: str) -> bool:
        """Whether the store was not asked yet; of what it has not got then, the watch tells if ever it comes."""
        return self._bucket is not None and digest not in self._missing

    def is_asked_for(self, digest: str) -> bool:
        return digest in self._asking

    async def look_up(self, unknown: UnknownKey, now_ms: int) -> KeyRecord:
        """The record of a key that the watch has not brought yet; all who wait for one share a question. Raises GatewayError.

        It counts for those who asked and is not kept: a revocation may have come from the watch while it was on its way.
        """
        digest = unknown.digest
        asking = self._asking.get(digest)
        if asking is None:
            asking = self._asking[digest] = asyncio.create_task(self._ask(digest))
            asking.add_done_callback(partial(self._asked, digest))
        found = await asyncio.shield(asking)
        record = self._records.get(digest, found)
        if record is None or not hmac.compare_digest(record.hash, digest):
            raise unknown
        return _in_force(record, now_ms)

    async def _ask(self, digest: str) -> KeyRecord | None:
        assert self._bucket is not None
        found = await self._bucket.get(digest)
        record = self._decoded(found[0]) if found is not None else None
        if record is None:
            while len(self._missing) >= MISSING_MAX:
                del self._missing[next(iter(self._missing))]
            self._missing[digest] = None
        return record

    def _asked(self, digest: str, asking: "asyncio.Task[KeyRecord | None]") -> None:
        del self._asking[digest]
        if not asking.cancelled():
            asking.exception()  # Those who waited for it may have left.


def _in_force(record: KeyRecord, now_ms: int) -> KeyRecord:
    """Raises GatewayError."""
    if record.revoked_at_ms is not None and record.revoked_at_ms <= now_ms:
        raise GatewayError("invalid_api_key", "This API key was revoked. Ask whoever runs this gateway for a new one.")
    if record.expires_at_ms is not None and record.expires_at_ms <= now_ms:
        raise GatewayError("expired_api_key", "This API key has expired. Ask whoever runs this gateway for a new one.")
    return record


def presented_keys(authorization: Iterable[str], *others: Iterable[str]) -> list[str]:
    """Every key in a request's headers, each header possibly repeated. A header that is there but no key is an empty one."""
    presented = list(map(_bearer, authorization))
    for values in others:
        if values:
            presented.extend(map(str.strip, values))
    return presented


def key_in_query(query: str) -> bool:
    """Whether a parameter of the URL is named as keys are."""
    return any(unquote_plus(pair.partition("=")[0]).lower() in QUERY_KEYS for pair in re.split("[&;]", query))


def _bearer(value: str) -> str:
    scheme, _, credentials = value.strip().partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else ""


def may_use(record: KeyRecord, model: str) -> bool:
    return not record.models or model in record.models


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """`gateway.trusted_proxies`, parsed; what cannot be parsed trusts nobody."""
    parsed: list[Network] = []
    for text in texts:
        try:
            parsed.append(ip_network(text, strict=False))
        except ValueError:
            log.error("gateway.trusted_proxies: %r is not an address or a network; ignored", text)
    return tuple(parsed)


def client_ip(peer: str, forwarded: Iterable[str], trusted: tuple[Network, ...]) -> str:
    """The rightmost address of X-Forwarded-For that no trusted proxy owns, if the peer is a trusted proxy; else the peer."""
    if not trusted:
        return peer
    current = _address(peer)
    for hop in reversed(",".join(forwarded).split(",")[-FORWARDED_MAX:]):
        if current is None or not any(current in network for network in trusted):
            break
        claimed = _hop(hop.strip())
        if claimed is None:
            break
        current = claimed
    return str(current) if current is not None else peer


def _hop(text: str) -> Address | None:
    """An address of X-Forwarded-For, which some proxies write with the port: `192.0.2.1:4711`, `[2001:db8::1]:4711`.

    None with a zone behind it (`fe80::1%eth0`): that may be any text at all, and says nothing outside of the machine that wrote it.
    """
    if "%" in text:
        return None
    if text.startswith("["):
        return _address(text[1:].partition("]")[0])
    return _address(text.partition(":")[0] if text.count(":") == 1 else text)


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address
