"""Of a provider's headers a caller sees those that say something to him."""

from llmproxy.provider_workers.vendor_headers import HEADERS_MAX, reexposed


def test_only_harmless_provider_headers_are_shown_and_not_too_many() -> None:
    shown = reexposed(
        {"X-Request-Id": "r", "Set-Cookie": "no", "openai-organization": "no", "x-ratelimit-limit": "y" * 999}
    )
    assert shown == {"x-request-id": "r"}
    assert len(reexposed({f"x-ratelimit-{number}": "1" for number in range(999)})) == HEADERS_MAX


def test_a_header_that_is_no_text_is_not_shown() -> None:
    assert reexposed({"x-request-id": "r", "request-id": "\udcff", "retry-after": "1\t"}) == {"x-request-id": "r"}
