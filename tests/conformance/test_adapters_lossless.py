"""openai -> family -> openai: what a family can express arrives, and what it cannot is refused or listed by name.

Conversations are generated; what the vendor was sent is read back by `inverses`, which share no code with the adapters.
"""

import json
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any

import pytest
from conformance.chats import FEATURES, OPTIONS, PIXEL, SCHEMA, SIGNED, URLS, Tree, plain
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from inverses import meaning
from inverses.meaning import Meaning, chat

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.adapters.base import Capability, Target

# Models that have everything their vendor has.
MODELS = {
    "anthropic": "claude-opus-4-6",
    "bedrock": "us.anthropic.claude-opus-4-6-v1:0",
    "google": "gemini-3-pro",
    "vertex": "gemini-3-pro",
    "ollama": "gpt-oss",
}
NO_SCHEMA = {"type": "object", "properties": {}}
INVENTED = {"anthropic": {"max_tokens"}, "bedrock": {"max_tokens"}}  # Options that a vendor wants from everybody.


def sent(provider: str, body: Tree) -> tuple[Meaning, tuple[str, ...]]:
    """(what the vendor reads, what was left out). Raises GatewayError."""
    adapter = ADAPTERS[provider]
    target = Target(model=MODELS.get(provider, "m"), url=URLS.get(provider, ""), stream=bool(body.get("stream")))
    made = adapter.request(json.dumps(body).encode(), target)
    return meaning(provider, json.loads(made.body)), made.dropped


def differences(provider: str, asked: Meaning, found: Meaning) -> set[str]:
    """Where two requests do not mean the same."""
    (tools, options), (other_tools, other_options) = offered(asked), offered(found)
    names = {name for name, value in options.items() if other_options.get(name) != value}
    names |= other_options.keys() - options.keys() - INVENTED.get(provider, set())
    if asked.system != found.system:
        names.add("system")
    if said(provider, asked.turns, found.turns) != said(provider, found.turns, found.turns):
        names.add("turns")
    if not same_tools(tools, other_tools):
        names.add("tools")
    return names


def offered(meaning: Meaning) -> tuple[list[Any], Tree]:
    """(tools, options), where several ways to say the same are one.

    Not to call any tool is to be given none, and to have to call one of one alone is to have to call that one.
    """
    tools = [
        (name, text, NO_SCHEMA if schema is None else schema, strict) for name, text, schema, strict in meaning.tools
    ]
    options = dict(meaning.options)
    choice = options.pop("choice", None)
    if choice == "none":
        tools = []
    elif choice not in (None, "required"):
        tools = [tool for tool in tools if tool[0] == choice]
    if choice not in (None, "none"):
        options["must"] = True
    return tools, options


def same_tools(tools: list[Any], others: list[Any]) -> bool:
    """Where a call is forced some vendors keep to the schema anyway, and nothing says so (None)."""
    unsaid = {other[0] for other in others if other[3] is None}
    return [(*tool[:3], None if tool[0] in unsaid else tool[3]) for tool in tools] == others


def said(provider: str, turns: list[Any], found: list[Any]) -> list[Any]:
    """Ollama's images have no place among the words, and no type. A seal is nothing to another vendor, but what was thought
    may be."""
    has_seals = any(item[0] == "sealed" for _, items in found for item in items)
    told = [(side, results_in_order(item if has_seals else unsealed(item) for item in items)) for side, items in turns]
    if provider != "ollama":
        return told
    untyped = [(side, [("image", "", one[2]) if one[0] == "image" else one for one in items]) for side, items in told]
    return [(side, sorted(items, key=lambda item: item[0] == "image")) for side, items in untyped]


def results_in_order(items: Iterable[Any]) -> list[Any]:
    """Each names its call, so it does not matter which comes first."""
    runs = groupby(items, key=lambda item: item[0] == "result")
    return [item for is_result, run in runs for item in (sorted(run, key=itemgetter(1)) if is_result else run)]


def unsealed(item: Any) -> Any:
    return ("thought", json.loads(item[1])["thinking"]) if item[0] == "sealed" else item


def outcome(provider: str, feature: str) -> str:
    """`kept`, `refused`, `listed`, or `lost`, which nothing may be."""
    body = plain()
    FEATURES[feature](body)
    try:
        found, dropped = sent(provider, body)
    except GatewayError as error:
        return "refused" if error.code in ("unsupported_parameter", "invalid_value") and error.param else "crashed"
    if not (lost := differences(provider, chat(body), found)):
        return "kept"
    return "listed" if all(is_listed(name, dropped) for name in lost) else f"lost: {sorted(lost)}"


PARAMETER = {"effort": "reasoning_effort", "turns": "messages[", "tools": "tools["}


def is_listed(difference: str, dropped: tuple[str, ...]) -> bool:
    return any(name.startswith(PARAMETER.get(difference, difference)) for name in dropped)


everybody = pytest.mark.parametrize("provider", ADAPTERS)


@everybody
@pytest.mark.parametrize("feature", FEATURES)
def test_nothing_is_lost_in_silence(provider: str, feature: str) -> None:
    assert outcome(provider, feature) in ("kept", "refused", "listed")


SHOWS = {
    Capability.TOOLS: ("tools", "tool history", "JSON from a tool", "nothing from a tool"),
    Capability.PARALLEL_TOOLS: ("results in another order",),
    Capability.TOOL_CHOICE: ("choice required", "choice named"),
    Capability.IMAGES: ("image",),
    Capability.IMAGE_URLS: ("image url",),
    Capability.JSON_MODE: ("json",),
    Capability.JSON_SCHEMA: ("schema",),
    Capability.REASONING: ("high effort",),
    Capability.CHOICES: ("n",),
}


@everybody
@pytest.mark.parametrize("capability", SHOWS)
def test_what_an_adapter_says_it_can_arrives_and_nothing_else_does(provider: str, capability: Capability) -> None:
    is_declared = capability in ADAPTERS[provider].capabilities
    for feature in SHOWS[capability]:
        assert (outcome(provider, feature) == "kept") == is_declared, feature


# -- conversations


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(str.strip)
KEYS = st.text("abcxyz_", min_size=1, max_size=6).map(lambda name: f"k_{name}")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=3)
NAMES = st.lists(st.text("abc_", min_size=1, max_size=8), max_size=3, unique=True)
RESULTS = TEXTS | OBJECTS.map(json.dumps) | st.just("")
SAID = st.none() | TEXTS
IMAGES = {
    "image": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    "image url": {"type": "image_url", "image_url": {"url": "https://example.com/a.png?b=c"}},
}


@cache
def kept(provider: str) -> frozenset[str]:
    return frozenset(feature for feature in FEATURES if outcome(provider, feature) == "kept")


@st.composite
def chats(draw: st.DrawFn, can: frozenset[str]) -> Tree:
    """A chat of what a family can express."""
    tools = draw(tools_of(can)) if "tools" in can else []
    body: Tree = {"model": "m", "messages": [], "stream": draw(st.booleans())}
    if tools:
        body["tools"] = tools
    if draw(st.booleans()):
        body["messages"].append({"role": "system", "content": draw(TEXTS)})
    for _ in range(draw(st.integers(0, 3))):
        body["messages"].append(draw(users(can)))
        if tools and draw(st.booleans()):
            body["messages"] += draw(calling(tools, can, len(body["messages"])))
        if draw(st.booleans()):
            body["messages"].append({"role": "assistant", "content": draw(TEXTS)})
    body["messages"].append(draw(users(can)))
    for feature in draw(st.sets(st.sampled_from(sorted(OPTIONS & can) or ["none"]), max_size=4)) - {"none"}:
        FEATURES[feature](body)
    if tools and (choices := sorted(CHOICES & can)) and draw(st.booleans()):
        body["tool_choice"] = draw(choices_of(choices, tools))
    return body


CHOICES = frozenset({"choice none", "choice required", "choice named"})


@st.composite
def tools_of(draw: st.DrawFn, can: frozenset[str]) -> list[Tree]:
    names = draw(NAMES)
    is_strict = "strict" in can and draw(st.booleans())
    found = []
    for name in names:
        function: Tree = {"name": name, **({"strict": True} if is_strict else {})}
        if draw(st.booleans()):
            function["description"] = draw(TEXTS)
        if is_strict or draw(st.booleans()):
            function["parameters"] = SCHEMA
        found.append({"type": "function", "function": function})
    return found


@st.composite
def users(draw: st.DrawFn, can: frozenset[str]) -> Tree:
    if draw(st.booleans()):
        return {"role": "user", "content": draw(TEXTS)}
    return {"role": "user", "content": draw(parts(can))}


@cache
def parts(can: frozenset[str]) -> st.SearchStrategy[list[Tree]]:
    shown = [IMAGES[name] for name in sorted(IMAGES.keys() & can)]
    texts = TEXTS.map(lambda text: {"type": "text", "text": text})
    return st.lists(texts | st.sampled_from(shown) if shown else texts, min_size=1, max_size=3)


@st.composite
def calling(draw: st.DrawFn, tools: list[Tree], can: frozenset[str], at: int) -> list[Tree]:
    """Parallel calls, and their results in any order."""
    form = draw(st.sampled_from(["call_{}", "toolu_{}", "{}abcdefgh", "chatcmpl-tool-{}"]))
    names = draw(st.lists(st.sampled_from([tool["function"]["name"] for tool in tools]), min_size=1, max_size=3))
    calls, results = [], []
    for number, name in enumerate(names):
        arguments = json.dumps(draw(OBJECTS), indent=draw(st.sampled_from([None, 1])))
        id = form.format(f"{at}{number}")
        calls.append({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
        content = draw(RESULTS)
        failed = {"is_error": True} if "failed tool" in can and draw(st.booleans()) else {}
        results.append({"role": "tool", "tool_call_id": id, "content": content, **failed})
    said = draw(SAID)
    thought = {"thinking_blocks": [SIGNED]} if "signed thinking" in can and draw(st.booleans()) else {}
    return [{"role": "assistant", "content": said, "tool_calls": calls, **thought}, *draw(st.permutations(results))]


@st.composite
def choices_of(draw: st.DrawFn, choices: list[str], tools: list[Tree]) -> Any:
    match draw(st.sampled_from(choices)):
        case "choice named":
            return {"type": "function", "function": {"name": draw(st.sampled_from(tools))["function"]["name"]}}
        case choice:
            return choice.removeprefix("choice ")


@everybody
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_conversation_arrives_as_it_was_meant(provider: str, data: st.DataObject) -> None:
    body = data.draw(chats(kept(provider)))
    try:
        found, dropped = sent(provider, body)
    except GatewayError as error:
        if error.code != "unsupported_parameter" or error.param not in body:
            raise
        reject()  # Two that a vendor takes one by one only; too many of them fail the test.
    asked = chat(body)
    lost = {name for name in differences(provider, asked, found) if not is_listed(name, dropped)}
    assert not lost, (asked, found)


if __name__ == "__main__":
    for name in ADAPTERS:
        print(name, {feature: how for feature in FEATURES if (how := outcome(name, feature)) != "kept"})
