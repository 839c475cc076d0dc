"""Where the operator says so, a parameter is lost instead of the request; the request itself never."""

import json
from typing import Any

import pytest
from calling_worker import asking, endpoint, gateway, run
from msgspec import Raw
from scripted_upstream import COMPLETION, always, answer, upstream

from llmproxy.common.config import Config, Routing
from llmproxy.common.envelope import Attempt
from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import End, Failure, Head
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.lenient import LEFT_OUT_MAX, Lenient, without
from llmproxy.provider_workers.ways import wire
from llmproxy.provider_workers.wire import HttpRequest, Target

HI: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
ODD = {**HI, "logprobs": True, "n": 2, "web_search_options": {}, "temperature": 0.5}
TARGET = Target(model="m")


def asked(provider: str, body: dict[str, Any], *, lenient: bool, api: Any = "chat") -> HttpRequest:
    found = wire(ADAPTERS[provider], api, lenient=lenient)
    assert found is not None
    return found.request(json.dumps(body).encode(), TARGET)


@pytest.mark.parametrize("provider", ["groq", "anthropic", "bedrock", "cohere", "perplexity"])
def test_what_a_provider_cannot_express_is_refused_or_left_out_and_listed(provider: str) -> None:
    with pytest.raises(GatewayError) as caught:
        asked(provider, ODD, lenient=False)
    assert caught.value.code == "unsupported_parameter"
    made = asked(provider, ODD, lenient=True)
    assert {"logprobs", "n"} <= set(made.dropped)
    assert b"logprobs" not in made.body
    assert b"Hi" in made.body


def test_nothing_is_left_out_that_can_be_expressed() -> None:
    assert asked("groq", {**HI, "temperature": 0.5}, lenient=True) == asked(
        "groq", {**HI, "temperature": 0.5}, lenient=False
    )


def test_a_parameter_of_another_api_is_left_out_under_its_name_there() -> None:
    body = {**HI, "max_tokens": 5, "top_k": 7}
    with pytest.raises(GatewayError):
        asked("groq", body, lenient=False, api="messages")
    made = asked("groq", body, lenient=True, api="messages")
    assert "top_k" in made.dropped
    assert b"top_k" not in made.body


def test_what_a_request_is_about_is_never_left_out() -> None:
    tool = {"role": "tool", "tool_call_id": "a", "content": "x"}
    with pytest.raises(GatewayError) as caught:
        asked("perplexity", {**HI, "messages": [*HI["messages"], tool]}, lenient=True)
    assert caught.value.param == "messages[1].role"


@pytest.mark.parametrize("param", ["", "messages", "model", "input", "tools[0].type", "not_there", "messages[0].name"])
def test_these_cannot_be_left_out(param: str) -> None:
    assert without(json.dumps({**HI, "tools": [], "input": "x"}).encode(), param) is None


def test_of_a_group_one_field_is_left_out_and_of_a_value_the_whole() -> None:
    body = {"generationConfig": {"topK": 1, "seed": 2}, "response_format": {"type": "x"}}
    raw = json.dumps(body).encode()
    assert json.loads(without(raw, "generationConfig.topK") or b"") == {**body, "generationConfig": {"seed": 2}}
    assert json.loads(without(raw, "response_format.type") or b"") == {"generationConfig": body["generationConfig"]}


class Never:
    """Finds something else to refuse each time."""

    def __init__(self) -> None:
        self.times = 0

    def request(self, body: bytes, target: Target) -> HttpRequest:
        self.times += 1
        raise GatewayError("unsupported_parameter", "no", param=f"f{self.times}")

    response = events = None  # type: ignore[assignment]


def test_a_request_is_asked_again_only_so_often() -> None:
    never = Never()
    with pytest.raises(GatewayError):
        Lenient(never).request(json.dumps({f"f{n}": 1 for n in range(99)}).encode(), TARGET)  # type: ignore[arg-type]
    assert never.times == LEFT_OUT_MAX + 1


@pytest.mark.parametrize("setting", ["refuse", "drop"])
def test_the_configuration_decides(setting: Any) -> None:
    async def scenario() -> None:
        async with (
            upstream(always(answer(200, COMPLETION))) as served,
            gateway({"fast": endpoint(served, provider="groq")}, providers=frozenset({"groq"})) as asked,
        ):
            routing = Routing(unsupported_parameters=setting)
            asked.work.configure(Config(endpoints={"fast": endpoint(served, provider="groq")}, routing=routing))
            plan = Attempt(endpoint="fast", provider="groq", model="m")
            end = await asked.answered(asking(plan, body=Raw(json.dumps(ODD).encode())))
            if setting == "refuse":
                assert isinstance(end, Failure)
                assert (end.code, served.asked) == ("unsupported_parameter", [])
                return
            assert isinstance(end, End)
            head = asked.frames[0]
            assert isinstance(head, Head)
            assert sorted(head.dropped) == ["logprobs", "n", "web_search_options"]
            assert json.loads(served.asked[0].body) == {**HI, "temperature": 0.5}

    run(scenario)
