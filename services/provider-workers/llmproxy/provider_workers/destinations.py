"""An endpoint as requests to it have it: its origin, the head of each request, and its key, which is shown to that origin only."""

import re
from collections.abc import Iterable

from aiohttp import ClientTimeout
from msgspec.structs import replace
from yarl import URL

from llmproxy.common.addresses import LOOPBACK, Network, reach
from llmproxy.common.auth import REFERENCES
from llmproxy.common.config import Endpoint
from llmproxy.common.errors import GatewayError
from llmproxy.common.outbound import HeaderRules, Tls
from llmproxy.provider_workers import metrics
from llmproxy.provider_workers.adapters.base import Adapter, HttpRequest
from llmproxy.provider_workers.connections import Names, Route, checked
from llmproxy.provider_workers.credentials import Credentials, Signer
from llmproxy.provider_workers.places import located
from llmproxy.provider_workers.proxies import Tunnel
from llmproxy.provider_workers.trust import Trust

HEADS_KEPT_MAX = 256  # Some vendors have the model in the path, and with `*` the model is the caller's choice.
USER_AGENT = "llmproxy"
UNCHANGED = HeaderRules()
HEADER_TEXT = re.compile(r"[\x20-\x7e]*", re.ASCII)
AS_IT_IS = re.compile(r"[A-Za-z0-9:/?&=%._~\[\]-]*", re.ASCII)  # Of a URL: nothing that wants quoting.
TRACEPARENT = b"0123456789abcdef-"
TRACEPARENT_CHARS_MAX = 64


class Destination:
    """An endpoint as the transport sees it, made once per configuration: what a request's head looks like is kept here."""

    __slots__ = (
        "_from",
        "_heads",
        "_route",
        "_tunnel",
        "adapter",
        "credential",
        "credentials",
        "endpoint",
        "name",
        "named",
        "networks",
        "opened",
        "origin",
        "reach",
        "reused",
        "timeout",
    )

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        adapter: Adapter,
        credentials: Credentials,
        *,
        networks: tuple[Network, ...] = LOOPBACK,
        named: bool = False,
    ) -> None:
        """`networks` and `named`: where it may be besides public addresses, see `addresses.reach`."""
        endpoint = located(endpoint)
        self.name, self.endpoint, self.adapter, self.credentials = name, endpoint, adapter, credentials
        self.credential = credentials.of(name, endpoint, adapter.credential)
        connect_s = endpoint.connect_ms / 1000
        self.timeout = ClientTimeout(total=None, connect=connect_s, sock_connect=connect_s)
        self.origin = _origin(endpoint.url or adapter.default_url)
        self.networks, self.named = networks, named
        self.reach = reach(networks, self.host, named=named)
        self.opened = metrics.CONNECTIONS.labels(name, "opened")
        self.reused = metrics.CONNECTIONS.labels(name, "reused")
        self._route: Route | None = None
        self._tunnel: Tunnel | None = None
        self._from: tuple[object, ...] = ()
        self._heads: dict[tuple[str, str], str] = {}

    @property
    def host(self) -> str:
        return self.origin.raw_host or "" if self.origin is not None else ""

    def route(self, names: Names, trust: Trust) -> Route:
        """What the connection pool wants to know. Raises GatewayError of certificates that cannot be used."""
        tls, route = self.endpoint.tls, self._route
        if route is not None and tls is None:
            return route
        context = trust.of(self.name, self._permitted(tls)) if tls is not None and self.is_tls else None
        if route is None or route.context is not context:
            assert self.origin is not None, "a head was made first"
            server_name = tls.server_name if tls is not None else ""
            route = self._route = Route(
                self.name,
                self.origin,
                self.reach,
                context=context,
                server_name=server_name,
                tunnel=self.tunnel(names),
            )
        return route

    def _permitted(self, tls: Tls) -> Tls:
        return replace(tls, **{field: self.credentials.permit(self.name, path) for field, path in tls.files.items()})

    @property
    def is_tls(self) -> bool:
        return self.origin is not None and self.origin.scheme == "https"

    def tunnel(self, names: Names) -> Tunnel | None:
        proxy = self.endpoint.proxy
        if proxy is not None and self._tunnel is None:
            self._tunnel = Tunnel(
                proxy,
                lambda: self.credentials.text(self.name, proxy.password),
                lambda host: checked(names, host, reach(self.networks, host, named=self.named)),
            )
        return self._tunnel

    def head(self, request: HttpRequest, traceparent: str) -> bytes:
        """The request up to its body."""
        signer = self.credential.signer
        if signer is not None:
            return self._end(self._signed(request, signer), request, traceparent)
        key = self.credential.header()
        rules = self.endpoint.headers
        changed = self._changed() if rules.insert or rules.replace else ()
        if self._from != (request.headers, key, changed):
            self._from = (request.headers, key, changed)
            self._heads.clear()
        place = (request.method, request.url)
        head = self._heads.get(place)
        if head is None:
            if len(self._heads) >= HEADS_KEPT_MAX:
                self._heads.clear()
            url = self._ours(request.url)
            head = self._heads[place] = self._compose(request, url, url.raw_path_qs, [key] if key is not None else ())
        return self._end(head, request, traceparent)

    def _end(self, head: str, request: HttpRequest, traceparent: str) -> bytes:
        if _is_traceparent(traceparent):
            head = f"{head}traceparent: {traceparent}\r\n"
        return f"{head}content-length: {len(request.body)}\r\n\r\n".encode("ascii")

    def _signed(self, request: HttpRequest, signer: Signer) -> str:
        """A signature is good for one body and one moment, so this head is not kept."""
        if self.endpoint.headers != UNCHANGED:  # What is signed is what is sent.
            request = replace(request, headers=tuple(self._ruled(dict(request.headers)).items()))
        url = self._ours(request.url)
        # AWS reads the escapes of the path as they were signed.
        exact = URL(request.url, encoded=True) if AS_IT_IS.fullmatch(request.url) else url
        headers = [("host", url.host_port_subcomponent or ""), *request.headers]
        added = signer.sign(request.method, exact.raw_path, exact.raw_query_string, headers, request.body)
        return self._compose(request, url, exact.raw_path_qs, added)

    def _compose(self, request: HttpRequest, url: URL, path: str, credential: Iterable[tuple[str, str]]) -> str:
        headers = {
            "host": url.host_port_subcomponent or "",
            "accept": "*/*",
            "accept-encoding": "identity",
            "user-agent": self.endpoint.user_agent or USER_AGENT,
            **dict(request.headers),
        }
        if self.endpoint.headers != UNCHANGED:
            headers = self._ruled(headers)
        headers.update(credential)
        lines = [f"{request.method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
        assert all(HEADER_TEXT.fullmatch(line) for line in lines), "an adapter's header has a control character"
        return "".join(f"{line}\r\n" for line in lines)

    def _changed(self) -> tuple[tuple[str, str], ...]:
        """The values of inserted and replaced headers, as they are now."""
        return tuple(
            (name.lower(), self.credentials.text(self.name, value) if value.startswith(REFERENCES) else value)
            for name, value in self.endpoint.headers.values.items()
        )

    def _ruled(self, headers: dict[str, str]) -> dict[str, str]:
        rules = self.endpoint.headers
        removed = {name.lower() for name in rules.remove}
        kept = {name: text for name, text in headers.items() if name.lower() not in removed}
        present, replaced = {name.lower() for name in kept}, {name.lower() for name in rules.replace}
        changed = {name: text for name, text in self._changed() if name in replaced or name not in present}
        return {name: text for name, text in kept.items() if name.lower() not in replaced} | changed

    def _ours(self, text: str) -> URL:
        """Parsed, and on this endpoint's origin: what an adapter builds can never carry the key elsewhere."""
        try:
            url = URL(text)  # Quotes what must not stand in a request line.
            is_ours = self.origin is not None and url.origin() == self.origin
        except ValueError:
            is_ours = False
        if not is_ours:
            raise GatewayError(
                "provider_unreachable",
                f"the call for endpoint '{self.name}' would leave its origin; its key stays here."
                f" Check endpoints.{self.name}.url",
            )
        return url


def _is_traceparent(text: str) -> bool:
    """Nothing is left of it when all that may be in one is taken out; a regular expression takes five times as long."""
    if not (text.isascii() and 0 < len(text) <= TRACEPARENT_CHARS_MAX):
        return False
    return not text.encode("ascii").translate(None, TRACEPARENT)


def _origin(url: str) -> URL | None:
    """None when it is no address; then nothing is sent anywhere, and the error of each call says what to fix."""
    try:
        return URL(url).origin()
    except ValueError:
        return None
