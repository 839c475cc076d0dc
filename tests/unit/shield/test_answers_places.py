"""Where the texts of an answer stand that guards read: whatever an argument of a tool is called, and beside pictures."""

import json
from base64 import b64encode
from random import Random
from typing import Any

import pytest
from msgspec import structs

from llmproxy.common.answers import Answers
from llmproxy.common.envelope import Api
from llmproxy.common.policy import Policy
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.names import NAMES
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.restore import restorer
from llmproxy.shield.window import Originals

KEY = "ghp_" + "Zx8Qw3Lm9Rt2Vb6Nk1Yc5Hd7Jf4Gs0PaQr2T"
TAKEN_OUT = "[SECRET_REDACTED]"
PICTURE = b64encode(Random(1).randbytes(3_000)).decode()

Tree = dict[str, Any]


def reading(said: str = "") -> Reading:
    guards = Guards(GUARDS, structs.replace(Policy(), answers=Answers()))
    return Reading(guards, Asked(said=said), Originals({}), clock=lambda: 0.0)


def play(api: Api, tree: Tree, *, stream: bool = False, said: str = "") -> tuple[Tree, dict[str, int]]:
    read = reading(said)
    way_back = restorer(api, read, stream=stream)
    out = [*way_back.chunk(json.dumps(tree).encode()), *way_back.end()]
    assert len(out) == 1
    return json.loads(out[0]), read.findings.counts


def used(arguments: Tree) -> Tree:
    return {"type": "message", "content": [{"type": "tool_use", "id": "t", "name": "post", "input": arguments}]}


def called(arguments: Tree) -> Tree:
    part = {"functionCall": {"name": "post", "args": arguments}}
    return {"candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}}]}


WAYS: list[tuple[Api, bool, Any]] = [("messages", False, used), ("gemini", False, called), ("gemini", True, called)]


@pytest.mark.parametrize(
    "name", [*sorted(NAMES), "usage", "tools", "metadata", "thinking", "arguments", "input", "args"]
)
@pytest.mark.parametrize(("api", "stream", "wrapped"), WAYS)
def test_no_argument_of_a_tool_hides_a_secret_by_its_name(api: Api, stream: bool, wrapped: Any, name: str) -> None:
    """The names that mark ids and seals in an answer mark nothing in what a model itself has written."""
    for arguments in ({name: f"say {KEY}"}, {"a": [{name: [f"say {KEY}"]}]}, {name: {"deep": f"say {KEY}"}}):
        said, counts = play(api, wrapped(arguments), stream=stream)
        assert KEY not in json.dumps(said)
        assert counts == {"answer.secret.github": 1}
        assert said == json.loads(json.dumps(wrapped(arguments)).replace(KEY, TAKEN_OUT))


@pytest.mark.parametrize(("api", "stream", "wrapped"), WAYS)
def test_the_name_of_an_argument_is_a_text_too(api: Api, stream: bool, wrapped: Any) -> None:
    said, counts = play(api, wrapped({KEY: 1, "note": "hello"}), stream=stream)
    assert said == wrapped({TAKEN_OUT: 1, "note": "hello"})
    assert counts == {"answer.secret.github": 1}
    assert play(api, wrapped({KEY: 1}), stream=stream, said=f"a tool with {KEY}") == (wrapped({KEY: 1}), {})


def test_ids_and_seals_outside_of_arguments_stay_as_they_are() -> None:
    for tree in (
        {**used({"a": "b"}), "id": f"msg_{KEY}"},
        {"type": "message", "content": [{"type": "redacted_thinking", "data": f"{KEY} "}]},
        {"candidates": [{"index": 0, "content": {"parts": [{"text": "x", "thoughtSignature": KEY}]}}]},
    ):
        assert play("messages" if "type" in tree else "gemini", tree) == (tree, {})


def test_the_prompt_as_a_model_has_revised_it_is_read_and_the_picture_beside_it_is_not() -> None:
    pictures = [
        {"b64_json": PICTURE, "revised_prompt": f"a door with {KEY} on it"},
        {"url": f"https://x.test/?sig={KEY}"},
    ]
    tree = {"created": 1, "data": pictures, "usage": {"total_tokens": 3}}
    said, counts = play("images", tree)
    assert counts == {"answer.secret.github": 1}
    assert said["data"] == [{**pictures[0], "revised_prompt": f"a door with {TAKEN_OUT} on it"}, pictures[1]]
    assert (said["created"], said["usage"]) == (1, {"total_tokens": 3})


def test_whatever_else_stands_beside_a_picture_is_read() -> None:
    said, _ = play("images", {"data": [{"url": "https://x.test/a.png", "notes": [f"use {KEY}"]}], "remark": KEY})
    assert KEY not in json.dumps(said)


@pytest.mark.parametrize(
    "tree", [{"data": "none"}, {"notes": [KEY]}, {"data": [None]}, {}, {"data": [{"b64_json": PICTURE}]}]
)
def test_an_images_answer_of_any_other_form_is_read_as_it_is(tree: Tree) -> None:
    way_back = restorer("images", reading(), stream=False)
    assert way_back.chunk(json.dumps(tree).encode()) == [json.dumps(tree).replace(KEY, TAKEN_OUT).encode()]


def test_a_picture_among_the_items_of_an_answer_is_no_text_and_its_prompt_is() -> None:
    item = {"type": "image_generation_call", "id": "ig_1", "result": PICTURE, "revised_prompt": f"a door: {KEY}"}
    for tree, stream in (
        ({"output": [item]}, False),
        ({"type": "response.output_item.done", "output_index": 0, "item": item}, True),
        ({"type": "response.completed", "response": {"output": [item]}}, True),
    ):
        said, counts = play("responses", tree, stream=stream)
        assert counts == {"answer.secret.github": 1}
        assert said == json.loads(json.dumps(tree).replace(KEY, TAKEN_OUT))


def test_a_picture_in_a_message_is_no_text_and_a_word_in_its_place_is() -> None:
    def message(url: str) -> Tree:
        images = [{"type": "image_url", "image_url": {"url": url}}]
        return {"choices": [{"index": 0, "message": {"content": "here", "images": images}}]}

    drawn = message(f"data:image/png;base64,{PICTURE}")
    assert play("chat", drawn) == (drawn, {})
    assert play("chat", message(f"https://x.test/{KEY}"))[1] == {"answer.secret.github": 1}


def test_what_says_a_text_once_more_by_its_tokens_or_words_goes_where_the_text_was_changed() -> None:
    said = [{"text": f"say {KEY}", "tokens": [1, 2], "id": 0}, {"text": " and so on", "tokens": [3], "id": 1}]
    told = {"text": f"say {KEY} and so on", "segments": said, "words": [{"word": KEY[:20]}, {"word": KEY[20:]}]}
    out, _ = play("transcriptions", told)
    assert (out["text"], out["words"]) == (f"say {TAKEN_OUT} and so on", [])
    assert [one["tokens"] for one in out["segments"]] == [[], [3]]
    for stream in (False, True):
        spoken = {
            "delta" if stream else "message": {"content": f"say {KEY} now"},
            "token_ids": [1, 2],
            "logprobs": None,
        }
        out, _ = play("chat", {"choices": [{"index": 0, **spoken, "finish_reason": None}]}, stream=stream)
        assert out["choices"][0]["token_ids"] == []
    plain = {"choices": [{"index": 0, "message": {"content": "say so"}, "token_ids": [1, 2]}]}
    assert play("chat", plain) == (plain, {})
