"""Which price a model has at an endpoint: names and snapshots, not siblings; what is shipped; what nobody has said."""

import datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.config import Config, Endpoint, Group, Target
from llmproxy.common.envelope import Price
from llmproxy.common.money import ListedPrice, price
from llmproxy.common.prices import FREE, UNKNOWN, Prices, find, load_sheets, named, shipped

LISTED = shipped()
NAMES = sorted(LISTED)
BEHIND = (
    "",
    "-latest",
    "-20250929",
    "-2025-09-29",
    "-09-2025",
    "-0929",
    "@20250929",
    "@001",
    "-v1:0",
    "-20250929-v1:0",
)
BEFORE = ("", "openai/", "us.anthropic.", "publishers/google/models/", "https-proxy/OpenAI/")
SIBLINGS = (
    *(
        "-pro",
        "-mini",
        "-nano",
        "-micro",
        "-max",
        "-fast",
        "-turbo",
        "-audio",
        "-audio-preview",
        "-realtime",
        "-search",
    ),
    *(
        "-search-preview",
        "-transcribe",
        "-tts",
        "-image",
        "-codex",
        "-lite",
        "-preview",
        "-exp",
        "-chat",
        "-high",
        "-vision",
    ),
    *(":thinking", ":free", ":nitro", ".1", "-1", "-v2.1", "-instruct", "-8b", "-32k", "[1m]", "x"),
)


def found(model: str, seller: str = "openai") -> Price | None:
    return find(named(LISTED), model, seller)


@pytest.mark.parametrize(
    ("model", "listed"),
    [
        ("gpt-4o-2024-11-20", "gpt-4o"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("GPT-4o", "gpt-4o"),
        ("openai/gpt-4o", "gpt-4o"),
        ("gpt-4-0613", "gpt-4"),
        ("claude-3-7-sonnet-latest", "claude-3-7-sonnet"),
        ("claude-opus-4-20250514", "claude-opus-4"),
        ("claude-opus-4-1-20250805", "claude-opus-4-1"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("global.anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("publishers/anthropic/models/claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("claude-3-5-sonnet-v2@20241022", "claude-3-5-sonnet"),
        ("gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("grok-4-0709", "grok-4"),
    ],
)
def test_a_price_holds_for_a_model_its_snapshots_and_both_behind_names_of_others(model: str, listed: str) -> None:
    assert found(model) == LISTED[listed]


@pytest.mark.parametrize(
    ("seller", "model", "listed"),
    [
        ("bedrock", "us.amazon.nova-pro-v1:0", "bedrock/amazon.nova-pro"),
        ("bedrock", "eu.amazon.nova-2-lite-v1:0", "bedrock/eu.amazon.nova-2-lite"),
        ("bedrock", "openai.gpt-oss-120b-1:0", "bedrock/openai.gpt-oss-120b"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("cohere", "command-a-03-2025", "cohere/command-a"),
        ("groq", "openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
        ("together", "openai/gpt-oss-120b", "together/openai/gpt-oss-120b"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "together/meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("fireworks", "openai/gpt-oss-120b", ""),
        ("openai", "mistral-large-2512", ""),
    ],
)
def test_what_each_seller_has_a_price_of_its_own_for_costs_that_there_alone(
    seller: str, model: str, listed: str
) -> None:
    assert found(model, seller) == (LISTED[listed] if listed else None)


@pytest.mark.parametrize(
    "model",
    [
        *("gpt-5-ultra", "o3-ultra", "gpt-4o-audio-preview", "gpt-4o-search-preview", "gpt-4o-realtime-preview"),
        *(
            "gpt-4o-mini-tts",
            "gpt-5.9",
            "gpt-5-2099x",
            "ft:gpt-4o-2024-08-06:org::id",
            "claude-opus-4-9",
            "claude-opus-6",
        ),
        *("claude-sonnet-4.5:thinking", "gemini-2.5-flash-image", "gemini-2.5-flash-preview-tts", "gemini-4-pro"),
        *(
            "my-gpt-4o",
            "gpt-4o/adapter",
            "",
            "-latest",
            "/",
            "gpt-oss-120b",
            "openai/gpt-oss-120b",
            "mistral-large-2512",
        ),
    ],
)
def test_another_model_has_no_price_of_a_sibling(model: str) -> None:
    assert found(model) is None


@pytest.mark.parametrize("behind", SIBLINGS)
def test_no_listed_price_is_taken_by_a_sibling(behind: str) -> None:
    listed = named(LISTED)
    for name in NAMES:
        if find(listed, name + behind, "") is not None:
            assert named({name + behind: FREE}).keys() <= listed.keys(), (
                f"{name}{behind} takes a price that is not its own"
            )


@given(st.sampled_from(NAMES), st.sampled_from(BEFORE), st.sampled_from(BEHIND))
def test_every_listed_price_holds_for_snapshots_behind_every_vendors_name(name: str, before: str, behind: str) -> None:
    model = f"{before}{name}{behind}"
    listed = named(LISTED)
    is_listed_itself = named({f"{name}{behind}": FREE}).keys() <= listed.keys() and behind
    assert is_listed_itself or find(listed, model, "") == LISTED[name]


@given(
    st.dictionaries(st.text("ab-/.", min_size=1, max_size=5), st.builds(Price, input=st.integers(1, 9))),
    st.text("ab1-/.:@"),
)
def test_a_found_price_is_one_of_a_name_that_stands_in_the_models(prices: dict[str, Price], model: str) -> None:
    price = find(named(prices), model, "seller")
    assert price is None or any(
        one == price and name.replace(".", "-") in model.replace(".", "-") for name, one in prices.items()
    )


def test_a_callers_name_costs_no_more_than_a_few_looks() -> None:
    class Counting(dict[str, Price]):
        looks = 0

        def __contains__(self, name: object) -> bool:
            self.looks += 1
            return False

    prices = Counting()
    assert find(prices, "a/" * 5_000 + "-20250929-v1:0", "main") is None
    assert prices.looks <= 60


OPENAI = Endpoint(provider="openai", models=("*",))


def at(endpoint: Endpoint, model: str, own: dict[str, ListedPrice] | None = None, name: str = "main") -> Price:
    return Prices(Config(endpoints={name: endpoint}, prices=own or {}), LISTED).at(name, endpoint, model)


def test_the_operators_price_comes_first_for_the_endpoint_then_for_the_model_then_for_all_of_the_endpoint() -> None:
    own = {"gpt-4o": ListedPrice(input="3"), "main/gpt-4o": ListedPrice(input="2"), "main/*": ListedPrice(input="1")}
    assert at(OPENAI, "gpt-4o-2024-11-20", own).input == 2_000_000_000
    assert at(OPENAI, "gpt-4o-2024-11-20", own, "other").input == 3_000_000_000
    assert at(OPENAI, "gpt-5", own).input == 1_000_000_000
    assert at(OPENAI, "gpt-5", own, "other") == LISTED["gpt-5"]
    assert at(OPENAI, "gpt-9", own, "other") == UNKNOWN


def test_an_own_price_is_not_taken_by_a_sibling_either() -> None:
    own = {"my-model": ListedPrice(input="1")}
    assert at(OPENAI, "my-model-large", own) == UNKNOWN
    assert at(OPENAI, "my-model-latest", own).input == 1_000_000_000


@pytest.mark.parametrize(
    ("endpoint", "model", "expected"),
    [
        (Endpoint(provider="demo"), "gpt-4o", FREE),
        (Endpoint(provider="ollama"), "gpt-4o", FREE),
        (Endpoint(provider="ollama", url="https://ollama.example"), "llama3.2:latest", FREE),
        (Endpoint(provider="vllm"), "Qwen/Qwen3-32B", FREE),
        (Endpoint(provider="vllm", url="http://gpu-7:8000/v1"), "openai/gpt-oss-120b", FREE),
        (Endpoint(provider="openai", url="http://127.0.0.1:1234/v1"), "anything", FREE),
        (Endpoint(provider="openai", url="http://127.0.0.1:1234/v1"), "gpt-4o", LISTED["gpt-4o"]),
        (Endpoint(provider="vllm", url="https://api.vendor.example/v1"), "Qwen/Qwen3-32B", UNKNOWN),
        (Endpoint(provider="openai"), "gpt-4o", LISTED["gpt-4o"]),
        (Endpoint(provider="openai"), "dall-e-3", UNKNOWN),
        (Endpoint(provider="groq"), "openai/gpt-oss-120b", LISTED["groq/openai/gpt-oss-120b"]),
        (Endpoint(provider="fireworks"), "openai/gpt-oss-120b", UNKNOWN),
        (Endpoint(provider="vertex"), "claude-sonnet-4-5@20250929", LISTED["claude-sonnet-4-5"]),
        (Endpoint(provider="azure", url="https://r.openai.azure.com"), "gpt-5-mini", LISTED["gpt-5-mini"]),
    ],
)
def test_what_runs_at_home_is_free_unless_priced_and_what_is_a_vendors_is_not(
    endpoint: Endpoint, model: str, expected: Price
) -> None:
    assert at(endpoint, model) == expected


def test_a_model_at_home_costs_what_its_operator_says() -> None:
    assert (
        at(Endpoint(provider="ollama"), "llama3.2:latest", {"llama3.2": ListedPrice(input="1")}).input == 1_000_000_000
    )


def test_all_that_a_configuration_names_without_a_price_is_told_once() -> None:
    config = Config(
        endpoints={
            "one": Endpoint(provider="openai", models=("gpt-4o", "new", "*")),
            "open": Endpoint(provider="openrouter", models=("vendor/model",)),
            "home": Endpoint(provider="ollama", models=("llama3",)),
        },
        groups={"fast": Group(targets=(Target(endpoint="one", model="new"), Target(endpoint="one")))},
        fallbacks={"gpt-4o": (Target(endpoint="one", model="newer"), Target(endpoint="home", model="mine"))},
    )
    assert list(Prices(config, LISTED).unknown(config)) == [("one", "new"), ("one", "fast"), ("one", "newer")]


# -- what is shipped


def test_every_sheet_names_a_public_page_and_the_day_on_which_it_was_read() -> None:
    for sheet in load_sheets():
        assert sheet.source.startswith("https://")
        assert datetime.date.fromisoformat(sheet.read) <= datetime.datetime.now(datetime.UTC).date(), sheet.source
        assert sheet.models


def test_no_model_is_listed_twice_for_the_same_provider() -> None:
    names = [
        named({f"{provider}/{model}": FREE}).popitem()[0]
        for sheet in load_sheets()
        for provider in (sheet.providers or ("",))
        for model in sheet.models
    ]
    assert not [one for one, next in pairwise(sorted(names)) if one == next]


def test_what_is_listed_costs_something_unless_its_vendor_says_that_it_is_free() -> None:
    assert {name for name, one in LISTED.items() if not one.input} == {"omni-moderation", "text-moderation"}


def test_a_cached_read_is_never_dearer_than_a_fresh_one_and_a_long_request_never_cheaper() -> None:
    for name, one in LISTED.items():
        assert one.cache_read is None or one.cache_read <= one.input, name
        if one.long is not None:
            assert one.long.input > one.input, name
            assert one.long.output > one.output, name
            assert one.long.cache_read is None or one.long.cache_read <= one.long.input, name


def test_what_is_kept_for_an_hour_is_never_cheaper_and_sound_never_cheaper_than_text() -> None:
    for name, one in LISTED.items():
        assert one.cache_write_hour is None or one.cache_write_hour > (one.cache_write or 0), name
        assert one.audio_input is None or one.audio_input > one.input, name
        assert one.audio_output is None or one.audio_output > one.output, name


def test_a_listed_price_keeps_what_is_not_given_unknown() -> None:
    assert price(ListedPrice(input="1")) == Price(input=10**9, cache_read=None, cache_write=None)
