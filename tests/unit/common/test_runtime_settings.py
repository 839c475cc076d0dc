"""Settings from the environment: typed, defaulted, and wrong ones named by their variable."""

import pytest

from llmproxy.admin import __main__ as admin
from llmproxy.audit import __main__ as audit
from llmproxy.common.runtime import Settings, read_settings
from llmproxy.edge import __main__ as edge
from llmproxy.provider_workers import __main__ as provider_workers
from llmproxy.router import __main__ as router
from llmproxy.shield import __main__ as shield


class Widget(Settings, frozen=True, kw_only=True):
    shards: int = 4
    strict: bool = True
    ratio: float = 0.5


def test_without_an_environment_the_defaults_hold() -> None:
    assert read_settings(Widget, {}) == Widget()


def test_each_field_is_a_variable_with_our_prefix() -> None:
    given = {
        "LLM_PROXY_SHARDS": "8",
        "LLM_PROXY_STRICT": "false",
        "LLM_PROXY_RATIO": "0.25",
        "LLM_PROXY_NATS_URL": "nats://bus:4222",
        "LLM_PROXY_PROBES_PORT": "9000",
    }
    assert read_settings(Widget, given) == Widget(
        shards=8, strict=False, ratio=0.25, nats_url="nats://bus:4222", probes_port=9000
    )


def test_other_variables_are_left_alone() -> None:
    assert read_settings(Widget, {"SHARDS": "9", "LLM_PROXY_API_KEYS": "x", "llm_proxy_shards": "9"}) == Widget()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LLM_PROXY_SHARDS", "many"),
        ("LLM_PROXY_SHARDS", ""),
        ("LLM_PROXY_STRICT", "perhaps"),
        ("LLM_PROXY_PROBES_PORT", "http"),
        ("LLM_PROXY_LOG_LEVEL", "loud"),
        ("LLM_PROXY_NATS_TIMEOUT_S", "-1"),
    ],
)
def test_a_wrong_value_is_named_by_its_variable_and_not_quoted(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"^{variable}: ") as caught:
        read_settings(Widget, {variable: value})
    assert not value or value not in str(caught.value).removeprefix(variable)


@pytest.mark.parametrize(
    ("kind", "variable", "value"),
    [
        (Widget, "LLM_PROXY_NATS_PASSWORD", "hunter2\udcff"),
        (admin.Settings, "LLM_PROXY_ADMIN_TOKEN", "hunter2\udcff"),
        (admin.Settings, "LLM_PROXY_ADMIN_TOKEN", "hunter2\n"),
        (admin.Settings, "LLM_PROXY_ADMIN_TOKEN", "hünter2"),
        (admin.Settings, "LLM_PROXY_API_KEYS", "hunter2,hunter2\udcff"),
        (shield.Settings, "LLM_PROXY_MASK_SECRET", "hunter2\udcff"),
        (shield.Settings, "LLM_PROXY_MASK_SECRET", "hunter2\n"),
        (shield.Settings, "LLM_PROXY_JUDGE_KEY", "hunter2\r\nX-Header: 1"),
    ],
)
def test_a_secret_that_cannot_be_meant_is_named_by_its_variable_and_not_quoted(
    kind: type[Settings], variable: str, value: str
) -> None:
    with pytest.raises(ValueError, match=rf"^{variable}: ") as caught:
        read_settings(kind, {variable: value})
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("kind", "variable", "value"),
    [
        (audit.Settings, "LLM_PROXY_POSTGRES_DSN", "postgresql://audit:hunter2/hunter3@127.0.0.1:5432/llmproxy"),
        (audit.Settings, "LLM_PROXY_POSTGRES_DSN", "postgresql://audit:9/hunter2@127.0.0.1:5432/llmproxy"),
        (audit.Settings, "LLM_PROXY_POSTGRES_DSN", "postgresql://audit:hunter2#@[::1]/llmproxy"),
        (audit.Settings, "LLM_PROXY_POSTGRES_DSN", "postgresql://audit:hunter2?@127.0.0.1:5432/llmproxy"),
        (audit.Settings, "LLM_PROXY_POSTGRES_DSN", "mysql://audit:hunter2@127.0.0.1:5432/llmproxy"),
        (audit.Settings, "LLM_PROXY_POSTGRES_DSN", "127.0.0.1:5432"),
        (edge.Settings, "LLM_PROXY_REDIS_URL", "redis://:hunter2/@redis:6379/0"),
        (router.Settings, "LLM_PROXY_REDIS_URL", "redis:6379"),
        (Widget, "LLM_PROXY_NATS_URL", "nats://edge:hunter2/@nats:4222"),
        (Widget, "LLM_PROXY_NATS_URL", "nats://nats:port"),
        (Widget, "LLM_PROXY_NATS_URL", "http://nats:4222"),
        (Widget, "LLM_PROXY_NATS_URL", "nats://one:4222,tls://edge:hunter2@two:4222"),  # Clients take one.
        (edge.Settings, "LLM_PROXY_REDIS_URL", "redis://:hunter2@one:6379,two:6379/0"),
        (edge.Settings, "LLM_PROXY_REDIS_URL", "redis://:hunter2@redis:65536/0"),
        (edge.Settings, "LLM_PROXY_REDIS_URL", "redis://:hunter2[@redis:6379/0"),
        (audit.Settings, "LLM_PROXY_POSTGRES_DSN", "postgresql://audit:hunter2\u2100@127.0.0.1/llmproxy"),
    ],
)
def test_an_address_that_cannot_be_read_is_named_with_the_fix_and_not_quoted(
    kind: type[Settings], variable: str, value: str
) -> None:
    with pytest.raises(ValueError, match=rf"^{variable}: it .*; write it as in \w+://") as caught:
        read_settings(kind, {variable: value})
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "variable", "value"),
    [
        (audit.Settings, "LLM_PROXY_POSTGRES_DSN", "postgresql://audit:hunter%2F2@one:5432,[::1]:5433/llmproxy"),
        (audit.Settings, "LLM_PROXY_POSTGRES_DSN", "postgres:///llmproxy?host=/var/run/postgresql&user=a@b"),
        (edge.Settings, "LLM_PROXY_REDIS_URL", "rediss://default:p@ss@redis.example:6380/1"),
        (router.Settings, "LLM_PROXY_REDIS_URL", "unix:///run/redis.sock?db=1"),
        (Widget, "LLM_PROXY_NATS_URL", "nats"),
        (Widget, "LLM_PROXY_NATS_URL", "tls://edge:hunter2,3@two:4222"),
    ],
)
def test_addresses_are_taken_as_their_clients_take_them(kind: type[Settings], variable: str, value: str) -> None:
    assert getattr(read_settings(kind, {variable: value}), variable.removeprefix("LLM_PROXY_").lower()) == value


@pytest.mark.parametrize(
    ("kind", "variable", "values"),
    [
        (Widget, "LLM_PROXY_PROBES_PORT", ("-1", "65536")),
        (Widget, "LLM_PROXY_DRAIN_S", ("-1", "nan", "inf", "86401")),
        (Widget, "LLM_PROXY_NATS_TIMEOUT_S", ("0", "nan", "inf", "1e300")),
        (edge.Settings, "LLM_PROXY_PORT", ("99999",)),
        (edge.Settings, "LLM_PROXY_EDGES", ("0", "-1", "99999999999999999999")),
        (edge.Settings, "LLM_PROXY_LINGER_S", ("-1", "nan", "inf")),
        (edge.Settings, "LLM_PROXY_LOST_S", ("1", "nan", "inf")),
        (admin.Settings, "LLM_PROXY_PORT", ("-1",)),
        (shield.Settings, "LLM_PROXY_SHIELD_PROCESSES", ("0", "-1", "100000")),
        (shield.Settings, "LLM_PROXY_MAX_IN_FLIGHT", ("0",)),
        (provider_workers.Settings, "LLM_PROXY_DEMO_CHUNK_MS", ("-5", "999999999")),
    ],
)
def test_a_number_that_cannot_be_meant_is_refused_at_the_start(
    kind: type[Settings], variable: str, values: tuple[str, ...]
) -> None:
    """None of them ended the start: no process would examine large bodies, a hundred thousand would, or a stop had no end."""
    for value in values:
        with pytest.raises(ValueError, match=rf"^{variable}: "):
            read_settings(kind, {variable: value})
