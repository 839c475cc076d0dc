"""Settings from the environment: typed, defaulted, and wrong ones named by their variable."""

import pytest

from llmproxy.admin import __main__ as admin
from llmproxy.common.runtime import Settings, read_settings
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
