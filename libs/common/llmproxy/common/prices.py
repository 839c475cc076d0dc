"""Which price a model has at an endpoint: the operator's, else that of the shipped list, else none is known (docs/prices.md)."""

import re
from collections.abc import Iterator, Mapping
from importlib import resources
from itertools import islice

from msgspec import Struct, json

from llmproxy.common import money
from llmproxy.common.config import Config, Endpoint
from llmproxy.common.envelope import Api, Price

OWN_NAME = re.compile(r"(?<=/).|(?<=\.)[a-z]")  # Where a model's own name may begin behind those of others.
OWN_NAMES_MAX = 8  # A caller may call a model what it likes.
SNAPSHOT = re.compile(
    r"(?:[-@:](?:latest|default)|[-@](?:\d{8}|\d{4}-\d\d-\d\d|\d\d-\d{4}|\d{4}|\d{3})|-v\d+(?::\d+)?|-\d:\d)$",
    re.ASCII,
)
SNAPSHOTS_MAX = 2  # A date, and behind it a cloud's own version.
ANY = "*"

LOCAL = frozenset({"demo", "ollama"})
"""What they serve runs on the operator's machines, whatever a vendor charges for a model of that name."""
CHARGING = frozenset({"openrouter", "perplexity"})
"""They say in each answer what they take for it."""
FREE_APIS: frozenset[Api] = frozenset({"count_tokens", "moderations"})
"""No provider charges for them."""

FREE, UNKNOWN = Price(), Price(unknown=True)


class Sheet(Struct, frozen=True, forbid_unknown_fields=True):
    """One public page of prices."""

    source: str
    read: str  # On which day, it or what quotes it.
    models: dict[str, money.ListedPrice]
    providers: tuple[str, ...] = ()  # Who charges this; (): whoever sells these models.


def load_sheets() -> list[Sheet]:
    text = resources.files("llmproxy.common").joinpath("prices.json").read_bytes()
    return json.decode(text, type=list[Sheet])


def shipped() -> dict[str, Price]:
    """The list of the package: model, or provider/model where each provider has a price of its own."""
    return {
        f"{provider}/{model}" if provider else model: money.price(listed)
        for sheet in load_sheets()
        for provider in (sheet.providers or ("",))
        for model, listed in sheet.models.items()
    }


class Prices:
    """Of one configuration."""

    def __init__(self, config: Config, shipped: Mapping[str, Price]) -> None:
        self._own = named({model: money.price(listed) for model, listed in config.prices.items()})
        self._shipped = named(shipped)

    def at(self, name: str, endpoint: Endpoint, model: str) -> Price:
        """The operator's for the model at this endpoint, for the model, for all that the endpoint serves; then the list's."""
        own = find(self._own, model, name) or self._own.get(f"{name}/{ANY}")
        if own is not None:
            return own
        listed = find(self._shipped, model, endpoint.provider) if endpoint.provider not in LOCAL else None
        return listed or (FREE if is_local(endpoint) else UNKNOWN)

    def unknown(self, config: Config) -> Iterator[tuple[str, str]]:
        """(endpoint, model as it is called there) of all that the configuration names and nobody has priced."""
        for name, model in dict.fromkeys(_named_targets(config)):
            endpoint = config.endpoints[name]
            if is_unpriced(endpoint.provider, self.at(name, endpoint, model)):
                yield name, model


def is_unpriced(provider: str, price: Price) -> bool:
    """Whether nobody has said what it costs, nor will in the answer."""
    return price.unknown and provider not in CHARGING


def is_local(endpoint: Endpoint) -> bool:
    """Whether it is a server of the operator's own, which nobody is paid for: no vendor is reached without TLS."""
    if endpoint.provider in LOCAL or endpoint.url.startswith("http:"):
        return True
    return endpoint.provider == "vllm" and not endpoint.url


def named(prices: Mapping[str, Price]) -> dict[str, Price]:
    """By names as `find` compares them."""
    return {comparable(name): price for name, price in prices.items()}


def find(prices: Mapping[str, Price], model: str, seller: str) -> Price | None:
    """A price holds for the model of its name, for snapshots of it, and for both behind names of others; None: there is none.
    What is listed as `seller/model` holds there alone, and before the rest.

    A snapshot has a date behind the name (`-20250929`, `-2025-09-29`, `-08-2024`, `-0613`, `@001`), `-latest`, or a cloud's
    version (`-v1:0`). Behind names of others: `anthropic/…`, `us.anthropic.…`. Whatever else stands behind a name
    (`-pro`, `-mini`, `-audio`, `:thinking`, `.1`) makes another model of it, which costs what its vendor says, if anybody
    has listed it. Letters' case makes no difference, nor does `4.5` for `4-5`. The longest name counts.
    """
    model = model.lower()
    starts = (0, *(begin.start() for begin in islice(OWN_NAME.finditer(model), OWN_NAMES_MAX)))
    names = [name for start in starts for name in _without_snapshot(comparable(model[start:]))]
    at_seller = (f"{seller}/{name}" for name in names)
    return next((prices[name] for name in (*at_seller, *names) if name in prices), None)


def _without_snapshot(name: str) -> Iterator[str]:
    yield name
    for _ in range(SNAPSHOTS_MAX):
        behind = SNAPSHOT.search(name)
        if behind is None:
            return
        name = name[: behind.start()]
        yield name


def comparable(name: str) -> str:
    """The same for names that are one model."""
    return name.lower().replace(".", "-")


def _named_targets(config: Config) -> Iterator[tuple[str, str]]:
    for name, endpoint in config.endpoints.items():
        yield from ((name, model) for model in endpoint.models if model != ANY)
    chosen = {asked: group.targets for asked, group in config.groups.items()}
    for routes in (chosen, config.fallbacks):
        for asked, targets in routes.items():
            yield from ((target.endpoint, target.model or asked) for target in targets)
