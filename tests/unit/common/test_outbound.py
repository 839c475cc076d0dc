"""How an endpoint is reached: what the configuration takes, and what it says of the rest."""

import pytest
from unit.common.config_problems import problem

from llmproxy.common.config import Config, ConfigError, Endpoint
from llmproxy.common.config_checks import check_reach
from llmproxy.common.config_file import parse
from llmproxy.common.outbound import HeaderRules, Proxy

WHOLE = """
endpoints:
  main:
    provider: openai
    url: https://models.example.com
    models: [m]
    proxy: {url: "socks5://proxy.example.com:1080", user: gateway, password: env:PROXY_PASSWORD}
    tls: {ca_file: /etc/ca.pem, certificate_file: /etc/us.pem, key_file: /etc/us.key, server_name: models, minimum: "1.3"}
    headers:
      insert: {X-Team: blue}
      replace: {x-tenant: "file:/run/tenant"}
      remove: [accept]
    user_agent: acme/1.0 (models)
"""


def test_the_whole_way_parses() -> None:
    main = parse(WHOLE, {}).endpoints["main"]
    assert main.proxy == Proxy(url="socks5://proxy.example.com:1080", user="gateway", password="env:PROXY_PASSWORD")
    assert main.headers == HeaderRules(
        insert={"X-Team": "blue"}, replace={"x-tenant": "file:/run/tenant"}, remove=("accept",)
    )
    assert main.references == {"headers.x-tenant": "file:/run/tenant", "proxy.password": "env:PROXY_PASSWORD"}
    assert main.files == {
        "headers.x-tenant": "/run/tenant",
        "tls.ca_file": "/etc/ca.pem",
        "tls.certificate_file": "/etc/us.pem",
        "tls.key_file": "/etc/us.key",
    }


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("proxy: {url: 'ftp://p:1'}", "proxy.url: write http://host:port"),
        ("proxy: {url: 'http://p'}", "proxy.url: write http://host:port"),
        ("proxy: {url: 'http://p:1/path'}", "proxy.url: write http://host:port"),
        ("proxy: {url: 'http://u:p@p:1'}", "proxy.url: has a user or password"),
        ("proxy: {url: 'http://169.254.169.254:80'}", "proxy.url: leads to a metadata service"),
        ("proxy: {url: 'http://p:1', user: u}", "proxy.user: a proxy wants a user and a password"),
        ("proxy: {url: 'http://p:1', user: u, password: secret}", "proxy.password: write a reference"),
        ("tls: {key_file: /k}", "tls.certificate_file: "),
        ("tls: {server_name: 'a b'}", "tls.server_name: "),
        ("tls: {minimum: '1.1'}", "one of 1.2, 1.3"),
        ("tls: {verify: false}", "unknown field 'verify'"),
        ("url: 'http://x.example', tls: {ca_file: /c}", "tls: is of no use with http://"),
        ("headers: {replace: {Authorization: x}}", "headers.replace: authorization shows a credential"),
        ("headers: {remove: [X-Api-Key]}", "headers.remove: x-api-key shows a credential"),
        ("headers: {insert: {x-amz-date: x}}", "headers.insert: x-amz-date shows a credential"),
        ("headers: {replace: {x-own: x}}, auth: {kind: header, name: X-Own, key: env:K}", "x-own shows a credential"),
        ("headers: {replace: {host: evil}}", "headers.replace: host is the gateway's own"),
        ("headers: {remove: [content-length]}", "headers.remove: content-length is the gateway's own"),
        ("headers: {replace: {transfer-encoding: chunked}}", "transfer-encoding is the gateway's own"),
        ("headers: {replace: {User-Agent: x}}", "headers.replace: use user_agent"),
        ("headers: {insert: {a: b}, remove: [A]}", "headers.remove: a is changed twice"),
        ("headers: {insert: {'a b': c}}", "headers.insert: 'a b' is not the name of a header"),
        ('headers: {insert: {a: "b\\r\\nc: d"}}', "headers.insert: the value of a is not printable"),
        ('user_agent: "a\\r\\nb: c"', "user_agent: at most 256 printable"),
    ],
)
def test_what_cannot_be_meant_is_said_with_its_place(fields: str, said: str) -> None:
    text = problem(f"endpoints: {{main: {{provider: openai, models: [m], {fields}}}}}")
    assert said in text
    assert text.startswith("endpoints.main.")
    assert "secret" not in text


def test_over_the_api_a_proxy_is_a_place_like_any_other() -> None:
    endpoint = Endpoint(provider="openai", models=("m",), proxy=Proxy(url="http://10.0.0.1:3128"))
    with pytest.raises(ConfigError, match=r"endpoints\.main\.proxy\.url"):
        check_reach(Config(endpoints={"main": endpoint}), Config())
