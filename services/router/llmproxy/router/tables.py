"""Which endpoints can serve a model: compiled once per configuration, so that a request costs a look-up."""

from collections.abc import Iterable, Mapping
from typing import get_args

from msgspec import Struct

from llmproxy.common.config import Config, Provider, Strategy, Target
from llmproxy.common.envelope import Api, Attempt, Price
from llmproxy.common.offers import OFFERS
from llmproxy.common.prices import FREE_APIS, Prices, is_unpriced

ANY = "*"
APIS: tuple[Api, ...] = get_args(Api)
WILDCARD_ROUTES_MAX = 1_024
"""Names that only `*` endpoints serve are the callers' choice, so what is kept of them is bounded."""
WILDCARD_NAME_CHARS_MAX = 128


class Route(Struct, frozen=True):
    """What may be tried for one model through one API: the strategy orders `primary`; `fallback` follows, as configured.

    Both are empty when no endpoint that has the model serves the API, or when those that do have no price for it and
    `routing.unpriced_models` refuses such models.
    """

    name: str
    strategy: Strategy
    primary: tuple[Attempt, ...]
    fallback: tuple[Attempt, ...] = ()
    unpriced: tuple[Attempt, ...] = ()  # Left out.


class Known(Struct, frozen=True):
    """The routes through the APIs that the same providers serve, and that want a price alike."""

    able: frozenset[Provider]
    wants_price: bool
    routes: dict[str, Route]
    wild: dict[str, Route] = {}


class Tables:
    """One configuration's routes."""

    def __init__(self, config: Config, shipped: Mapping[str, Price]) -> None:
        self.config = config
        self._prices = Prices(config, shipped)
        self._wild = tuple(name for name, endpoint in config.endpoints.items() if ANY in endpoint.models)
        self._known: dict[Api, Known] = {}
        classes: dict[tuple[frozenset[Provider], bool], Known] = {}
        refuses = config.routing.unpriced_models == "refuse"
        for api in APIS:  # APIs that the same providers serve have the same routes.
            able = frozenset(provider for provider, offered in OFFERS.items() if api in offered)
            key = able, refuses and api not in FREE_APIS
            if key not in classes:
                classes[key] = Known(*key, {name: self._compile(name, *key) for name in self._names()})
            self._known[api] = classes[key]

    def find(self, model: str, api: Api = "chat") -> Route | None:
        """None: nobody serves this model."""
        known = self._known[api]
        route = known.routes.get(model) or known.wild.get(model)
        if route is not None or not self._wild:
            return route
        route = self._compile(model, known.able, known.wants_price)
        if len(model) <= WILDCARD_NAME_CHARS_MAX:
            if len(known.wild) >= WILDCARD_ROUTES_MAX:
                known.wild.clear()
            known.wild[model] = route
        return route

    def able(self, api: Api) -> list[str]:
        """The endpoints that serve an API, whatever the model."""
        providers = self._known[api].able
        return [name for name, endpoint in self.config.endpoints.items() if endpoint.provider in providers]

    def models(self) -> set[tuple[str, str]]:
        """(endpoint, model as it is called there) of all that the configuration names."""
        routes = [route for known in self._known.values() for route in known.routes.values()]
        return {(one.endpoint, one.model) for route in routes for one in (*route.primary, *route.fallback)}

    def probe(self) -> str:
        """The provider whose worker answers for the path's health: the first one configured."""
        return next((endpoint.provider for endpoint in self.config.endpoints.values()), "demo")

    def _names(self) -> set[str]:
        listed = {model for endpoint in self.config.endpoints.values() for model in endpoint.models}
        return (listed | set(self.config.groups) | set(self.config.fallbacks)) - {ANY}

    def _compile(self, model: str, able: frozenset[Provider], wants_price: bool) -> Route:
        group = self.config.groups.get(model)
        targets = group.targets if group else self._targets(model)
        primary = self._attempts(targets, model, able)
        fallback = self._attempts(self.config.fallbacks.get(model, ()), model, able)
        unpriced = tuple(one for one in (*primary, *fallback) if wants_price and is_unpriced(one.provider, one.price))
        return Route(
            name=model,
            strategy=group.strategy if group else "failover",
            primary=tuple(one for one in primary if one not in unpriced),
            fallback=tuple(one for one in fallback if one not in primary and one not in unpriced),
            unpriced=unpriced,
        )

    def _attempts(self, targets: Iterable[Target], asked: str, able: frozenset[Provider]) -> tuple[Attempt, ...]:
        endpoints = self.config.endpoints
        able_targets = (target for target in targets if endpoints[target.endpoint].provider in able)
        return tuple(dict.fromkeys(self._attempt(target, asked) for target in able_targets))

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
            price=self._prices.at(target.endpoint, endpoint, model),
            first_byte_ms=endpoint.first_byte_ms,
            idle_ms=endpoint.idle_ms,
        )
