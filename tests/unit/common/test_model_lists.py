"""Which models are shown: the operator's names first, then the vendors', never decided by them."""

from llmproxy.common.config import Config, Endpoint, Group, Target
from llmproxy.common.model_lists import AGE_MAX_MS, DECODER, ENCODER, NAMES_MAX, ModelList, listed, tidy

CONFIG = Config(
    endpoints={
        "main": Endpoint(provider="openai", models=("gpt-5",)),
        "any": Endpoint(provider="openrouter", models=("own", "*")),
    },
    groups={"fast": Group(targets=(Target(endpoint="main"),))},
)


def of(*models: str, provider: str = "openrouter", at_ms: int = 0) -> ModelList:
    return ModelList(provider=provider, models=models, listed_at_ms=at_ms)


def test_configured_names_come_first_and_keep_their_provider() -> None:
    found = listed(CONFIG, {"any": of("a/b", "gpt-5")}, now_ms=0)
    assert list(found.items()) == [
        ("gpt-5", "openai"),
        ("own", "openrouter"),
        ("fast", "openai"),
        ("a/b", "openrouter"),
    ]


def test_a_list_is_shown_only_of_an_endpoint_that_takes_every_name_and_is_still_that_vendors() -> None:
    assert "x" not in listed(CONFIG, {"main": of("x", provider="openai")}, now_ms=0)
    assert "x" not in listed(CONFIG, {"gone": of("x")}, now_ms=0)
    assert "x" not in listed(CONFIG, {"any": of("x", provider="groq")}, now_ms=0)


def test_a_list_that_nobody_has_confirmed_for_a_day_is_not_shown() -> None:
    assert "x" in listed(CONFIG, {"any": of("x", at_ms=5)}, now_ms=AGE_MAX_MS + 5)
    assert "x" not in listed(CONFIG, {"any": of("x", at_ms=5)}, now_ms=AGE_MAX_MS + 6)


def test_what_does_not_look_like_a_name_is_left_out_and_there_is_an_end() -> None:
    assert tidy(["a/b:free", "a/b:free", "", " x", "<script>", "x" * 200, 5, None, "é"]) == ("a/b:free",)
    assert len(tidy(f"m{number}" for number in range(NAMES_MAX + 5))) == NAMES_MAX


def test_a_list_reads_back_as_it_was_written() -> None:
    assert DECODER.decode(ENCODER.encode(of("x"))) == of("x")
