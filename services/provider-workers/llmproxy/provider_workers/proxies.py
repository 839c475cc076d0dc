"""The way out through a proxy: a tunnel (HTTP CONNECT or SOCKS5), whatever is spoken inside."""

import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError, ProxyType
from python_socks.async_.asyncio import Proxy as Client

from llmproxy.common.outbound import Proxy

TYPES = {"http": ProxyType.HTTP, "socks5": ProxyType.SOCKS5, "socks5h": ProxyType.SOCKS5}


class ProxyRefused(Exception):
    """Its own words stay out: they may quote what was sent."""


class Tunnel:
    def __init__(
        self, proxy: Proxy, password: Callable[[], str], addresses: Callable[[str], Awaitable[list[str]]]
    ) -> None:
        """`addresses`: those of the proxy, checked. `password` is asked for each connection: files rotate."""
        at = urlsplit(proxy.url)
        assert at.hostname is not None
        assert at.port is not None
        self._kind, self._host, self._port = TYPES[at.scheme], at.hostname, at.port
        self.proxy, self._user, self._password, self._addresses = proxy, proxy.user, password, addresses

    async def open(self, host: str, port: int) -> socket.socket:
        """A connection to `host`, whose name the proxy resolves. Raises ProxyRefused, OSError; the caller bounds the time."""
        unreachable: Exception = ProxyRefused("cannot be reached")
        user, password = (self._user, self._password()) if self._user else (None, None)
        for address in await self._addresses(self._host):
            client = Client(self._kind, address, self._port, username=user, password=password, rdns=True)
            try:
                return await client.connect(host, port)
            except ProxyConnectionError as error:
                unreachable = error
            except (ProxyError, ProxyTimeoutError):
                raise ProxyRefused("did not let it through") from None
        raise ProxyRefused("cannot be reached") from unreachable
