"""Which answers need not be compared with the system text word by word: a native pass says it, and is as sure as the words themselves."""

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from llmproxy.shield.answers import leak
from llmproxy.shield.answers.leak import LEAST_WORDS, WORD_CHARS_MAX

SYSTEM = [
    "You",
    "guard",
    "the_vault",
    "of",
    "Bank9",
    "naïve",
    "日本",
    "a" * WORD_CHARS_MAX,
    "b" * (WORD_CHARS_MAX + 9),
    "é" + "c" * (WORD_CHARS_MAX + 9),
]
OTHERS = ["nobody", "knows", "x", "9", "_", "d" * (WORD_CHARS_MAX + 1)]
BETWEEN = st.sampled_from([" ", "\n", ", ", "-", "...", "\u2003", "\x00"])


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Runs of words of the system text, with few others between them, in whatever case."""
    known = st.lists(st.sampled_from(SYSTEM), min_size=1, max_size=LEAST_WORDS + 2)
    runs = draw(st.lists(known | st.lists(st.sampled_from(OTHERS), max_size=2), max_size=5))
    words = [draw(st.sampled_from([str, str.upper, str.lower]))(word) for run in runs for word in run]
    between = draw(BETWEEN)
    return between.join(words)


@given(texts(), st.lists(st.sampled_from(SYSTEM), unique=True).map(" ".join))
def test_a_text_is_clear_where_no_passage_has_words_of_the_system_text_alone(text: str, system: str) -> None:
    known = set(leak.words_of(system.casefold()))
    runs = groupby(leak.words_of(text.casefold()), known.__contains__)
    longest = max((len(list(words)) for is_known, words in runs if is_known), default=0)
    assert leak.is_clear(system, text) == (longest < LEAST_WORDS)


def test_a_system_text_of_any_length_has_a_vocabulary() -> None:
    system = " ".join(f"word{number}" for number in range(8_000))
    passage = " ".join(f"word{number}" for number in range(LEAST_WORDS))
    assert not leak.is_clear(system, passage)
    assert leak.is_clear(system, passage.replace("word", "WORD_"))
