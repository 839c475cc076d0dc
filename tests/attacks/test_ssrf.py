"""Nobody makes the gateway call an address that is not meant: the odd spellings, the names that lie, the redirects."""

import asyncio
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from fetching import PNG, fetcher, said, wanted, web
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE_S
from scripted_upstream import Script, always, answer, upstream

from llmproxy.common import addresses, config, config_checks
from llmproxy.common.addresses import LOOPBACK, Network, Reach
from llmproxy.common.config import Config, ConfigError, Endpoint, Gateway
from llmproxy.common.config_file import parse
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.adapters.base import HttpRequest
from llmproxy.provider_workers.connections import Names, Resolve, system_addresses
from llmproxy.provider_workers.credentials import Credentials
from llmproxy.provider_workers.destinations import Destination
from llmproxy.provider_workers.transport import Transport

PRIVATE = [
    *("127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("100.64.0.1", "100.127.255.255"),  # Carrier-grade NAT.
    *("192.0.0.8", "192.0.2.1", "198.51.100.7", "203.0.113.9", "198.18.0.1", "198.19.255.255"),
    *("192.88.99.1", "192.31.196.1", "192.52.193.1", "192.175.48.1"),
    *("::1", "fc00::1", "fd12:3456::1", "fec0::1", "100::1", "5f00::1", "2001:db8::1", "3fff::1"),
    *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:10.0.0.1", "::10.0.0.1", "::8.8.8.8"),
    *("2002:0a00:0001::1", "2002:7f00:0001::", "2002:0808:0808::1"),  # 6to4.
    *("64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b:1::10.0.0.1"),  # NAT64.
    *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "2001:20::1"),  # Teredo, ORCHID.
    *("2a00:1450:4001::5efe:10.0.0.1", "2a00:1450:4001::200:5efe:192.168.0.1"),  # ISATAP.
]
NEVER = [
    *("0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "ff02::1", "fe80::1", "::ffff:0.0.0.0", "64:ff9b::0.0.0.0"),
    *("169.254.0.1", "169.254.169.254", "169.254.170.2", "fd00:ec2::254", "fd20:ce::254", "fd00:42::42"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1", "::169.254.169.254"),
]
PUBLIC = Reach(())
PUBLIC_ONES = ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1"]
PUBLIC_ONES += ["2606:4700::1111", "2a00:1450:4001::1", "64:ff9b::8.8.8.8"]
ODD = [
    *("2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "0177.0.0.1", "127.1", "127.0.1", "0", "00.0.0.0"),
    *("127.0.0.1.", "127.0.0.01", "1.2.3.4.5", "256.1.1.1", "0x", "134744072", "8.8.2056", "a.1", "x.0x7f"),
]
BAD_URLS = [
    "https://user@api.example.com/v1",
    "https://user:secret@api.example.com/v1",
    "https://api.example.com@127.0.0.1/v1",
    "https://api.example.com#@127.0.0.1/",
    "https://api.example.com/v1#",
    "https://api.example.com\\@127.0.0.1/",
    "https://api.example.com\t/v1",
    "https://api.example.com/v1 ",
    "https://api.example.com\r\nhost: evil",
    "https://\u217f.example.com",
    "https://\uff11\uff12\uff17.0.0.1",
    "https://127\u30020.0.1",
    "https://",
    "https:///v1",
    "https://[::1",
    "https://[fe80::1%25eth0]/v1",
    "https://[::1%lo]/v1",
    "https://api.example.com:99999/v1",
    "https://api.example.com:port/v1",
    "http://metadata.google.internal/computeMetadata/v1",
    "http://metadata.google.internal./",
    "http://METADATA/",
    "http://instance-data/latest",
]
HOSTED = [*(f"https://{host}/v1" for host in ODD), *BAD_URLS]
HEADERS = (("content-type", "application/json"),)


def host_of(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_public_is_refused_unless_its_own_network_is_allowed(address: str) -> None:
    found = ip_address(address)
    assert not addresses.is_public(found)
    assert PUBLIC.problem(found) == "a private address"
    assert not Reach(addresses.networks(address)).problem(found)


@pytest.mark.parametrize("address", NEVER)
def test_a_metadata_service_is_refused_whatever_is_allowed(address: str) -> None:
    assert not addresses.is_public(ip_address(address))
    assert "never called" in Reach(addresses.networks("0.0.0.0/0", "::/0", address)).problem(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC_ONES)
def test_what_is_public_is_not_refused(address: str) -> None:
    assert not PUBLIC.problem(ip_address(address))


def test_allowing_a_network_allows_no_other_spelling_of_it() -> None:
    allowed = Reach(addresses.networks("10.0.0.0/8", "127.0.0.0/8"))
    for address in ("::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2002:0a00:0001::", "::ffff:127.0.0.1"):
        assert allowed.problem(ip_address(address))


@pytest.mark.parametrize("url", [*HOSTED, *(f"http://{host_of(one)}/v1" for one in NEVER)])
def test_no_configuration_may_have_such_an_endpoint(url: str) -> None:
    quoted = url.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")
    with pytest.raises(ConfigError, match=r"^endpoints\.main\.url: ") as caught:
        parse(f'endpoints: {{main: {{provider: openai, models: [m], url: "{quoted}"}}}}', {})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("field", ["token_url", "authority"])
def test_nor_such_a_place_for_tokens(field: str) -> None:
    kinds = {
        "token_url": "{kind: oauth, client_id: a, client_secret: env:B, token_url: 'https://u:p@x.example/'}",
        "authority": "{kind: entra, tenant_id: t, client_id: a, client_secret: env:B, authority: 'https://2130706433'}",
    }
    with pytest.raises(ConfigError, match=rf"^endpoints\.main\.auth\.{field}: "):
        parse(f"endpoints: {{main: {{provider: openai, models: [m], auth: {kinds[field]}}}}}", {})


def sent(url: str, *allowed: str) -> Config:
    gateway = Gateway(private_networks=allowed) if allowed else Gateway()
    return Config(gateway=gateway, endpoints={"main": Endpoint(provider="openai", url=url, models=("m",))})


@pytest.mark.parametrize("address", [one for one in PRIVATE if one not in ("127.0.0.1", "127.255.255.254", "::1")])
def test_who_writes_over_the_api_may_not_name_private_addresses(address: str) -> None:
    url = f"http://{host_of(address)}/v1"
    with pytest.raises(ConfigError, match=r"gateway\.private_networks"):
        config_checks.check_reach(sent(url), Config())
    allowed = (address,)
    config_checks.check_reach(sent(url, *allowed), sent(url, *allowed))


def test_who_writes_over_the_api_may_not_allow_more() -> None:
    before = sent("https://api.example.com", "10.0.0.0/8")
    config_checks.check_reach(sent("http://10.1.2.3/v1", "10.1.0.0/16"), before)
    for wider in ("10.0.0.0/7", "0.0.0.0/0", "192.168.0.0/16", "::/0"):
        with pytest.raises(ConfigError, match="only the configuration file can allow it"):
            config_checks.check_reach(sent("https://api.example.com", "10.0.0.0/8", wider), before)


def test_the_operators_own_file_means_the_address_it_names() -> None:
    reached = addresses.reach(LOOPBACK, "10.0.0.5", named=True)
    assert not reached.problem(ip_address("10.0.0.5"))
    assert reached.problem(ip_address("10.0.0.6"))
    assert addresses.reach(LOOPBACK, "10.0.0.5", named=False).problem(ip_address("10.0.0.5"))


@pytest.mark.parametrize("host", ["ollama", "vllm.default.svc", "gpu.lan", "gpu.internal", "vllm.x.svc.cluster.local."])
def test_the_operators_own_file_means_a_name_that_only_his_resolver_knows(host: str) -> None:
    assert not addresses.reach(LOOPBACK, host, named=True).problem(ip_address("172.18.0.2"))
    assert addresses.reach(LOOPBACK, host, named=True).problem(ip_address("169.254.169.254"))
    assert addresses.reach(LOOPBACK, host, named=False).problem(ip_address("172.18.0.2"))


@pytest.mark.parametrize("host", ["api.example.com", "localhost.example.com", "x.internal.example.com", "local.io"])
def test_a_name_of_the_public_dns_leads_to_public_addresses_alone(host: str) -> None:
    assert addresses.reach(LOOPBACK, host, named=True).problem(ip_address("10.0.0.1"))


EMBEDDED = [
    lambda low: 0xFFFF << 32 | low,
    lambda low: 0xFFFF << 48 | low,
    lambda low: int(IPv6Address("64:ff9b::")) | low,
    lambda low: int(IPv6Address("64:ff9b:1::")) | low,
    lambda low: int(IPv6Address("2002::")) | low << 80 | 1,
    lambda low: int(IPv6Address("2001::")) | low << 64,
    lambda low: int(IPv6Address("2001::")) | low ^ 0xFFFFFFFF,
    lambda low: int(IPv6Address("2a00:1450:4001::5efe:0:0")) | low,
]


@given(
    low=st.one_of(
        st.integers(0, 2**32 - 1), *(st.integers(int(n[0]), int(n[-1])) for n in addresses.NOT_PUBLIC if n.version == 4)
    ),
    embed=st.sampled_from(EMBEDDED),
)
def test_an_ipv4_address_that_is_not_public_is_not_public_inside_any_other(
    low: int, embed: Callable[[int], int]
) -> None:
    if not addresses.is_public(IPv4Address(low)):
        assert PUBLIC.problem(IPv6Address(embed(low)))


@given(st.integers(0, 2**32 - 1))
def test_what_python_calls_global_is_public_but_for_what_is_listed_here(number: int) -> None:
    address = IPv4Address(number)
    if addresses.is_public(address):
        assert address.is_global


@given(
    st.lists(
        st.from_regex(r"(0[xX][0-9a-fA-F]{0,8}|0[0-7]{0,11}|[0-9]{1,10})", fullmatch=True), min_size=1, max_size=5
    ),
    st.sampled_from(["", "."]),
)
def test_what_a_resolver_reads_as_an_address_is_one_here_or_refused(parts: list[str], end: str) -> None:
    host = ".".join(parts) + end
    try:
        known = addresses.literal(host)
    except ValueError:
        return
    assert known is not None
    assert socket.inet_aton(host) == known.packed


class Resolver:
    """A name server that answers differently each time."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self, host: str) -> list[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def called(
    url: str, resolver: Resolver, *, networks: tuple[Network, ...] = (), named: bool = True, times: int = 1
) -> list[bytes | GatewayError]:
    async def scenario() -> list[bytes | GatewayError]:
        results: list[bytes | GatewayError] = []
        transport = Transport(Names(resolver))
        endpoint = Endpoint(
            provider="openai", url=url, key="env:KEY", models=("*",), connect_ms=1_000 * int(PATIENCE_S)
        )
        kept = Destination(
            "up", endpoint, ADAPTERS["openai"], Credentials({"KEY": "sk-1"}), networks=networks, named=named
        )
        for _ in range(times):
            try:
                reply = await transport.call(
                    kept, HttpRequest(method="POST", url=f"{url}/chat", headers=HEADERS, body=b"{}")
                )
                results.append(await reply.read_all())
                reply.close()
            except GatewayError as error:
                results.append(error)
        await transport.close()
        return results

    return asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


@pytest.mark.parametrize("address", [*PRIVATE, *NEVER])
def test_a_name_that_leads_to_such_an_address_is_not_called(address: str) -> None:
    (result,) = called("https://api.example.com/v1", Resolver([address]))
    assert isinstance(result, GatewayError)
    assert result.code == "provider_unreachable"
    assert "gateway.private_networks" in result.message
    assert address not in result.message


def test_one_bad_address_among_good_ones_is_enough() -> None:
    (result,) = called("https://api.example.com/v1", Resolver(["93.184.216.34", "10.0.0.1"]))
    assert isinstance(result, GatewayError)
    assert "a private address" in result.message


@pytest.mark.parametrize("host", [*ODD, "169.254.169.254", "10.0.0.1"])
def test_an_address_in_the_url_is_checked_like_a_resolved_one(host: str) -> None:
    resolver = Resolver(["127.0.0.1"])
    (result,) = called(f"http://{host}/v1", resolver, networks=LOOPBACK, named=False)
    assert isinstance(result, GatewayError)
    assert result.code == "provider_unreachable"
    assert not resolver.asked


def test_a_name_is_resolved_once_for_what_is_checked_and_connected_to() -> None:
    """Rebinding: the second answer would lead inside, and nobody asks for it."""

    async def scenario() -> None:
        async with upstream(always(answer(200, b"ok"))) as served:
            port = served.url.rsplit(":", 1)[1].partition("/")[0]
            resolver = Resolver(["127.0.0.1"], ["10.0.0.1"])
            transport = Transport(Names(resolver))
            endpoint = Endpoint(provider="openai", url=f"http://api.example.com:{port}/v1", models=("*",))
            kept = Destination("up", endpoint, ADAPTERS["openai"], Credentials({}), networks=LOOPBACK)
            request = HttpRequest(method="POST", url=f"{endpoint.url}/chat", headers=HEADERS, body=b"{}")
            reply = await transport.call(kept, request)
            assert await reply.read_all() == b"ok"
            assert resolver.asked == 1
            assert served.asked[0].headers["host"] == f"api.example.com:{port}"
            await transport.close()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


def test_a_name_that_changes_its_mind_is_refused_when_it_is_asked_again() -> None:
    async def scenario() -> None:
        names = Names(Resolver(["127.0.0.1"], ["10.0.0.1"]))
        assert await names.addresses("api.example.com") == ["127.0.0.1"]
        names._known.clear()  # As after its time.
        transport = Transport(names)
        endpoint = Endpoint(provider="openai", url="http://api.example.com/v1", models=("*",))
        kept = Destination("up", endpoint, ADAPTERS["openai"], Credentials({}), networks=LOOPBACK)
        request = HttpRequest(method="POST", url=f"{endpoint.url}/chat", headers=HEADERS, body=b"{}")
        with pytest.raises(GatewayError, match="a private address"):
            await transport.call(kept, request)
        await transport.close()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


@pytest.mark.parametrize("location", ["http://169.254.169.254/", "https://api.example.com/", "/other", "//10.0.0.1/"])
def test_a_provider_that_redirects_is_not_followed(location: str) -> None:
    async def scenario() -> None:
        async with upstream(always(answer(302, b"", f"location: {location}"))) as served:
            transport = Transport()
            endpoint = Endpoint(provider="openai", url=served.url, models=("*",))
            kept = Destination("up", endpoint, ADAPTERS["openai"], Credentials({}))
            request = HttpRequest(method="POST", url=f"{served.url}/chat", headers=HEADERS, body=b"{}")
            with pytest.raises(GatewayError, match="redirect"):
                await transport.call(kept, request)
            assert len(served.asked) == 1
            await transport.close()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


# -- What callers' addresses lead to


def fetch_problem(
    url: str, resolver: Resolve, *, script: Script | None = None, inside: tuple[str, ...] = (), hops: int = 3
) -> tuple[str, int]:
    """What the fetcher said, and how often the web was asked. `PORT` is that of the web server, which serves a picture."""
    results: list[tuple[str, int]] = []

    async def scenario() -> None:
        picture = answer(200, PNG).replace(b"application/json", b"image/png")
        async with (
            web(script or always(picture)) as served,
            fetcher(served, resolver, inside=inside, redirects_max=hops) as asked,
        ):
            place = url.replace("PORT", str(served.port))
            try:
                await asked.fetch(wanted(place))
            except GatewayError as error:
                results.append((said(error), len(served.asked)))
            else:
                results.append(("", len(served.asked)))

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))
    return results[0]


@pytest.mark.parametrize("address", [*PRIVATE, *NEVER])
def test_nothing_is_fetched_from_a_name_that_leads_to_such_an_address(address: str) -> None:
    assert fetch_problem("https://pictures.test:PORT/", Resolver([address])) == ("its host has no public address", 0)


@pytest.mark.parametrize("address", [*PRIVATE, *NEVER])
def test_nothing_is_fetched_from_such_an_address(address: str) -> None:
    why, asked = fetch_problem(f"https://{host_of(address)}:PORT/", Resolver(["127.0.0.1"]))
    assert why
    assert not asked


@pytest.mark.parametrize("url", HOSTED)
def test_nothing_is_fetched_from_such_a_url(url: str) -> None:
    resolver = Resolver(["127.0.0.1"])
    assert fetch_problem(url, resolver, inside=("127.0.0.1",))[0].startswith("its address ")
    assert not resolver.asked


@pytest.mark.parametrize(
    "url",
    ["http://pictures.test:PORT/", "ftp://pictures.test/", "file:///etc/passwd", "gopher://pictures.test:PORT/_x"],
)
def test_nothing_is_fetched_but_over_https(url: str) -> None:
    assert fetch_problem(url, Resolver(["127.0.0.1"]), inside=("127.0.0.1",))[1] == 0


@pytest.mark.parametrize("port", [22, 80, 6379, 8443])
def test_nothing_is_fetched_from_other_ports(port: int) -> None:
    why, _ = fetch_problem(f"https://pictures.test:{port}/", Resolver(["127.0.0.1"]), inside=("127.0.0.1",))
    assert "port" in why


@pytest.mark.parametrize(
    "location",
    [
        *("https://inside.test:PORT/", "//inside.test:PORT/", "http://pictures.test:PORT/", "https://10.0.0.1:PORT/"),
        *("https://169.254.169.254/latest/meta-data/", "https://2130706433:PORT/", "https://[::ffff:127.0.0.1]:PORT/"),
        *(
            "https://u:p@pictures.test:PORT/",
            "https://pictures.test:PORT\\@inside.test/",
            "/x#y",
            "",
            "file:///etc/passwd",
        ),
        *("https://metadata.google.internal/", "https://pictures.test:22/", "https://[::1"),
    ],
)
def test_a_redirect_leads_nowhere_that_the_first_address_could_not(location: str) -> None:
    async def script(number: int, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        moved = answer(302, b"", f"location: {location.replace('PORT', str(port))}")
        writer.write(answer(200, PNG) if number else moved)

    async def resolve(host: str) -> list[str]:
        return ["127.0.0.1"] if host == "pictures.test" else ["10.0.0.1"]

    why, asked = fetch_problem("https://pictures.test:PORT/", resolve, script=script, inside=("127.0.0.1",))
    assert why
    assert asked == 1


def test_a_name_that_is_rebound_between_the_check_and_the_call_is_called_where_it_was_checked() -> None:
    resolver = Resolver(["127.0.0.1"], ["10.0.0.1"], ["10.0.0.1"])
    assert fetch_problem("https://pictures.test:PORT/", resolver, inside=("127.0.0.1",)) == ("", 1)
    assert resolver.asked == 1


def test_who_asks_does_not_learn_which_names_there_are_inside() -> None:
    async def nothing(host: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    unknown, private = (
        fetch_problem("https://a.test:PORT/", nothing),
        fetch_problem("https://b.test:PORT/", Resolver(["10.0.0.1"])),
    )
    assert unknown == private


@pytest.mark.parametrize("host", [f"{'a' * 64}.test", f"{'a.' * 130}test", "a..test", "a.test.."])
def test_what_is_no_name_is_not_found(host: str) -> None:
    why, asked = fetch_problem(f"https://{host}:PORT/", system_addresses)
    assert why in ("its host has no public address", "its address cannot be read")
    assert not asked


def test_an_operator_may_allow_his_own_servers_and_over_the_api_nobody_may() -> None:
    assert fetch_problem("https://pictures.test:PORT/", Resolver(["127.0.0.1"]), inside=("127.0.0.0/8",)) == ("", 1)
    wider = Config(fetch=config.Fetch(private_networks=("127.0.0.0/8",)))
    with pytest.raises(ConfigError, match=r"fetch\.private_networks"):
        config_checks.check_reach(wider, Config())
