"""Money: exact, conserved, monotone, never negative, rounded up once."""

import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from llmproxy.common.envelope import Price
from llmproxy.common.frames import Usage
from llmproxy.common.money import ListedPrice, LongPrice, cost, nano_dollars, price

counts = st.integers(0, 10**9)
wild_counts = st.integers(-(10**9), 10**9)
amounts = st.integers(0, 10**12)
unsaid = st.none() | amounts
prices = st.builds(
    Price,
    input=amounts,
    output=amounts,
    cache_read=unsaid,
    cache_write=unsaid,
    cache_write_hour=unsaid,
    audio_input=unsaid,
    audio_output=unsaid,
)
COUNTS = ("input", "output", "cache_read", "cache_write", "cache_write_hour", "audio_input", "audio_output")


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """As providers count: cache tokens are part of the input, sound of what it is heard or said in."""
    tokens = draw(counts)
    read = draw(st.integers(0, tokens))
    write = draw(st.integers(0, tokens - read))
    written = draw(counts)
    return Usage(
        input=tokens,
        output=written,
        cache_read=read,
        cache_write=write,
        cache_write_hour=draw(st.integers(0, write)),
        audio_input=draw(st.integers(0, tokens - read - write)),
        audio_output=draw(st.integers(0, written)),
    )


def exact(usage: Usage, price: Price) -> Fraction:
    def first(*amounts: int | None) -> int:
        return next(one for one in amounts if one is not None)

    parts = (
        (usage.input - usage.cache_read - usage.cache_write - usage.audio_input, price.input),
        (usage.audio_input, first(price.audio_input, price.input)),
        (usage.cache_read, first(price.cache_read, price.input)),
        (usage.cache_write - usage.cache_write_hour, first(price.cache_write, price.input)),
        (usage.cache_write_hour, first(price.cache_write_hour, price.cache_write, price.input)),
        (usage.output - usage.audio_output, price.output),
        (usage.audio_output, first(price.audio_output, price.output)),
    )
    return Fraction(sum(count * amount for count, amount in parts), 1_000_000)


@given(usages(), prices)
def test_a_cost_is_the_exact_amount_rounded_up_once(usage: Usage, price: Price) -> None:
    assert 0 <= cost(usage, price) - exact(usage, price) < 1


@given(usages(), usages(), prices)
def test_money_is_conserved_when_usage_is_split(one: Usage, other: Usage, price: Price) -> None:
    whole = Usage(**{name: getattr(one, name) + getattr(other, name) for name in COUNTS})
    apart = cost(one, price) + cost(other, price)
    assert cost(whole, price) <= apart <= cost(whole, price) + 1  # Only the second rounding.


@given(usages(), prices, counts, counts)
def test_more_tokens_never_cost_less(usage: Usage, price: Price, more_input: int, more_output: int) -> None:
    more = replace(usage, input=usage.input + more_input, output=usage.output + more_output)
    assert cost(more, price) >= cost(usage, price)


@given(st.fixed_dictionaries(dict.fromkeys(COUNTS[:-1], wild_counts)).map(lambda said: Usage(**said)), prices)
@example(Usage(input=-1_000_000), Price(input=5))
@example(Usage(output=10, input=-1_000_000, cache_read=-7), Price(input=5, output=1, cache_read=9))
def test_no_count_a_provider_reports_makes_money(usage: Usage, price: Price) -> None:
    output_alone = Usage(output=max(usage.output, 0))
    assert cost(usage, price) >= cost(output_alone, price) >= 0


@given(usages(), prices)
def test_cache_counts_beyond_the_input_are_not_charged(usage: Usage, price: Price) -> None:
    inflated = Usage(input=usage.input, output=usage.output, cache_read=usage.input + 5, cache_write=7)
    read_all = Usage(input=usage.input, output=usage.output, cache_read=usage.input)
    assert cost(inflated, price) == cost(read_all, price)


def test_an_unknown_cache_price_costs_as_input() -> None:
    usage = Usage(input=3_000_000, cache_read=1_000_000, cache_write=1_000_000)
    assert cost(usage, Price(input=7)) == 21


def test_the_smallest_cost_is_one_nano_dollar_not_zero() -> None:
    assert cost(Usage(input=1), Price(input=1)) == 1


@given(st.decimals(0, 999_999_999, places=9))
def test_dollars_become_nano_dollars_exactly(dollars: Decimal) -> None:
    assert nano_dollars(f"{dollars:f}") == int(dollars * 10**9)


@pytest.mark.parametrize(
    ("dollars", "nano"), [("0", 0), ("2.5", 2_500_000_000), ("0.000000001", 1), ("0.1", 10**8), ("10", 10**10)]
)
def test_prices_as_vendors_write_them(dollars: str, nano: int) -> None:
    assert nano_dollars(dollars) == nano


@pytest.mark.parametrize("text", ["", "-1", "1e3", ".5", "1,5", "$2", "nan", "inf", "1_000", "٣", "1.2.3", " 1", "0x1"])
def test_what_is_not_a_price_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a price in dollars; write it like 2\.50"):
        nano_dollars(text)


@pytest.mark.parametrize("text", ["0.0000000001", "1234567890"])
def test_what_cannot_be_exact_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="out of range"):
        nano_dollars(text)


LISTED = ListedPrice(
    input="1", output="5", cache_read="0.1", long=LongPrice(above=100, input="2", output="10", cache_write="3")
)


@pytest.mark.parametrize(
    ("usage", "dollars_per_million"),
    [
        (Usage(input=100, output=10), 100 * 1 + 10 * 5),
        (Usage(input=101, output=10), 101 * 2 + 10 * 10),
        (Usage(input=200, cache_read=150), 200 * 2),  # Unknown of the long one: as its input.
        (Usage(input=200, cache_write=50), 150 * 2 + 50 * 3),
        (Usage(input=99, output=500), 99 * 1 + 500 * 5),
    ],
)
def test_a_longer_request_costs_the_long_price_as_a_whole(usage: Usage, dollars_per_million: int) -> None:
    assert cost(usage, price(LISTED)) == dollars_per_million * 1_000


SOUND = price(
    ListedPrice(
        input="1", output="2", cache_write="3", cache_write_hour="5", audio_input="7", audio_output="11", cache_read="0"
    )
)


@pytest.mark.parametrize(
    ("usage", "dollars_per_million"),
    [
        (Usage(input=10, cache_write=4), 6 * 1 + 4 * 3),
        (Usage(input=10, cache_write=4, cache_write_hour=3), 6 * 1 + 1 * 3 + 3 * 5),
        (Usage(input=10, cache_write=4, cache_write_hour=99), 6 * 1 + 4 * 5),
        (Usage(input=10, audio_input=4), 6 * 1 + 4 * 7),
        (Usage(output=10, audio_output=4), 6 * 2 + 4 * 11),
        (Usage(input=10, cache_read=8, audio_input=4), 2 * 7),  # What was cached is not heard again.
    ],
)
def test_sound_and_what_is_cached_for_an_hour_cost_their_own_price(usage: Usage, dollars_per_million: int) -> None:
    assert cost(usage, SOUND) == dollars_per_million * 1_000


def test_an_unknown_price_is_counted_as_nothing() -> None:
    assert cost(Usage(input=10**6, output=10**6), Price(unknown=True)) == 0


@pytest.mark.parametrize(
    ("listed", "named"),
    [
        (ListedPrice(input="-1"), "input: '-1'"),
        (ListedPrice(input="1", output="nan"), "output: 'nan'"),
        (ListedPrice(input="1", cache_write="1e3"), "cache_write: '1e3'"),
        (ListedPrice(input="1", long=LongPrice(above=1, input="1", cache_read="x")), "long.cache_read: 'x'"),
    ],
)
def test_what_is_wrong_with_a_price_is_said_with_its_place(listed: ListedPrice, named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named)):
        price(listed)
