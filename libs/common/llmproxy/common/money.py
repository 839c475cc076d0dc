"""What an answer costs, in whole nano-dollars: prices are data, arithmetic is integer."""

import re
from importlib import resources
from itertools import islice

import msgspec

from llmproxy.common.envelope import Price
from llmproxy.common.frames import Usage

TOKENS_PER_PRICE = 1_000_000
NANO_PER_DOLLAR = 1_000_000_000
OWN_NAME = re.compile(r"(?<=[/.])[a-z]")  # Where a model's own name may begin behind those of others.
OWN_NAMES_MAX = 8  # A caller may call a model what it likes.


class ListedPrice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """US dollars per million tokens, as vendors publish them and operators write them; text keeps decimals exact."""

    input: str = "0"
    output: str = "0"
    cache_read: str | None = None
    cache_write: str | None = None


def nano_dollars(dollars: str) -> int:
    """Exact; raises ValueError on what is not a plain non-negative decimal with at most nine digits after the point."""
    whole, _, fraction = dollars.partition(".")
    if not (whole.isascii() and whole.isdigit()) or (fraction and not (fraction.isascii() and fraction.isdigit())):
        raise ValueError(f"{dollars!r} is not a price in dollars; write it like 2.50")
    if len(fraction) > 9 or len(whole) > 9:
        raise ValueError(f"{dollars!r} is out of range for a price")
    return int(whole) * NANO_PER_DOLLAR + int(fraction.ljust(9, "0"))


def price(listed: ListedPrice) -> Price:
    return Price(
        input=nano_dollars(listed.input),
        output=nano_dollars(listed.output),
        cache_read=None if listed.cache_read is None else nano_dollars(listed.cache_read),
        cache_write=None if listed.cache_write is None else nano_dollars(listed.cache_write),
    )


def cost(usage: Usage, price: Price) -> int:
    """Nano-dollars, rounded up once. Cache tokens are part of `usage.input`; unknown cache prices cost as input.

    The counts are a provider's word: a negative one counts as none, so that nobody's spending is lowered by it. So is
    what it says that it charged, which holds before any list of prices.
    """
    if usage.charged is not None:
        return max(usage.charged, 0)
    tokens = usage.input if usage.input > 0 else 0  # max() costs as much as all the rest.
    written = usage.output if usage.output > 0 else 0
    if not (usage.cache_read or usage.cache_write):
        return -(-(tokens * price.input + written * price.output) // TOKENS_PER_PRICE)
    read = min(max(usage.cache_read, 0), tokens)
    write = min(max(usage.cache_write, 0), tokens - read)
    total = (
        (tokens - read - write) * price.input
        + read * (price.input if price.cache_read is None else price.cache_read)
        + write * (price.input if price.cache_write is None else price.cache_write)
        + written * price.output
    )
    return -(-total // TOKENS_PER_PRICE)


def load_prices() -> dict[str, ListedPrice]:
    """The prices shipped with the package: model name or prefix -> price."""
    text = resources.files("llmproxy.common").joinpath("prices.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, ListedPrice])


def find_price(prices: dict[str, Price], model: str) -> Price:
    """The exact name, else the longest listed prefix (`gpt-4o-2024-11-20` is priced as `gpt-4o`), else the same of what
    stands behind a vendor's or a region's name (`us.anthropic.claude-…`, `openai/gpt-4o`), else free."""
    found = prices.get(model)
    if found is not None:
        return found
    for start in (0, *(begin.start() for begin in islice(OWN_NAME.finditer(model), OWN_NAMES_MAX))):
        prefix = max((name for name in prices if model.startswith(name, start)), key=len, default="")
        if prefix:
            return prices[prefix]
    return Price()
