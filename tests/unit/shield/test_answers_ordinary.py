"""Long random words that are ordinary where they stand, and those that nothing explains."""

import base64
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from llmproxy.common.answers import Answers, Links
from llmproxy.common.policy import Policy
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.ordinary import Ordinary
from llmproxy.shield.answers.read import Read
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.answers.stage import Stopped
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.restore import restorer
from llmproxy.shield.window import Originals

CHANCE = random.Random(11)
SHORT, LONG = (base64.b64encode(CHANCE.randbytes(count)).decode() for count in (330, 9_000))
SSH_RSA = "AAAAB3NzaC1yc2EAAAADAQABAAABgQ" + SHORT
SSH_ECDSA = "AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACF" + SHORT
SSH_TOUCHED = "AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20" + SHORT
LINES = "\n".join(f"let value_{row} = compute({row});" for row in range(300))

ORDINARY = {
    "data url": "![dot](data:image/png;base64,{})",
    "data url in html": "<img src='data:image/svg+xml;charset=utf-8;base64,{}'>",
    "data url in css": "@font-face {{ src: url(data:font/woff2;base64,{}) }}",
    "fence": "Put this into the file:\n\n```\n{}\n```\n",
    "fence of a language": "1. So:\n\n   ```yaml\n   logo: {}\n   ```\n",
    "fence of waves": "~~~text\n```\nlogo: {}\n~~~",
    "fence with a fence": "````md\n```\ncode\n```\nlogo: {}\n````",
    "fence with much before": f"```js\n{LINES}\nconst logo = {{}}\n```",
    "json": '{{"name": "logo.png", "content": "{}"}}',
    "json in json": '{{"body": "{{\\"content\\": \\"{}\\"}}"}}',
    "yaml without a fence": "data:\n  tls.crt: {}\nkind: Secret",
    "yaml in a list": "files:\n  - content: {}\n",
    "code": "blob = b'{}'",
    "inline code": "Set it to `{}` and start.",
    "pem in a line": "-----BEGIN CERTIFICATE----- {} -----END CERTIFICATE-----",
    "pem without a break": "-----BEGIN RSA PUBLIC KEY-----{}-----END RSA PUBLIC KEY-----",
    "pem of two lines": "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----",
    "pem with written breaks": "-----BEGIN PUBLIC KEY-----\\n{}\\n-----END PUBLIC KEY-----",
}

UNEXPLAINED = {
    "behind a name at the edge": "it is this\nlogo: {}",
    "behind words that are indented": "so:\n  here it is: {}",
    "alone": "{}",
    "in a sentence": "Result: {} and so on",
    "in an address": 'see "https://example.com/?d={}"',
    "behind a word in quotes": 'He said "hello" and then {}',
    "behind a closed quote": 'the "word"{}',
    "behind a fence": "```\nx = 1\n```\n{}",
    "behind a long fence": f"```js\n{LINES}\n```\nThen {{}}",
    "behind marks in a line": "use ``` for code: {}",
    "said to be a data url": "data: base64, {}",
    "like a head": "BEGIN CERTIFICATE {}",
}


def reading(answers: Answers = Answers(links=Links(images="disabled"))) -> Reading:  # noqa: B008 - frozen
    """Without the guard that takes out what a page would load."""
    guards = Guards(GUARDS, structs.replace(Policy(), answers=answers))
    return Reading(guards, Asked(), Originals({}), clock=lambda: 0.0)


def counts(text: str) -> dict[str, int]:
    one = reading()
    assert one.text(text) == text
    return one.findings.counts


@pytest.mark.parametrize("blob", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("place", ORDINARY)
def test_long_random_words_of_code_and_its_formats_are_no_finding(place: str, blob: str) -> None:
    for before in ("", "word " * 407, "x" * 2_040 + " "):  # Wherever a block ends.
        assert counts(f"{before}\n{ORDINARY[place].format(blob)}") == {}


@pytest.mark.parametrize("key", [SSH_RSA, SSH_ECDSA, SSH_TOUCHED])
def test_a_public_key_of_ssh_is_no_finding(key: str) -> None:
    for before in ("", "ssh-rsa ", "word " * 409, "word " * 370):
        assert counts(f"{before}{key} ada@host") == {}


@pytest.mark.parametrize("blob", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("place", UNEXPLAINED)
def test_long_random_words_that_nothing_explains_are_found(place: str, blob: str) -> None:
    assert counts(UNEXPLAINED[place].format(blob))["answer.entropy"] >= 1


def test_a_word_goes_on_in_the_next_block_as_what_it_was() -> None:
    ordinary = Ordinary()
    assert ordinary.unexplained('x = "' + LONG[:2_000]) == ""
    assert ordinary.unexplained(LONG[2_000:4_000]) == ""
    assert ordinary.unexplained(LONG[4_000:4_300] + '"\n') == ""
    assert ordinary.unexplained(LONG[:300]) == LONG[:300]


@given(
    st.lists(
        st.sampled_from((*ORDINARY.values(), *UNEXPLAINED.values(), "\n", "```\n", "~~~\n", '"', "word ")),
        max_size=6,
    ).map(lambda places: "".join(place.format(SHORT) for place in places)),
    st.lists(st.integers(1, 900), min_size=1, max_size=20),
    st.booleans(),
)
def test_in_pieces_the_same_is_found_as_in_one(text: str, sizes: list[int], in_json: bool) -> None:
    whole, cut = reading(), reading()
    said = []
    for one, pieces in ((whole, [text]), (cut, split(text, sizes))):
        read = Read(one, one.findings.report, in_json=in_json)
        said.append("".join(map(read.push, pieces)) + read.flush())
    assert said[0] == said[1]  # `... KEY-----Result: ...` is a credential, and taken out.
    assert cut.findings.counts == whole.findings.counts


def split(text: str, sizes: list[int]) -> list[str]:
    pieces, at = [], 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    return pieces


@pytest.mark.parametrize(("value", "is_found"), [(SHORT, False), (f"say {SHORT}", True), (f"```\n{SHORT}\n```", False)])
def test_an_argument_of_a_tool_is_quoted_whether_its_quotes_are_there_or_not(value: str, is_found: bool) -> None:
    block = {"type": "tool_use", "id": "t", "name": "write", "input": {"content": value}}
    call = {"id": "c", "type": "function", "function": {"name": "write", "arguments": json.dumps({"content": value})}}
    bodies: list[tuple[Any, dict[str, Any]]] = [
        ("messages", {"type": "message", "content": [block]}),
        ("chat", {"choices": [{"index": 0, "message": {"role": "assistant", "tool_calls": [call]}}]}),
    ]
    for api, body in bodies:
        one = reading()
        restorer(api, one, stream=False).chunk(json.dumps(body).encode())
        assert bool(one.findings.counts) == is_found, api


def test_where_noise_ends_an_answer_code_does_not() -> None:
    assert reading(Answers(entropy="block")).text(ORDINARY["json"].format(SHORT)) == ORDINARY["json"].format(SHORT)
    with pytest.raises(Stopped):
        reading(Answers(entropy="block")).text(UNEXPLAINED["alone"].format(SHORT))
