"""Trying again: never sooner than asked, never later than bounded."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmproxy.common.retry import RETRY_AFTER_MS_MAX, backoff_ms, parse_retry_after_ms

NOW = 1_750_000_000.0
chances = st.floats(0, 1, exclude_max=True)


@given(st.integers(0, 10_000), chances, st.integers(1, 1_000), st.integers(1, 100_000))
def test_a_pause_stays_under_its_ceiling(attempt: int, chance: float, base_ms: int, cap_ms: int) -> None:
    pause = backoff_ms(attempt, random=chance, base_ms=base_ms, cap_ms=cap_ms)
    assert 0 <= pause <= min(cap_ms, base_ms << min(attempt, 16))


def test_the_ceiling_doubles_until_the_cap() -> None:
    almost = 1 - 1e-9
    assert [backoff_ms(n, random=almost) for n in range(8)] == [49, 99, 199, 399, 799, 1599, 1999, 1999]


@given(st.text(max_size=40))
@example("nan")
@example("inf")
@example("-inf")
@example("1e308")
@example("9" * 400)
@example("Mon, 01 Jan 9999 00:00:00 GMT")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
@example("Thu, 32 Foo 2026 99:99:99 GMT")
def test_whatever_a_provider_says_the_pause_is_bounded(value: str) -> None:
    assert 0 <= parse_retry_after_ms(value, NOW) <= RETRY_AFTER_MS_MAX


@given(st.integers(0, 86_400))
def test_seconds_become_milliseconds(seconds: int) -> None:
    assert parse_retry_after_ms(str(seconds), NOW) == seconds * 1000


@given(st.integers(0, 86_400))
def test_a_date_is_the_time_until_then(seconds: int) -> None:
    date = format_datetime(datetime.fromtimestamp(NOW + seconds, UTC), usegmt=True)
    assert parse_retry_after_ms(date, NOW) == seconds * 1000


@pytest.mark.parametrize("value", ["", "soon", "-5", "0", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_what_is_past_absent_or_unreadable_is_no_pause(value: str) -> None:
    assert parse_retry_after_ms(value, NOW) == 0


def test_a_fraction_of_a_second_counts() -> None:
    assert parse_retry_after_ms("0.25", NOW) == 250
