"""What an answer costs, in whole nano-dollars: prices are data, arithmetic is integer."""

from typing import Annotated

from msgspec import Meta, Struct

from llmproxy.common.envelope import Price
from llmproxy.common.frames import Usage

TOKENS_PER_PRICE = 1_000_000
NANO_PER_DOLLAR = 1_000_000_000


class Amounts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """US dollars per million tokens, as vendors publish them and operators write them; text keeps decimals exact."""

    input: str
    output: str = "0"
    cache_read: str | None = None
    cache_write: str | None = None
    cache_write_hour: str | None = None
    audio_input: str | None = None
    audio_output: str | None = None


class LongPrice(Amounts, frozen=True, kw_only=True):
    """What a whole request costs, its answer too, that has more input tokens than `above`."""

    above: Annotated[int, Meta(ge=1, le=1 << 31)]


class ListedPrice(Amounts, frozen=True, kw_only=True):
    long: LongPrice | None = None


def nano_dollars(dollars: str) -> int:
    """Exact; raises ValueError on what is not a plain non-negative decimal with at most nine digits after the point."""
    whole, _, fraction = dollars.partition(".")
    if not (whole.isascii() and whole.isdigit()) or (fraction and not (fraction.isascii() and fraction.isdigit())):
        raise ValueError(f"{dollars!r} is not a price in dollars; write it like 2.50")
    if len(fraction) > 9 or len(whole) > 9:
        raise ValueError(f"{dollars!r} is out of range for a price")
    return int(whole) * NANO_PER_DOLLAR + int(fraction.ljust(9, "0"))


def price(listed: ListedPrice) -> Price:
    """Raises ValueError, which names the amount."""
    long = listed.long
    return _price(listed, "", None if long is None else _price(long, "long.", None, long.above))


def _price(listed: Amounts, at: str, long: Price | None, above: int = 0) -> Price:
    def amount(name: str) -> int | None:
        dollars = getattr(listed, name)
        try:
            return None if dollars is None else nano_dollars(dollars)
        except ValueError as error:
            raise ValueError(f"{at}{name}: {error}") from None

    return Price(
        input=amount("input") or 0,
        output=amount("output") or 0,
        cache_read=amount("cache_read"),
        cache_write=amount("cache_write"),
        cache_write_hour=amount("cache_write_hour"),
        audio_input=amount("audio_input"),
        audio_output=amount("audio_output"),
        long=long,
        above=above,
    )


def cost(usage: Usage, price: Price) -> int:
    """Nano-dollars, rounded up once. Cache tokens are part of `usage.input`; what has no price of
    its own costs as what it is a part of (caches as input, sound as text), and an unknown price nothing.

    The counts are a provider's word: a negative one counts as none, so that nobody's spending is lowered by it. So is
    what it says that it charged, which holds before any list of prices.
    """
    if usage.charged is not None:
        return max(usage.charged, 0)
    tokens = usage.input if usage.input > 0 else 0  # max() costs as much as all the rest.
    written = usage.output if usage.output > 0 else 0
    if price.long is not None and tokens > price.long.above:
        price = price.long
    if not (usage.cache_read or usage.cache_write or usage.audio_input or usage.audio_output):
        return -(-(tokens * price.input + written * price.output) // TOKENS_PER_PRICE)
    read = min(max(usage.cache_read, 0), tokens)
    write = min(max(usage.cache_write, 0), tokens - read)
    hour = min(max(usage.cache_write_hour, 0), write)
    plain = tokens - read - write
    heard, spoken = min(max(usage.audio_input, 0), plain), min(max(usage.audio_output, 0), written)
    to_write = _or(price.cache_write, price.input)
    total = (
        (plain - heard) * price.input
        + heard * _or(price.audio_input, price.input)
        + read * _or(price.cache_read, price.input)
        + (write - hour) * to_write
        + hour * _or(price.cache_write_hour, to_write)
        + (written - spoken) * price.output
        + spoken * _or(price.audio_output, price.output)
    )
    return -(-total // TOKENS_PER_PRICE)


def _or(price: int | None, other: int) -> int:
    return other if price is None else price
