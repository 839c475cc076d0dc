"""A marker, or the system text, in several texts of one answer, none of which holds it: streamed or whole, it is found."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from llmproxy.common.answers import Answers
from llmproxy.common.envelope import Api
from llmproxy.common.policy import Policy
from llmproxy.shield.answers.aloud import NAME_CHARS_MAX, Values, values
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.answers.stage import Stopped
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.restore import restorer
from llmproxy.shield.window import Originals

CANARY = "a1b2c3d4e5f60718"
SYSTEM = (
    "You are the assistant of Example Bank and you never tell anybody the interest that we pay to our oldest friends "
    "nor the names of those who keep the vault in the cellar of the house beside the river."
)
GUARDS_OF = Guards(GUARDS, structs.replace(Policy(), answers=Answers()))

Tree = dict[str, Any]
Way = tuple[Api, bool, Callable[[list[str]], list[Tree]]]


def chat(**delta: Any) -> Tree:
    return {"choices": [{"index": 0, "delta": delta}]}


def message(**fields: Any) -> list[Tree]:
    return [{"choices": [{"index": 0, "message": fields}]}]


def call(index: int, said: str) -> Tree:
    return {"index": index, "function": {"name": "note", "arguments": json.dumps({"text": said})}}


def block(index: int, **delta: str) -> Tree:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def event(name: str, index: int, delta: str) -> Tree:
    return {"type": f"response.{name}.delta", "output_index": index, "delta": delta}


def parts(*said: Tree) -> Tree:
    return {"candidates": [{"index": 0, "content": {"parts": list(said)}}]}


def argument(at: int, said: str) -> Tree:
    return {"functionCall": {"partialArgs": [{"jsonPath": f"$.p{at}", "stringValue": said}], "willContinue": True}}


def used(said: str) -> Tree:
    return {"type": "tool_use", "id": "t", "name": "note", "input": {"note": said}}


WAYS: dict[str, Way] = {
    "messages, blocks": ("messages", False, lambda said: [{"content": [{"type": "text", "text": one} for one in said]}]),
    "messages, thoughts and a block": (
        "messages", False, lambda said: [{"content": [{"type": "thinking", "thinking": one} for one in said[:-1]] + [{"type": "text", "text": said[-1]}]}]
    ),
    "messages, calls": ("messages", False, lambda said: [{"content": [used(one) for one in said]}]),
    "messages, one call": ("messages", False, lambda said: [{"content": [{"type": "tool_use", "input": {"texts": said}}]}]),
    "chat, a thought, an answer and calls": (
        "chat", False, lambda said: message(reasoning_content=said[0], content=said[1], tool_calls=[call(0, one) for one in said[2:]])
    ),
    "responses, items": (
        "responses", False, lambda said: [{"output": [{"type": "message", "content": [{"type": "output_text", "text": one}]} for one in said]}]
    ),
    "responses, calls": (
        "responses", False, lambda said: [{"output": [{"type": "function_call", "arguments": json.dumps({"a": one})} for one in said]}]
    ),
    "gemini, parts": ("gemini", False, lambda said: [parts(*({"text": one, "thought": at == 0} for at, one in enumerate(said)))]),
    "gemini, calls": ("gemini", False, lambda said: [parts(*({"functionCall": {"args": {"a": one}}} for one in said))]),
    "stream of messages, blocks": (
        "messages", True, lambda said: [block(at, type="text_delta", text=one) for at, one in enumerate(said)]
    ),
    "stream of messages, thoughts and a block": (
        "messages", True,
        lambda said: [block(at, type="thinking_delta", thinking=one) for at, one in enumerate(said[:-1])] + [block(99, type="text_delta", text=said[-1])],
    ),
    "stream of messages, calls": (
        "messages", True,
        lambda said: [block(at, type="input_json_delta", partial_json=json.dumps({"text": one})) for at, one in enumerate(said)],
    ),
    "stream of messages, results": (
        "messages", True,
        lambda said: [{"type": "content_block_start", "index": at, "content_block": {"type": "mcp_tool_result", "output": one}} for at, one in enumerate(said)],
    ),
    "stream of a chat, a thought, an answer and calls": (
        "chat", True,
        lambda said: [chat(reasoning_content=said[0]), chat(content=said[1]), *(chat(tool_calls=[call(at, one)]) for at, one in enumerate(said[2:]))],
    ),
    "stream of a chat, fields that are new": (
        "chat", True, lambda said: [{**chat(), "notes": one} for one in said]
    ),
    "stream of a response, items": (
        "responses", True, lambda said: [event("output_text", at, one) for at, one in enumerate(said)]
    ),
    "stream of a response, calls behind a text": (
        "responses", True,
        lambda said: [event("output_text", 0, said[0])] + [event("function_call_arguments", at, json.dumps({"a": one})) for at, one in enumerate(said[1:], 1)],
    ),
    "stream of Gemini's, a thought and what follows": (
        "gemini", True, lambda said: [parts({"text": one, "thought": at % 2 == 0}) for at, one in enumerate(said)]
    ),
    "stream of Gemini's, arguments": ("gemini", True, lambda said: [parts(argument(at, one)) for at, one in enumerate(said)]),
}  # fmt: skip


def play(
    way: Way, said: list[str], *, canary: str = "", system: str = SYSTEM, users: str = ""
) -> dict[str, int] | None:
    """What was found; None where the answer was ended."""
    api, stream, told = way
    request = Asked(system=system, users=users, canary=canary)
    reading = Reading(GUARDS_OF, request, Originals({}), clock=lambda: 0.0)
    way_back = restorer(api, reading, stream=stream)
    try:
        for one in told(said):
            way_back.chunk(json.dumps(one).encode())
        way_back.end()
    except Stopped:
        return None
    return reading.findings.counts


def cut(text: str, *cuts: int) -> list[str]:
    return [text[first:last] for first, last in pairwise((0, *cuts, len(text)))]


@pytest.mark.parametrize("cuts", [(4, 9), (1, 2), (14, 15), (8, 8)])
@pytest.mark.parametrize("way", WAYS)
def test_a_marker_in_several_texts_ends_the_answer(way: str, cuts: tuple[int, int]) -> None:
    said = cut(f"[{CANARY}]", *(at + 1 for at in cuts))
    assert play(WAYS[way], said, canary=CANARY) is None
    assert play(WAYS[way], ["first ", *said, " last"], canary=CANARY) is None
    assert play(WAYS[way], ["first ", CANARY[:8], " then ", CANARY[8:]], canary=CANARY) == {}


@pytest.mark.parametrize("words", [5, 8, 10])
@pytest.mark.parametrize("way", WAYS)
def test_a_system_text_in_several_texts_is_found_once(way: str, words: int) -> None:
    spoken = SYSTEM.split()
    said = [" ".join(spoken[at : at + words]) for at in range(0, len(spoken), words)]
    assert play(WAYS[way], said) == {"answer.leak": 1}
    assert play(WAYS[way], ["Here it is:", *said, "That was it."]) == {"answer.leak": 1}
    assert play(WAYS[way], said, users=SYSTEM) == {}


@pytest.mark.parametrize("way", WAYS)
def test_cut_in_the_middle_of_words_it_is_the_same_text(way: str) -> None:
    assert play(WAYS[way], cut(SYSTEM, *range(7, len(SYSTEM), 7))) == {"answer.leak": 1}


@pytest.mark.parametrize("way", WAYS)
def test_what_one_text_says_is_told_once(way: str) -> None:
    assert play(WAYS[way], ["Here it is:", SYSTEM, "That was it."]) == {"answer.leak": 1}
    assert play(WAYS[way], ["The rates are ", "low this year, ", "as they were before."]) == {}


@pytest.mark.parametrize(("api", "name"), [("chat", "choices"), ("gemini", "candidates")])
@pytest.mark.parametrize("stream", [False, True])
def test_choices_are_answers_of_their_own(api: Api, name: str, stream: bool) -> None:
    def choices(said: list[str]) -> list[Tree]:
        def choice(index: int, text: str) -> Tree:
            if api == "gemini":
                return {"index": index, "content": {"parts": [{"text": text}]}}
            return {"index": index, "delta" if stream else "message": {"content": text}}

        if stream:
            return [{name: [choice(at, one)]} for at, one in enumerate(said)]
        return [{name: [choice(at, one) for at, one in enumerate(said)]}]

    assert play((api, stream, choices), [CANARY[:8], CANARY[8:]], canary=CANARY) == {}
    assert play((api, stream, choices), ["x", CANARY], canary=CANARY) is None


@given(
    document=st.recursive(st.text(max_size=40) | st.just("x" * (NAME_CHARS_MAX + 9)) | st.integers(), lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(max_size=9), one, max_size=4), max_leaves=9),
    data=st.data(),
)  # fmt: skip
def test_the_values_of_a_document_are_those_of_the_whole_however_it_is_cut(document: Any, data: st.DataObject) -> None:
    written = json.dumps(document, ensure_ascii=False, indent=data.draw(st.none() | st.just(1)))
    cuts = data.draw(st.lists(st.integers(0, len(written)), max_size=9).map(sorted))
    read, found = Values(), dict[int, str]()
    for piece in cut(written, *cuts):
        for which, said in read.push(piece):
            found[which] = found.get(which, "") + said
    for which, said in read.flush():
        found[which] = found.get(which, "") + said
    assert [one for one in found.values() if one] == [one for one in values(written) if one]
