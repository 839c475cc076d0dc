"""Messages that have a role and a text and nothing else are read in a shorter way, with the same result."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common import segments
from llmproxy.common.errors import GatewayError
from llmproxy.common.segments import plain_turns
from llmproxy.shield.answers.asked import asked
from llmproxy.shield.spread import parted

ROLES = st.sampled_from(["system", "developer", "user", "user", "assistant", "tool", "function", "odd", ""])
WORDS = st.sampled_from(["", "abc", "abcd", "ada@example.com and more", "x" * 300, "4111111111111111"])
PLAIN = st.fixed_dictionaries({"role": ROLES, "content": WORDS})
OTHER = st.sampled_from(
    [
        {"content": "the other way round", "role": "user"},
        {"content": 7, "role": "user"},
        {"role": "user", "content": [{"type": "text", "text": "a part"}, {"type": "text", "text": "another"}]},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "named", "name": "somebody"},
        {"role": 7, "content": "no role"},
        {"role": "user"},
        "text",
        5,
        ["list"],
    ]
)
BESIDE = st.fixed_dictionaries(
    {},
    optional={
        "model": WORDS,
        "temperature": st.just(0.5),
        "seed": st.just(123456789012),
        "stream_options": st.just({"include_usage": True, "why": "because of it"}),
        "metadata": st.just({"deeper": {"deepest": "down here"}}),
        "tools": st.just([{"type": "function", "function": {"name": "look_up", "description": "looks things up"}}]),
        "system": WORDS,
        "stop": st.just(["a stop", "another"]),
        "input": WORDS,
    },
)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    """Bodies whose messages stand anywhere among the other fields."""
    messages = draw(st.lists(PLAIN, max_size=6) | st.lists(PLAIN | OTHER, max_size=6))
    fields = [*draw(BESIDE).items(), ("messages", messages)]
    return dict(draw(st.permutations(fields)))


@given(trees(), st.sampled_from([1, segments.TEXT_CHARS_MIN]))
def test_the_texts_are_the_same_in_the_same_order(tree: dict[str, Any], shortest: int) -> None:
    body = json.dumps(tree).encode()
    turns = plain_turns(tree["messages"])
    assert segments.texts(tree, body, shortest=shortest, turns=turns) == segments.texts(tree, body, shortest=shortest)


@given(trees())
def test_what_an_answer_is_compared_with_is_the_same(tree: dict[str, Any]) -> None:
    assert asked(tree, "said", plain_turns(tree["messages"])) == asked(tree, "said", None)


@given(trees())
def test_what_comes_in_parts_is_joined_as_before(tree: dict[str, Any]) -> None:
    assert parted(tree, plain_turns(tree["messages"])) == parted(tree)


@given(st.lists(PLAIN | OTHER, max_size=4) | st.none() | WORDS)
def test_only_messages_of_a_role_and_a_text_are_plain(messages: Any) -> None:
    is_plain = isinstance(messages, list) and all(
        isinstance(one, dict)
        and one.keys() == {"role", "content"}
        and all(isinstance(value, str) for value in one.values())
        for one in messages
    )
    assert (plain_turns(messages) is not None) == (is_plain and messages != [])


@pytest.mark.parametrize("depth", [1, 2])
def test_plain_turns_are_as_deep_as_any_others(depth: int) -> None:
    tree = {"messages": [{"role": "user", "content": "hello there"}]}
    body = json.dumps(tree).encode()
    assert segments.texts(tree, body, 3, turns=plain_turns(tree["messages"])) == ["hello there"]
    with pytest.raises(GatewayError, match="deep"):
        segments.texts(tree, body, depth, turns=plain_turns(tree["messages"]))


def test_a_key_that_is_there_twice_in_a_plain_turn_is_refused() -> None:
    body = b'{"messages":[{"role":"user","content":"one","content":"two"}]}'
    tree = segments.decode(body)
    with pytest.raises(GatewayError, match="content"):
        segments.texts(tree, body, turns=plain_turns(tree["messages"]))
