"""The official packages, unmodified, against the running gateway: each raises its own exception for our errors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import openai
import pytest
from gateway import Gateway
from google import genai
from google.genai import errors as google_errors
from google.genai import types
from patience import wait_for

Ask = Callable[..., Any]
MESSAGES: Any = [{"role": "user", "content": "hello"}]


@contextmanager
def asking(gateway: Gateway, package: str, key: str) -> Iterator[tuple[Ask, type[Exception]]]:
    """(model, whether the request is a good one) -> a call of the package's; and the base of its exceptions."""
    match package:
        case "openai":
            with openai.OpenAI(api_key=key, base_url=gateway.base_url, max_retries=0) as ours:
                yield (
                    lambda model, good: ours.chat.completions.create(model=model, messages=MESSAGES if good else []),
                    openai.APIStatusError,
                )
        case "openai responses":
            with openai.OpenAI(api_key=key, base_url=gateway.base_url, max_retries=0) as ours:
                yield (
                    lambda model, good: ours.responses.create(
                        model=model, input="hello", max_output_tokens=16 if good else -1
                    ),
                    openai.APIStatusError,
                )
        case "anthropic":
            with anthropic.Anthropic(api_key=key, base_url=gateway.url, max_retries=0) as theirs:
                yield (
                    lambda model, good: theirs.messages.create(
                        model=model, messages=MESSAGES if good else [], max_tokens=16
                    ),
                    anthropic.APIStatusError,
                )
        case _:
            options = types.HttpOptions(base_url=gateway.url, api_version="v1beta")
            with genai.Client(api_key=key, http_options=options) as googles:
                yield (
                    lambda model, good: googles.models.generate_content(
                        model=model,
                        contents="hello",
                        config=types.GenerateContentConfig(max_output_tokens=16 if good else -1),
                    ),
                    google_errors.APIError,
                )


ALLOWED_MAX = 4
PACKAGES = ("openai", "openai responses", "anthropic", "google-genai")
TYPES: dict[str, tuple[type[Exception], ...]] = {
    "openai": (
        openai.AuthenticationError,
        openai.NotFoundError,
        openai.BadRequestError,
        openai.RateLimitError,
    ),
    "anthropic": (
        anthropic.AuthenticationError,
        anthropic.NotFoundError,
        anthropic.BadRequestError,
        anthropic.RateLimitError,
    ),
    "google-genai": (google_errors.ClientError,) * 4,
}


@pytest.fixture
def key_for_one(demo: Gateway) -> str:
    """A key with one request a minute."""
    wanted = {"name": "one a minute", "limit": {"requests_per_minute": 1, "burst": 1}}
    status, made = demo.post("/api/v1/keys", wanted, admin=True)
    assert status in (200, 201), made
    key: str = made["key"]
    return key


def asked(ask: Ask, model: str, good: bool, times: int) -> None:
    """Of a limited key one request is allowed, and one more while Redis is late and the edge counts by itself."""
    for _ in range(times):
        ask(model, good)


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_raises_its_own_exceptions(demo: Gateway, key_for_one: str, package: str) -> None:
    family = package.partition(" ")[0]
    for number, (status, key, model, good) in enumerate(
        (
            (401, "llmp-not-a-key", "demo", True),
            (404, demo.key, "nope", True),
            (400, demo.key, "demo", False),
            (429, key_for_one, "demo", True),
        )
    ):
        with asking(demo, package, key) as (ask, base), pytest.raises(base) as raised:
            asked(ask, model, good, times=ALLOWED_MAX if status == 429 else 1)
        assert isinstance(raised.value, TYPES[family][number]), (status, raised.value)
        assert getattr(raised.value, "status_code", None) or getattr(raised.value, "code", None) == status
        assert key not in str(raised.value)


def test_each_refusal_has_its_record_with_its_route(demo: Gateway) -> None:
    with asking(demo, "anthropic", demo.key) as (ask, _), pytest.raises(anthropic.NotFoundError) as refused:
        ask("nope", True)
    request_id = refused.value.request_id

    def found() -> list[Any]:
        return [one for one in demo.records(100) if one["id"] == request_id]

    (record,) = wait_for(found, "the record")
    assert (record["route"], record["api"], record["code"]) == ("/v1/messages", "messages", "model_not_found")
