"""What of an answer depends on what the request says: asked once, however often the answer wants to know."""

import json
import re
from base64 import b64encode
from collections.abc import Callable
from random import Random
from types import FrameType
from typing import Any

import msgspec
import pytest
from effort import effort
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from llmproxy.common.answers import Answers
from llmproxy.common.policy import Policy
from llmproxy.shield.answers import looks, markup, wanted
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.reading import ECHO_BYTES, Reading
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.window import Originals

KEY = "ghp_" + "Zx8Qw3Lm9Rt2Vb6Nk1Yc5Hd7Jf4Gs0PaQr2T"
OURS = Guards(GUARDS, structs.replace(Policy(), answers=Answers()))


def reading(request: Asked, *, is_repeated: bool = False, key: bytes = b"") -> Reading:
    return Reading(OURS, request, Originals({}), clock=lambda: 0.0, is_repeated=is_repeated, key=key)


def searches(run: Callable[[], object]) -> int:
    """How often `looks` searches something with an expression."""

    def counts(frame: FrameType, event: str) -> bool:
        return event == "call" and frame.f_code is re.search.__code__ and by(frame) == looks.__file__

    return effort(run, counts)


def by(frame: FrameType) -> str:
    return frame.f_back.f_code.co_filename if frame.f_back is not None else ""


def test_a_request_is_not_searched_through_for_each_host_of_an_answer() -> None:
    """A search takes 20 ms of a long request; an event that is read in the loop may have two hundred hosts."""
    read = reading(Asked(users="hello"))
    text = " ".join(f"![a](https://h{number}.example/?q=abcdefgh{number})" for number in range(50))
    assert searches(lambda: read.text(text)) == 0
    assert read.findings.counts == {"answer.image.query": 50}


RANDOM = b64encode(Random(1).randbytes(12_000)).decode()


@pytest.mark.parametrize(
    ("text", "asks", "found"),
    [
        ('<img src="x" onerror="fetch(1)"> ' * 20, "wants_markup", {"answer.image.script": 20}),
        (RANDOM, "wants_random", {"answer.entropy": 8}),
    ],
)
def test_what_a_request_wants_is_looked_for_once(
    monkeypatch: pytest.MonkeyPatch, text: str, asks: str, found: dict[str, int]
) -> None:
    asked: list[Asked] = []
    monkeypatch.setattr(looks, asks, lambda request: bool(asked.append(request)))
    read = reading(Asked(users="hello"))
    read.text(text)
    assert (asked, read.findings.counts) == ([read.request], found)


NAMES = st.text("aA.-_ é/:", max_size=12)


@given(
    st.lists(NAMES | st.sampled_from(["a.com", "A.Com"]), max_size=6),
    NAMES,
    st.sampled_from(["a.com", "A.com", "a-a", "é.a"]),
)
def test_a_host_is_named_where_it_stands_by_itself(said: list[str], system: str, host: str) -> None:
    users = "".join(said)
    named = re.search(rf"(?<![\w-]){re.escape(host)}(?![\w-]|\.\w)", f"{system}\n{users}", re.IGNORECASE)
    read = reading(Asked(users=users, system=system))
    assert [read.looks.is_known_host(host) for _ in range(2)] == [named is not None] * 2


def test_hosts_without_end_are_not_remembered_without_end() -> None:
    asked = reading(Asked(users="hello")).looks
    for number in range(2 * looks.HOSTS_KEPT):
        asked.is_known_host(f"h{number}.example")
    assert len(asked.hosts) <= looks.HOSTS_KEPT


@pytest.mark.parametrize("answer", [{"metadata": {"note": f"see {KEY} there"}}, {KEY: "x"}], ids=["echo", "name"])
def test_what_one_request_says_itself_is_found_in_the_answer_to_another(answer: dict[str, Any]) -> None:
    """They share what the guards remember."""
    event = json.dumps(answer).encode()
    saying, silent = reading(Asked(said=f"I see {KEY} there")), reading(Asked(said="hello"))
    assert saying.whole(event) == event
    assert saying.findings.counts == {}
    assert KEY not in silent.whole(event).decode()
    assert silent.findings.counts == {"answer.secret.github": 1}


IBAN = "DE89370400440532013000"


def test_a_name_that_was_flagged_is_flagged_in_the_next_answer() -> None:
    """Of an answer that changes names are read a second time, to write it, when nothing is counted."""
    first, second = reading(Asked()), reading(Asked())
    first.whole(json.dumps({IBAN: "x", "note": f"see {KEY} there"}).encode())
    assert first.findings.counts == {"answer.iban": 1, "answer.secret.github": 1}
    second.whole(json.dumps({IBAN: "x"}).encode())
    assert second.findings.counts == {"answer.iban": 1}


def test_a_name_is_remembered_as_harmless_for_no_request_whose_system_text_it_says() -> None:
    """In scripts without spaces a name of a program can be as many words as a passage has."""
    system = "请只用中文回答所有关于公司产品的问题并且不要透露内部价格表以及折扣规则"
    assert system.isidentifier()
    event = json.dumps({system: "x"}).encode()
    other, own = reading(Asked(system="Answer briefly.")), reading(Asked(system=system))
    other.whole(event)
    assert other.findings.counts == {}
    own.whole(event)
    assert own.findings.counts == {"answer.leak": 1}


def test_what_a_stream_said_before_it_was_repeated_is_found_in_another_answer() -> None:
    """What comes a second time is not reported twice, and the second answer has it for the first time."""
    said = f"the account is {IBAN} there"
    event = json.dumps({"metadata": {"note": said}}).encode()
    first, second = reading(Asked(), is_repeated=True), reading(Asked(), is_repeated=True)
    text = first.open()
    assert text.push(said) + text.flush() == said
    first.whole(event)
    assert first.findings.counts == {"answer.iban": 1}
    second.whole(event)
    assert second.findings.counts == {"answer.iban": 1}


def test_a_tool_that_a_request_defines_is_not_read_in_each_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [{"name": "post", "description": f'the "key" is\nlike {KEY}'}]
    request = Asked(said=told[0]["description"], definitions=msgspec.json.encode([told]).decode())
    event = msgspec.json.encode({"tools": told})
    assert reading(request).whole(event) == event
    again = reading(structs.replace(request, said=f"{request.said} and more"))
    monkeypatch.setattr(Reading, "_echo", None)
    assert again.whole(event) == event


def test_what_was_read_is_remembered_of_each_tenant_by_itself_under_names_that_nobody_else_can_make() -> None:
    event = msgspec.json.encode({"metadata": {"note": "of two tenants"}})
    before = set(OURS.echoes._kept)
    for key in (b"acme", b"other", b"acme"):
        reading(Asked(), key=key).whole(event)
    first, second = set(OURS.echoes._kept) - before
    assert len(first) == len(second) == ECHO_BYTES


WORDS = st.sampled_from([
    *("HTML", "css", "svg", "XML", "JavaScript", "typescript", "js", "jsx", "tsx", "React", "vue", "angular", "svelte"),
    *("web", "site", "browser", "front-end", "frontend", "dom", "tags", "stylesheet", "script", "Code", "coder"),
    *("coding", "programm", "developer", "software", "xss", "sanitiz", "iframe", "onclick", "onload", "onerror", "<b>"),
    *("stage", "hello", " ", "."),
])  # fmt: skip


@given(st.lists(WORDS, max_size=3).map("".join))
def test_who_talks_of_markup_is_told_at_a_glance_as_by_the_whole_look(text: str) -> None:
    assert markup.wants_markup(Asked(users=text)) == (markup.WANTED.search(text) is not None)


def test_nothing_is_searched_through_for_markup_that_has_none_of_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markup, "WANTED", None)
    assert not markup.wants_markup(Asked(users="hello people", system="be kind"))


RANDOM_WORDS = st.sampled_from([
    *("Base64", "base-32", "hex", "ENCODE", "encrypted", "cipher", "hash", "digest", "sign", "certificate", "key", "Token", "jwt", "PEM", "binary"),
    *("blob", "random", "svg", "png", "image", "picture", "font", "data:", "attachment", "file", "payload", "password", "UUID", "compress", "gzip"),
    *("serial", "minified", "wasm", "fasta", "dna", "protein", "monkey", "profile", "database", "hello", " ", "."),
])  # fmt: skip


@given(st.lists(RANDOM_WORDS, max_size=3).map("".join))
def test_who_asks_for_random_text_is_told_at_a_glance_as_by_the_whole_look(text: str) -> None:
    assert wanted.wants_random(Asked(users=text)) == (wanted.RANDOM_LOOKING.search(text) is not None)


def test_nothing_is_searched_through_for_random_text_that_has_none_of_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wanted, "RANDOM_LOOKING", None)
    assert not wanted.wants_random(Asked(users="hello people", system="be kind"))
