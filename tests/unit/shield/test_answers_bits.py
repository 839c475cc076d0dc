"""One native look at a text of an answer settles nearly all prose: what has none of the bits is clear to every stage."""

import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from llmproxy.common.answers import Answers, Links
from llmproxy.common.policy import Injection, Policy
from llmproxy.shield import look
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.noise import BLOCK_CHARS
from llmproxy.shield.guards import GUARDS

PIECES = [
    "The weather is fine today. ", "in 1985", "born on 12 March 1990", "ada@example.org", "-----BEGIN ", "--", "---", "-", ":", "[", "](", "]:", "<", "<b", "=", "href",
    "\\", "\\u200b", "://", "https://x.test/?q=1", "\u200b", "é", "4111 1111 1111 1111", "my password is ", "hunter2X!", "x" * 255, "x" * 256, "aB3" * 90, "'", '"', "`", "\n", " ",
    "&#x61;", "javascript:", "{", "}", "\x1b", "```mermaid\n", "//x.test/p", "word " * 400,
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=8).map("".join)
SETTINGS = [
    Answers(),
    Answers(links=Links(images="block", others="block"), entropy="block", repetition="block", invisible="block"),
    Answers(kinds={"secret": "allow"}),
]
EVERY = [Guards(GUARDS, structs.replace(Policy(), answers=answers)) for answers in SETTINGS]


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.sampled_from(EVERY), st.booleans())
def test_a_text_without_the_bits_is_clear_to_every_stage(text: str, guards: Guards, in_json: bool) -> None:
    if len(text) < BLOCK_CHARS and not look.at(text) & guards._concerns:
        assert all(is_clear(text) for is_clear in (guards._clear_documents if in_json else guards._clear_texts))


def test_random_characters_without_the_bits_are_clear_to_every_stage() -> None:
    chance = random.Random(3)
    letters = string.ascii_letters * 3 + string.printable + " " * 60
    clear = 0
    for _ in range(4_000):
        text = "".join(chance.choices(letters, k=chance.randint(1, 60)))
        if not look.at(text) & EVERY[0]._concerns:
            clear += 1
            assert all(is_clear(text) for is_clear in (*EVERY[0]._clear_texts, *EVERY[0]._clear_documents)), text
    assert clear > 400


@pytest.mark.parametrize(
    "answers",
    [
        Answers(kinds={"email": "redact"}),
        Answers(injection="flag"),
        Answers(kinds={"secret": "flag", "phone": "block"}),
    ],
)
def test_where_more_is_looked_for_than_bits_tell_nothing_is_settled_by_them(answers: Answers) -> None:
    assert not Guards(GUARDS, Policy(answers=answers, injection=Injection()))._concerns


def test_ordinary_prose_has_none_of_them() -> None:
    assert not look.at('Yes: "the second plan" (of 2024) is cheaper; it isn\'t slower, and needs 3 people.') & (
        EVERY[0]._concerns & ~look.Look.YEAR
    )
