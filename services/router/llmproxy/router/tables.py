"""Which endpoints can serve a model: compiled once per configuration, so that a request costs a look-up."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from llmproxy.common import money
from llmproxy.common.config import Config, Endpoint, Strategy, Target
from llmproxy.common.envelope import Attempt, Price

ANY = "*"
WILDCARD_ROUTES_MAX = (
    1_024  # Names that only `*` endpoints serve are the callers' choice, so what is kept of them is bounded.
)
WILDCARD_NAME_CHARS_MAX = 128
UNPRICED = frozenset({"demo", "ollama"})  # They run here: free unless the operator lists a price.


class Route(Struct, frozen=True):
    """What may be tried for one model: the strategy orders `primary`; `fallback` follows, as configured."""

    name: str
    strategy: Strategy
    primary: tuple[Attempt, ...]
    fallback: tuple[Attempt, ...] = ()


class Tables:
    """One configuration's routes."""

    def __init__(self, config: Config, shipped: Mapping[str, money.ListedPrice]) -> None:
        self.config = config
        own = {model: money.price(listed) for model, listed in config.prices.items()}
        self._own_prices = own
        self._prices = {model: money.price(listed) for model, listed in shipped.items()} | own
        self._wild = tuple(name for name, endpoint in config.endpoints.items() if ANY in endpoint.models)
        self._wild_routes: dict[str, Route] = {}
        self._routes = {name: self._compile(name) for name in self._names()}

    def find(self, model: str) -> Route | None:
        """None: nobody serves this model."""
        route = self._routes.get(model) or self._wild_routes.get(model)
        if route is not None or not self._wild:
            return route
        route = self._compile(model)
        if len(model) <= WILDCARD_NAME_CHARS_MAX:
            if len(self._wild_routes) >= WILDCARD_ROUTES_MAX:
                self._wild_routes.clear()
            self._wild_routes[model] = route
        return route

    def probe(self) -> str:
        """The provider whose worker answers for the path's health: the first one configured."""
        return next((endpoint.provider for endpoint in self.config.endpoints.values()), "demo")

    def _names(self) -> set[str]:
        listed = {model for endpoint in self.config.endpoints.values() for model in endpoint.models}
        return (listed | set(self.config.groups) | set(self.config.fallbacks)) - {ANY}

    def _compile(self, model: str) -> Route:
        group = self.config.groups.get(model)
        targets = group.targets if group else self._targets(model)
        primary = _distinct(self._attempt(target, model) for target in targets)
        fallback = _distinct(self._attempt(target, model) for target in self.config.fallbacks.get(model, ()))
        return Route(
            name=model,
            strategy=group.strategy if group else "failover",
            primary=primary,
            fallback=tuple(attempt for attempt in fallback if attempt not in primary),
        )

    def _targets(self, model: str) -> tuple[Target, ...]:
        """Endpoints that list the model, in their order; only without any, those that take every name."""
        listing = tuple(name for name, endpoint in self.config.endpoints.items() if model in endpoint.models)
        return tuple(Target(endpoint=name) for name in listing or self._wild)

    def _attempt(self, target: Target, asked: str) -> Attempt:
        endpoint, model = self.config.endpoints[target.endpoint], target.model or asked
        return Attempt(
            endpoint=target.endpoint,
            provider=endpoint.provider,
            model=model,
            price=self._price(endpoint, model),
            first_byte_ms=endpoint.first_byte_ms,
            idle_ms=endpoint.idle_ms,
        )

    def _price(self, endpoint: Endpoint, model: str) -> Price:
        return money.find_price(self._own_prices if endpoint.provider in UNPRICED else self._prices, model)


def _distinct(attempts: Iterable[Attempt]) -> tuple[Attempt, ...]:
    return tuple(dict.fromkeys(attempts))
