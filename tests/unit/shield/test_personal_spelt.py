"""Addresses whose signs are spelt out, and cards in groups with other signs between them: found, and not taken for what they are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.answers import Answers
from llmproxy.common.policy import Policy
from llmproxy.common.segments import Segment
from llmproxy.shield import look
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.read import Read
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.guards.pii import Pii, find
from llmproxy.shield.personal import emails
from llmproxy.shield.verdict import Mask
from llmproxy.shield.window import Originals

ADDRESSES = (
    "jane&#64;corp.com", "jane&#064;corp.com", "jane.doe&#X40;corp&#46;co&period;uk", "jane&commat;corp.com", "jane [at] corp [dot] com",
    "jane(at)corp(dot)com", "jane[at]corp.com", "jane [dot] doe [AT] corp dot com", "jane ( at ) mail ( dot ) corp ( dot ) com", "j{at}corp{dot}org",
)  # fmt: skip
CARD = "4111_1111_1111_1111"


def found(text: str) -> list[tuple[str, str]]:
    verdict = Pii().inspect(Segment(role="user", path="p", text=text))
    return [(one.kind, text[one.start : one.end]) for one in verdict.findings] if isinstance(verdict, Mask) else []


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("around", ["{}", "Write to {}, please.", "请写信到{}。", "<b>{}</b>", "a@b, or {} or"])
def test_an_address_whose_signs_are_spelt_out_is_an_address(address: str, around: str) -> None:
    assert found(around.format(address)) == [("email", address)]


@pytest.mark.parametrize(
    "text",
    [
        "list[at].value", "x = items[at] + y.z", "f(at) 10.30", "open(at)file.py", "see you (at) noon. Then we go", "meet [at] the cafe dot", "(at) corp.com",
        "Tom &amp; Jerry.com", "a &#64; b", "{at}", "grid{at}.x", "&commat;media print", "the dot com boom, at corp dot com", "list[at) corp.com",
    ],
)  # fmt: skip
def test_words_in_brackets_and_code_are_no_address(text: str) -> None:
    assert found(text) == []


@given(
    st.lists(
        st.sampled_from((*emails.SPELT, *ADDRESSES, "@", "jane", " ", "corp", ".", "[dot]", "com", "&", "at", "(", "]"))
    ).map("".join)
)
def test_no_address_is_found_where_the_first_look_sees_none(text: str) -> None:
    assert look.at(text) & look.Look.AT or not list(emails.find(text))


@given(
    st.lists(st.sampled_from(("4111", "1111", "3782", "822463", "10005", "\n", " ", "_", "-", "card ", "\r\n"))).map(
        "".join
    )
)
def test_no_number_is_found_where_the_first_look_sees_none(text: str) -> None:
    every = {(one.kind, one.start, one.end) for one in find(text, look.ALL)}
    assert {(one.kind, one.start, one.end) for one in find(text, look.at(text))} == every


@pytest.mark.parametrize(
    "card", [CARD, "3782_822463_10005", "4111 1111\n1111 1111", "4111-1111-1111-\r\n  1111", "4111\n1111 1111 1111"]
)
def test_a_card_with_lines_under_or_a_line_break_between_its_groups_is_a_card(card: str) -> None:
    assert set(found(f"Pay with my card {card}, please")) == {("credit_card", card)}


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111\n1111 1111", "rows\n4111 1111\n1111 1111\n5105 1051", "4111_1111_1111_1112", "card 4111\n1111\n1111\n1111",
        "build_2024_4111_1111_1111", "card 4111 1111\n1111 1112",
    ],
)  # fmt: skip
def test_columns_of_numbers_and_what_fails_the_checksum_are_no_card(text: str) -> None:
    assert "credit_card" not in dict(found(text))


@given(st.sampled_from([one for one in ADDRESSES if " " not in one]), st.lists(st.integers(1, 9), min_size=1))
def test_an_answer_in_pieces_loses_the_same_address_as_one_in_whole(address: str, sizes: list[int]) -> None:
    text, pieces, at = f"Write to {address} today.", list[str](), 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    guards = Guards(GUARDS, Policy(answers=Answers(kinds={"email": "redact"})))
    whole, cut = (Reading(guards, Asked(), Originals({}), clock=lambda: 0.0) for _ in range(2))
    read = Read(cut, cut.findings.report, in_json=False)
    said = "".join(map(read.push, pieces)) + read.flush()
    assert said == whole.text(text)
    assert said == "Write to [EMAIL_REDACTED] today."
