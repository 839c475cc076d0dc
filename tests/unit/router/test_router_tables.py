"""Who can serve a model: groups, listed names, wildcards, fallbacks, prices."""

from msgspec.structs import replace

from llmproxy.common.config import Config, Endpoint, Group, Routing, Target
from llmproxy.common.envelope import Api, Price
from llmproxy.common.money import ListedPrice
from llmproxy.router.tables import WILDCARD_ROUTES_MAX, Route, Tables

SHIPPED = {"gpt-4o": Price(input=2_500_000_000, output=10_000_000_000), "llama3": Price(input=1_000_000_000)}


def openai(*models: str) -> Endpoint:
    return Endpoint(provider="openai", models=models)


CONFIG = Config(
    endpoints={
        "one": openai("gpt-4o", "shared"),
        "two": Endpoint(provider="anthropic", models=("claude", "shared"), first_byte_ms=7, idle_ms=8),
        "any": Endpoint(provider="ollama", models=("*",)),
    },
    groups={
        "fast": Group(targets=(Target(endpoint="two", model="claude"), Target(endpoint="one")), strategy="round_robin")
    },
    fallbacks={"gpt-4o": (Target(endpoint="two", model="claude"), Target(endpoint="one", model="gpt-4o"))},
    prices={"claude": ListedPrice(input="3", output="15")},
)


def found(model: str, config: Config = CONFIG) -> Route:
    route = Tables(config, SHIPPED).find(model)
    assert route is not None
    return route


def names(route: Route) -> list[tuple[str, str]]:
    return [(attempt.endpoint, attempt.model) for attempt in (*route.primary, *route.fallback)]


def test_a_group_comes_before_everything_and_keeps_its_strategy() -> None:
    assert found("fast").strategy == "round_robin"
    assert names(found("fast")) == [("two", "claude"), ("one", "fast")]


def test_endpoints_that_list_a_model_serve_it_in_their_order() -> None:
    assert names(found("shared")) == [("one", "shared"), ("two", "shared")]


def test_a_wildcard_serves_only_what_nobody_lists() -> None:
    assert names(found("something-else")) == [("any", "something-else")]
    assert ("any", "shared") not in names(found("shared"))


def test_fallbacks_follow_and_do_not_repeat_what_was_tried() -> None:
    assert names(found("gpt-4o")) == [("one", "gpt-4o"), ("two", "claude")]


def test_without_a_wildcard_an_unknown_model_has_no_route() -> None:
    assert Tables(Config(endpoints={"one": openai("gpt-4o")}), SHIPPED).find("other") is None
    assert Tables(Config(), SHIPPED).find("*") is None


def test_the_operators_prices_come_first_and_local_models_are_free() -> None:
    assert found("gpt-4o").primary[0].price.input == 2_500_000_000
    assert found("claude").primary[0].price.output == 15_000_000_000
    assert found("llama3").primary[0].price.input == 0


def test_a_model_that_nobody_has_priced_is_called_and_its_price_is_unknown() -> None:
    assert found("shared").primary[0].price == Price(unknown=True)


def refusing(config: Config = CONFIG) -> Config:
    return replace(config, routing=Routing(unpriced_models="refuse"))


def test_where_unpriced_models_are_refused_only_what_has_a_price_is_left_of_a_route() -> None:
    half_priced = replace(refusing(), prices={"one/shared": ListedPrice(input="1")})
    route = found("shared", half_priced)
    assert names(route) == [("one", "shared")]
    assert [(one.endpoint, one.model) for one in route.unpriced] == [("two", "shared")]


def test_an_unpriced_fallback_is_skipped_and_an_unpriced_model_goes_to_its_fallback() -> None:
    config = refusing(
        Config(
            endpoints={"one": openai("gpt-4o", "new"), "two": openai("other-new")},
            fallbacks={
                "gpt-4o": (Target(endpoint="two", model="other-new"),),
                "new": (Target(endpoint="one", model="gpt-4o"),),
                "other-new": (Target(endpoint="one", model="new"),),
            },
        )
    )
    assert names(found("gpt-4o", config)) == [("one", "gpt-4o")]
    assert names(found("new", config)) == [("one", "gpt-4o")]
    assert names(found("other-new", config)) == []
    assert [one.model for one in found("other-new", config).unpriced] == ["other-new", "new"]


def test_names_that_callers_choose_are_refused_for_want_of_a_price_like_others() -> None:
    config = refusing(Config(endpoints={"any": openai("*")}))
    assert names(found("gpt-4o", config)) == [("any", "gpt-4o")]
    assert names(found("gpt-9", config)) == []
    assert names(found("gpt-9", replace(config, prices={"any/*": ListedPrice(input="0")}))) == [("any", "gpt-9")]


def test_who_says_what_it_takes_needs_no_price() -> None:
    config = refusing(Config(endpoints={"open": Endpoint(provider="openrouter", models=("*",))}))
    assert names(found("whoever/whatever", config)) == [("open", "whoever/whatever")]


def test_the_endpoints_own_times_travel_in_the_attempt() -> None:
    attempt = found("claude").primary[0]
    assert (attempt.first_byte_ms, attempt.idle_ms, attempt.provider) == (7, 8, "anthropic")


def test_what_is_kept_of_names_that_callers_choose_is_bounded() -> None:
    tables = Tables(CONFIG, SHIPPED)
    for number in range(WILDCARD_ROUTES_MAX + 10):
        tables.find(f"made-up-{number}")
    tables.find("x" * 10_000)
    kept = tables._known["chat"].wild
    assert 0 < len(kept) <= WILDCARD_ROUTES_MAX
    assert "x" * 10_000 not in kept


def test_the_path_is_probed_at_the_first_endpoint_or_the_demo() -> None:
    assert Tables(CONFIG, SHIPPED).probe() == "openai"
    assert Tables(Config(), SHIPPED).probe() == "demo"


def test_a_route_holds_only_endpoints_that_serve_the_api() -> None:
    config = Config(
        endpoints={
            "claude": Endpoint(provider="anthropic", models=("m",)),
            "gpt": openai("m"),
            "any": Endpoint(provider="perplexity", models=("*",)),
        },
        fallbacks={"m": (Target(endpoint="any"), Target(endpoint="gpt", model="n"))},
    )
    tables = Tables(config, SHIPPED)

    def through(api: Api) -> list[tuple[str, str]]:
        route = tables.find("m", api)
        assert route is not None
        return names(route)

    assert through("chat") == through("messages") == [("claude", "m"), ("gpt", "m"), ("any", "m"), ("gpt", "n")]
    assert through("embeddings") == [("gpt", "m"), ("gpt", "n")]
    assert through("count_tokens") == through("chat")  # Estimated where the provider does not count.
    assert through("rerank") == []
    assert tables.find("n", "embeddings") == Route(name="n", strategy="failover", primary=())
    assert (tables.able("embeddings"), tables.able("rerank")) == (["gpt"], [])


def test_conversations_share_their_routes() -> None:
    tables = Tables(CONFIG, SHIPPED)
    assert tables.find("shared", "chat") is tables.find("shared", "responses")
