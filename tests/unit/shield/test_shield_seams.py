"""A value that several parts of a message hold together is masked as one is that stands in one of them (docs/adr/0041)."""

import json
import random
from collections.abc import Callable
from itertools import accumulate, pairwise
from string import ascii_letters, digits
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.explanations import Explanation
from llmproxy.common.policy import Injection, Policy
from llmproxy.common.segments import Segment
from llmproxy.common.testing import FakeClock
from llmproxy.shield import preflight
from llmproxy.shield.examine import Examined, Order, Refused, examine, examine_within
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.guards.base import Sighted
from llmproxy.shield.inspection import Inspection
from llmproxy.shield.kinds import KINDS
from llmproxy.shield.look import ALL as EVERY_BIT
from llmproxy.shield.offload import INLINE_WORK_MAX
from llmproxy.shield.seams import EDGE_CHARS, GAP, Whole
from llmproxy.shield.vault import unmask
from llmproxy.shield.verdict import ALLOW, Verdict

RING = preflight.pipeline(GUARDS)
FLAGGING = Injection(mode="flag")  # Nothing here is an attack; what a machine drew may look like one.
CARD, MAIL, PHONE = "4111 1111 1111 1111", "ada@example.org", "+44 20 7946 0958"
KEY = "ghp_Zx8Qw3Lm9Rt2Vb6Nk1Yc5Hd7Jf4Gs0PaQr2T"
LONG_KEY = "sk-ant-api03-" + "aB3dE5gH7jK9mN1pQ4sT6vW8yZ0" * 3
LETTERS = random.Random(1).choices(ascii_letters + digits, k=1_280)
PEM = "\n".join(
    (
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        *("".join(LETTERS[at : at + 64]) for at in range(0, len(LETTERS), 64)),
        "-----END RSA " + "PRIVATE KEY-----",
    )
)
EVERYTHING = dict.fromkeys(("swift_bic", "license_plate", "au_abn"), "mask")
"""What the shipped policy lets pass is found, too."""

Body = dict[str, Any]


def asked(body: Body, ring: Any = RING, key: bytes = b"k" * 32, **policy: Any) -> Examined | Refused:
    wanted = Policy(**{"injection": FLAGGING, **policy})
    order = Order(body=json.dumps(body).encode(), policy=wanted, key=key, max_depth=64)
    return examine(order, ring, FakeClock())


def chat(*texts: str, role: str = "user") -> Body:
    return {"messages": [{"role": role, "content": [{"type": "text", "text": text} for text in texts]}]}


def examined(*texts: str, **options: Any) -> Examined:
    found = asked(chat(*texts), **options)
    assert isinstance(found, Examined)
    return found


def sent(*texts: str, **options: Any) -> list[str]:
    """What a provider gets of the parts."""
    found = examined(*texts, **options)
    if found.masked is None:
        return list(texts)
    return [part["text"] for part in json.loads(found.masked)["messages"][0]["content"]]


def why(*texts: str, **options: Any) -> tuple[Explanation, ...]:
    found = examined(*texts, **options).explained
    return () if found is None else found.findings


def placeholder(value: str, **options: Any) -> str:
    """Of a value that stands in one part."""
    (text,) = sent(value, **options)
    assert text.startswith("[")
    return text


def cut(text: str, places: list[int]) -> list[str]:
    return [text[at:end] for at, end in zip([0, *places], [*places, len(text)], strict=True)]


# -- what is masked


def test_the_first_part_gets_the_placeholder_of_the_value_and_the_other_parts_lose_their_pieces() -> None:
    assert sent("my card is 4111 1111", " 1111 1111, please") == [f"my card is {placeholder(CARD)}", ", please"]


def test_over_more_than_two_parts_too() -> None:
    assert sent("my card is 4111", " 1111", " 1111 1111, please") == [
        f"my card is {placeholder(CARD)}",
        GAP,
        ", please",
    ]


def test_a_part_that_nothing_would_be_left_of_is_not_empty_because_a_provider_would_refuse_it() -> None:
    assert sent("key ghp_Zx8Qw3Lm9Rt2", "Vb6Nk1Yc5Hd7Jf4Gs0PaQr2T ") == [f"key {placeholder(KEY)}", f"{GAP} "]


def test_what_ends_and_what_begins_in_one_part_are_two_values() -> None:
    assert sent("4111 1111", " 1111 1111 and ghp_Zx8Qw3Lm9Rt2", "Vb6Nk1Yc5Hd7Jf4Gs0PaQr2T.") == [
        placeholder(CARD),
        f" and {placeholder(KEY)}",
        ".",
    ]


def test_what_stands_in_a_part_by_itself_is_masked_beside_it() -> None:
    assert sent(f"{MAIL}, 4111 1111", f" 1111 1111, {MAIL}") == [
        f"{placeholder(MAIL)}, {placeholder(CARD)}",
        f", {placeholder(MAIL)}",
    ]


def test_escapes_in_the_json_move_nothing() -> None:
    assert sent('"\n\u00e9\U0001f600 4111 1111', ' 1111 1111 "\t\u00e9') == [
        f'"\n\u00e9\U0001f600 {placeholder(CARD)}',
        ' "\t\u00e9',
    ]


def test_a_value_whose_name_is_the_end_of_the_part_before_it() -> None:
    (alone,) = sent("the password is Tr0ub4dor&3x, by the way")
    assert sent("the password is ", "Tr0ub4dor&3x, by the way") == cut(alone, [len("the password is ")])


def test_odd_digits_and_invisible_signs_hide_nothing() -> None:
    assert CARD not in "".join(sent("４１１１ １１１１", "\u200b 1111 1111"))
    assert sent("４１１１ １１１１", "\u200b 1111 1111, please")[1] == ", please"


def test_a_value_in_base64_is_taken_out_with_its_run() -> None:
    assert sent("YWRhQGV4YW1wbGUub3JnIGlz", "IG15IGFkZHJlc3M and more")[1] == " and more"


def test_a_private_key_is_masked_to_its_end_wherever_it_is_cut() -> None:
    (whole,) = sent(PEM)
    for at in (3, 20, 40, 400, len(PEM) // 2, len(PEM) - 40, len(PEM) - 3):
        assert sent(f"so: {PEM[:at]}", f"{PEM[at:]} as I said") == [f"so: {whole}", " as I said"], at


def test_a_private_key_without_an_end_does_not_take_the_next_part_with_it() -> None:
    assert sent(PEM[:300], "Is this key any good?")[1] == "Is this key any good?"


def part(text: str, kind: str = "text") -> Body:
    return {"type": kind, "text": text}


PICTURE = {"type": "image_url", "image_url": {"url": "https://x.test/a"}}
PLACES: dict[str, Callable[[str, str], Body]] = {
    **{f"chat {role}": lambda a, b, role=role: chat(a, b, role=role) for role in ("user", "system", "assistant", "tool")},
    "chat, around a picture": lambda a, b: {"messages": [{"role": "user", "content": [part(a), PICTURE, part(b)]}]},
    "chat, strings": lambda a, b: {"messages": [{"role": "user", "content": [a, b]}]},
    "chat prediction": lambda a, b: {"prediction": {"type": "content", "content": [part(a), part(b)]}, "messages": []},
    "messages system": lambda a, b: {"system": [part(a), part(b)], "messages": [{"role": "user", "content": "x"}]},
    "messages tool result": lambda a, b: {
        "messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [part(a), part(b)]}]}]
    },
    "messages document": lambda a, b: {
        "messages": [
            {"role": "user", "content": [{"type": "document", "source": {"type": "content", "content": [part(a), part(b)]}}]}
        ]
    },
    "messages search result": lambda a, b: {
        "messages": [{"role": "user", "content": [{"type": "search_result", "source": "s", "title": "t", "content": [part(a), part(b)]}]}]
    },
    "responses message": lambda a, b: {"input": [{"role": "user", "content": [part(a, "input_text"), part(b, "input_text")]}]},
    "responses answer": lambda a, b: {"input": [{"type": "message", "role": "assistant", "content": [part(a, "output_text"), part(b, "output_text")]}]},
    "responses output": lambda a, b: {
        "input": [{"type": "function_call_output", "call_id": "c", "output": [part(a, "input_text"), part(b, "input_text")]}]
    },
    "gemini user": lambda a, b: {"contents": [{"role": "user", "parts": [{"text": a}, {"text": b}]}]},
    "gemini result": lambda a, b: {
        "contents": [{"parts": [{"functionResponse": {"name": "f", "response": {"content": [part(a), PICTURE, part(b)]}}}]}]
    },
    "gemini results in a result": lambda a, b: {
        "contents": [{"parts": [{"text": "so"}, {"function_response": {"name": "f", "response": {"result": [{"parts": [{"text": a}, {"text": b}]}]}}}]}]
    },
    "gemini model": lambda a, b: {"contents": [{"role": "model", "parts": [{"text": a}, {"text": "hm", "thought": True}, {"text": b}]}]},
    "gemini systemInstruction": lambda a, b: {"systemInstruction": {"parts": [{"text": a}, {"text": b}]}, "contents": []},
    "gemini system_instruction": lambda a, b: {"system_instruction": {"parts": [{"text": a}, {"text": b}]}, "contents": []},
    "moderations": lambda a, b: {"input": [part(a), PICTURE, part(b)]},
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_it_is_masked_in_every_dialect_and_place_that_has_parts(place: str) -> None:
    build = PLACES[place]
    for value, at in ((CARD, 9), (KEY, 20), (MAIL, 7)):
        found = asked(build(f"it is {value[:at]}", f"{value[at:]}, as you know"))
        assert isinstance(found, Examined)
        assert found.masked is not None
        assert json.loads(found.masked) == build(f"it is {placeholder(value)}", ", as you know")
        assert found.originals == {placeholder(value): value}
        assert sum(found.findings.values()) == 1


# -- what the policy says


def test_what_is_done_is_what_is_done_elsewhere() -> None:
    texts = ("my card is 4111 1111", " 1111 1111, please")
    (hashed,) = sent(CARD, kinds={"credit_card": "hash"})
    assert sent(*texts, kinds={"credit_card": "hash"}) == [f"my card is {hashed}", ", please"]
    assert sent(*texts, kinds={"credit_card": "redact"}) == ["my card is [CREDIT_CARD_REDACTED]", ", please"]
    assert not examined(*texts, kinds={"credit_card": "redact"}).originals
    for does in ("flag", "alert"):
        assert sent(*texts, kinds={"credit_card": does}) == list(texts)
        assert examined(*texts, kinds={"credit_card": does}).findings == {"credit_card": 1}
    assert examined(*texts, kinds={"credit_card": "allow"}).explained is None


def test_what_blocks_is_refused_at_the_message_that_has_the_parts() -> None:
    refused = asked(chat("my card is 4111 1111", " 1111 1111"), kinds={"credit_card": "block"})
    assert isinstance(refused, Refused)
    assert (refused.code, refused.param) == ("content_blocked", "messages[0].content")
    assert refused.findings == {"credit_card": 1}
    assert "1111" not in refused.message


def test_a_tenants_placeholder_is_its_own() -> None:
    other = placeholder(CARD, key=b"o" * 32)
    assert other != placeholder(CARD)
    assert sent("4111 1111", " 1111 1111 x", key=b"o" * 32) == [other, " x"]


@pytest.mark.parametrize("does", ["mask", "redact", "hash", "flag", "alert"])
def test_the_record_says_it_once_with_its_place_in_what_the_parts_say_together(does: str) -> None:
    (one,) = why("my card is 4111 1111", " 1111 1111, please", kinds={"credit_card": does})
    assert one == Explanation(
        guard="pii", kind="credit_card", action=does, path="messages[0].content", start=11, end=30, via=("parts",)
    )


def test_what_was_found_in_a_part_and_goes_on_is_one_finding() -> None:
    """The first 60 characters of the key are a key themselves."""
    assert sent(f"use {LONG_KEY[:60]}", f"{LONG_KEY[60:]} now") == [f"use {placeholder(LONG_KEY)}", " now"]
    (one,) = why(f"use {LONG_KEY[:60]}", f"{LONG_KEY[60:]} now")
    assert (one.kind, one.start, one.end) == ("secret.anthropic", 4, 4 + len(LONG_KEY))


def test_whose_text_it_is_is_recorded() -> None:
    found = asked(chat("4111 1111", " 1111 1111", role="tool")).explained
    assert found is not None
    assert [one.role for one in found.findings] == ["tool"]


# -- what is not


ALONE: dict[str, tuple[str, ...]] = {
    "a line ends": (PHONE[:8] + "\n", PHONE[8:]),
    "a line begins": (PHONE[:8], "\n" + PHONE[8:]),
    "columns of numbers": ("12\n", "4155\n", "2671\n"),
    "cells without a checksum": ("4111", "1111", "1111", "1112"),
    "a name and the next line": ("What is the password?\n", "Tr0ub4dor&3x looks like one"),
    "a name and a sentence": ("The password is wrong.", "Please help"),
}


@pytest.mark.parametrize("name", ALONE)
def test_what_is_none_in_one_text_either_is_none(name: str) -> None:
    texts = ALONE[name]
    assert sent(*texts) == list(texts)


def test_what_is_whole_in_a_part_does_not_grow_with_the_next_word_or_number() -> None:
    for value in (CARD, MAIL, PHONE, KEY, LONG_KEY):
        for text in ("Please explain", "2 apples", "1. The first", "and so on", "iPhone", "OTHER_KEY"):
            assert sent(f"it is {value}", text) == [f"it is {placeholder(value)}", text], (value, text)


def test_a_word_before_a_whole_value_is_no_part_of_it() -> None:
    assert sent("Write to Ada", "bob@example.org today") == ["Write to Ada", f"{placeholder('bob@example.org')} today"]


def test_two_whole_values_are_not_one() -> None:
    key = "api_key=9f8e7d6c5b4a3928170615243342516f"
    assert sent(key, f"other_{key}") == [*sent(key), *sent(f"other_{key}")]


def test_messages_and_inputs_are_texts_of_their_own() -> None:
    for body in (
        {"messages": [{"role": "user", "content": "4111 1111"}, {"role": "user", "content": " 1111 1111"}]},
        {"messages": [{"role": "user", "content": [part("4111 1111")]}, {"role": "user", "content": [part(" 1111 1111")]}]},
        {"input": ["4111 1111", " 1111 1111"]},
        {"query": "x", "documents": [{"text": "4111 1111"}, {"text": " 1111 1111"}]},
        {"contents": [{"parts": [{"text": "4111 1111"}]}, {"parts": [{"text": " 1111 1111"}]}]},
        {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {"content": ["4111 1111", " 1111 1111"]}}}]}]},
        {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {"a": "4111 1111", "b": " 1111 1111"}}}]}]},
        {"contents": [{"parts": [{"text": "4111 1111", "thought": True}, {"text": " 1111 1111"}]}]},
    ):  # fmt: skip
        found = asked(body)
        assert isinstance(found, Examined)
        assert found.masked is None


# -- the laws

EXAMPLES = (
    *(kind.example for kind in KINDS),
    KEY,
    LONG_KEY,
    "AKIA" + "IOSFODNN7EXAMPLE",
    "password: Tr0ub4dor&3x",
    "api_key=9f8e7d6c5b4a3928170615243342516f",
    "postgres://ada:hunter2x@db.example:5432/app",
    "https://hooks.slack.com/services/T0000AAAA/B0000BBBB/abcDEF123ghiJKL456mnoPQR",
    "YWRhQGV4YW1wbGUub3JnIGlzIG15IGFkZHJlc3M=",
    "ada%40example.org",
    "jane [at] example [dot] com",
    "recovery phrase: legal winner thank year wave sausage worth useful legal winner thank yellow",
    PEM,
)
AROUND = "The weather in Paris will be pleasant tomorrow, with some clouds in the afternoon. " * 5


@st.composite
def split(draw: st.DrawFn) -> tuple[str, str, list[str]]:
    """A text, a value in it, and the parts that the text comes in: the value is cut somewhere, or between all of its characters."""
    example = draw(st.sampled_from(EXAMPLES))
    before, behind = (
        draw(st.sampled_from(("", "I wrote ", AROUND))),
        draw(st.sampled_from(("", ", to you", f", {AROUND}"))),
    )
    text = f"{before}{example}{behind}"
    one = why(text, kinds=EVERYTHING)[0]
    inside = range(one.start + 1, one.end)
    places = draw(st.just(list(inside)) | st.lists(st.sampled_from(inside), min_size=1, max_size=6, unique=True))
    return text, text[one.start : one.end], cut(text, sorted(places))


@given(split())
def test_however_a_value_is_split_it_is_masked_and_comes_back(case: tuple[str, str, list[str]]) -> None:
    text, value, parts = case
    found = examined(*parts, kinds=EVERYTHING)
    said = "".join(part.replace(GAP, "") for part in sent(*parts, kinds=EVERYTHING))
    assert value not in said
    assert unmask(said, found.originals) == text
    assert all(sent(*parts, kinds=EVERYTHING))


CHECKED = [
    kind.example for kind in KINDS if kind.check and kind.name not in ("email", "phone", "ip_address", "cz_rodne_cislo")
]


@pytest.mark.parametrize("example", [*CHECKED, KEY])
def test_of_what_has_one_length_nothing_is_left_wherever_it_is_cut(example: str) -> None:
    (whole,) = sent(f"{example} it is", kinds=EVERYTHING)
    one = why(example, kinds=EVERYTHING)[0]
    for at in range(one.start + 1, one.end):
        assert sent(example[:at], f"{example[at:]} it is", kinds=EVERYTHING) == [whole.removesuffix(" it is"), " it is"]


TELLING = st.sampled_from(
    (*EXAMPLES[:-1], *(value[: len(value) // 2] for value in EXAMPLES), *(value[len(value) // 2 :] for value in EXAMPLES), AROUND, "pass", "word: ", "\n", " ")
)  # fmt: skip
PARTS = st.lists(st.lists(TELLING | st.text(max_size=9), max_size=3).map("".join), max_size=6)


@given(PARTS)
def test_what_the_first_look_spares_would_have_said_nothing(parts: list[str]) -> None:
    """In the loop the words of all texts are known, and most seams are passed over; elsewhere all are looked at."""

    class Blind(Inspection):
        def look_first(self, guard: Any) -> None:
            self.bits = EVERY_BIT

    body = json.dumps(chat(*parts)).encode()
    found = []
    for make in (Inspection, Blind):
        inspection = make(
            body,
            policy=Policy(injection=FLAGGING),
            key=b"k" * 32,
            max_depth=64,
            model="",
            clock=FakeClock(),
            work_max=1 << 40,
        )
        RING.start(inspection)
        found.append((inspection.masked, inspection.counts()))
    assert found[0] == found[1]


@given(st.lists(st.text(alphabet="ab1 \n", min_size=1, max_size=3 * EDGE_CHARS), max_size=9))
def test_every_seam_in_a_line_is_looked_at_and_no_character_twice(texts: list[str]) -> None:
    whole = Whole(("messages", 0, "content"), [part(text) for text in texts], texts)
    windows = list(whole.windows(is_named=True))
    assert all(first < last for first, last in windows)
    assert all(one[1] <= other[0] for one, other in pairwise(windows))
    for at in list(accumulate(map(len, texts)))[:-1]:
        if not {whole.text[at - 1], whole.text[at]} & set("\r\n"):
            first, last = max(0, at - EDGE_CHARS), min(len(whole.text), at + EDGE_CHARS)
            assert any(one <= first and last <= other for one, other in windows)


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["text", "content", "parts", "system", "input", "type", "thought"]), inner, max_size=4)))  # fmt: skip
def test_no_form_of_a_body_is_too_odd(value: Any) -> None:
    for name in ("messages", "input", "contents", "system", "systemInstruction", "prediction"):
        asked({name: value})
        asked({name: [value, value]})


# -- how it fails, and how much it is


class Failing(Sighted):
    """A guard that raises, or is late, at what the parts say together."""

    name = "failing"
    needs = EVERY_BIT

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.clock = clock

    def may_hold(self, text: str) -> bool:
        return False

    def inspect(self, segment: Segment) -> Verdict:
        if self.clock is None:
            raise RuntimeError(segment.text)
        self.clock.advance(3_600)
        return ALLOW


@pytest.mark.parametrize("is_late", [False, True])
def test_a_guard_that_fails_at_what_parts_say_together_refuses_the_request(is_late: bool) -> None:
    clock = FakeClock()
    body = json.dumps(chat("4111 1111", " 1111 1111")).encode()
    order = Order(body=body, policy=Policy(), key=b"k" * 32, max_depth=64)
    refused = examine(order, preflight.pipeline((Failing(clock if is_late else None),)), clock)
    assert isinstance(refused, Refused)
    assert refused.code == "guard_unavailable"
    assert "1111" not in refused.message
    assert refused.explained is not None
    assert [(one.guard, one.path) for one in refused.explained.findings] == [("parts", "messages[0].content")]


def test_where_parts_lie_deeper_than_a_path_can_say_what_would_be_masked_is_refused() -> None:
    content: Any = [part("4111 1111"), part(" 1111 1111")]
    for _ in range(20):
        content = [{"type": "tool_result", "tool_use_id": "t", "content": content}]
    refused = asked({"messages": [{"role": "user", "content": content}]})
    assert isinstance(refused, Refused)
    assert refused.code == "content_blocked"


def test_thousands_of_parts_are_not_for_the_event_loop() -> None:
    body = json.dumps(chat(*["4111 "] * 5_000)).encode()
    order = Order(body=body, policy=Policy(injection=FLAGGING), key=b"k" * 32, max_depth=64)
    assert examine_within(INLINE_WORK_MAX, order, RING, FakeClock()) is None
