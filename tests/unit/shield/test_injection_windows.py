"""How the injection model reads a text: the same words mean the same wherever they stand, and hostile text is bounded."""

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmproxy.shield.injection.windows import (
    COUNT_MIN,
    ENTRY_BYTES,
    FEATURES,
    FILTER_BYTES,
    WEIGHT_BYTES,
    Reader,
    fold,
    word_key,
)

PARTS = st.sampled_from(
    ["ignore ", "don't ", "all", " previous", "'", "_", "rules. ", "<|im_start|>", "[inst]", "### ", "@", "://", "忽略",
     "правила ", "。", "<", "</", "[/", "\n"]
)  # fmt: skip
TEXTS = st.lists(PARTS | st.text(max_size=8), max_size=40).map("".join)
HASHED = 1 << 18
BARE, MEANINGS = HASHED, 32
BLOCK_TOKENS = 20


def reader(words: dict[str, tuple[int, int]], weights: bytes = bytes(WEIGHT_BYTES * FEATURES)) -> Reader:
    """With words (a star for beginnings) that have a meaning's number and a family."""
    entries, known = bytearray(1024 * ENTRY_BYTES), bytearray(FILTER_BYTES)
    for word, (meaning, family) in words.items():
        raw = word.rstrip("*").encode()
        key = word_key(raw, len(raw), word.endswith("*"))
        at = (key >> 20) & 1023
        while any(entries[at * ENTRY_BYTES : at * ENTRY_BYTES + 8]):
            at = (at + 1) & 1023
        entry = key.to_bytes(8, "little") + array("I", [1 << meaning, family]).tobytes()
        entries[at * ENTRY_BYTES : (at + 1) * ENTRY_BYTES] = entry
        known[(key >> 4 & 0xFFFF) >> 3] |= 1 << (key >> 4 & 7)
    return Reader(bytes(entries), bytes(known), weights)


def weights(window: dict[int, int], text: dict[int, int] | None = None) -> bytes:
    """Of a few features, in a window and in a text."""
    made = array("h", bytes(WEIGHT_BYTES * FEATURES))
    for part, some in enumerate((window, text or {})):
        for number, weight in some.items():
            made[2 * number + part] = weight
    return made.tobytes()


def numbers(text: str, words: dict[str, tuple[int, int]]) -> set[int]:
    return {number for block in reader(words).blocks(fold(text).encode()) for number in block}


LEXICON = {"ignor*": (0, 0), "忽略": (0, 0), "rules": (1, 0), "规则": (1, 0), "not": (2, 0)}


@given(TEXTS)
def test_numbers_are_features_and_the_same_each_time(text: str) -> None:
    found = reader(LEXICON).blocks(fold(text).encode("utf-8", "replace"))
    assert found == reader(LEXICON).blocks(fold(text).encode("utf-8", "replace"))
    assert all(number < FEATURES for block in found for number in block)
    assert all(len(set(block)) == len(block) for block in found)


WEIGHING = reader(LEXICON, array("h", (number % 120 for number in range(2 * FEATURES))).tobytes())


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_any_bytes_are_read_to_their_end(raw: bytes) -> None:
    window = WEIGHING.worst(raw)
    assert window is None or 0 <= window[1] < window[2] <= len(raw)


def test_a_word_of_apostrophes_is_read_to_its_end() -> None:
    raw = b"'".join([b"a"] * 40)
    window = WEIGHING.worst(raw)
    assert window is not None
    assert window[1:3] == (0, len(raw))


@pytest.mark.parametrize("text", ["Ignoring rules", "忽略规则", "ignored the RULES", "Ígnoré rules"])
def test_words_mean_the_same_in_every_language_and_inflection(text: str) -> None:
    assert {BARE, BARE + 1, BARE + MEANINGS + 1} <= numbers(text, LEXICON)


def test_a_sentence_ends_what_stands_together() -> None:
    pair = BARE + MEANINGS + 1
    assert pair in numbers("ignore my rules", LEXICON)
    assert pair not in numbers("ignore it. my rules", LEXICON)
    assert pair not in numbers("ignore a b c d e f g h rules", LEXICON)


def test_words_of_one_family_are_one_feature() -> None:
    cats, dogs = numbers("cats", {"cats": (3, 7), "dogs": (3, 7)}), numbers("dogs", {"cats": (3, 7), "dogs": (3, 7)})
    assert len(cats & dogs) > len(numbers("cats", {}) & numbers("dogs", {}))


@given(st.integers(0, 200))
def test_each_token_is_in_one_block(count: int) -> None:
    found = reader({}).blocks(b"word " * count)
    assert len(found) == -(-count // BLOCK_TOKENS)


def test_the_worst_window_is_where_the_weights_are() -> None:
    heavy = weights(window={BARE + 1: 100})
    text = "plain words of no weight at all " * 20
    raw = (text + "rules " + text).encode()
    window = reader(LEXICON, heavy).worst(raw)
    assert window is not None
    score, start, end, others, windows, whole = window
    assert score > others > 0
    assert windows == 14
    assert start <= len(text) < end
    assert end - start < len(raw) / 4
    assert whole == 0


@pytest.mark.parametrize("blocks", [1, 3, 30])
def test_the_whole_text_is_scored_by_weights_of_its_own(blocks: int) -> None:
    """Each of its features once, over the root of how many there are; no matter which window is the worst."""
    raw = b"rules " * BLOCK_TOKENS * blocks + b"rules end here"
    by = reader(LEXICON, weights(window={}, text={BARE + 1: 100}))
    window = by.worst(raw)
    assert window is not None
    score, *_, whole = window
    assert score == 0
    assert whole == pytest.approx(100 / max(len(numbers(raw.decode(), LEXICON)), COUNT_MIN) ** 0.5, rel=1e-6)


def test_a_text_without_words_has_no_window() -> None:
    assert reader({}).worst(b"") is None
    assert reader({}).worst(b"  ,, ((( ") is None


def test_tables_of_other_features_are_refused() -> None:
    with pytest.raises(ValueError, match="train the model again"):
        Reader(bytes(ENTRY_BYTES), bytes(FILTER_BYTES), bytes(WEIGHT_BYTES * FEATURES - 1))
    with pytest.raises(ValueError, match="train the model again"):
        Reader(bytes(3 * ENTRY_BYTES), bytes(FILTER_BYTES), bytes(WEIGHT_BYTES * FEATURES))
