"""What the injection model sees of a text: words, what they mean in any of two dozen languages, and how they stand together.

A text is cut into tokens, tokens into blocks, and every block becomes a set of feature numbers. A window is two
neighbouring blocks, so nothing that stands together is torn apart and no token is worked on twice.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib import resources
from itertools import islice
from zlib import crc32

from msgspec import Struct

HASHED = 1 << 18  # Slots for words and pairs of words; which one is theirs, their hash says.
CONCEPTS_MAX = 32
BARE = HASHED  # Then, without collisions: a concept,
FIRST = BARE + CONCEPTS_MAX  # one that begins a sentence,
FIRSTS = FIRST + CONCEPTS_MAX  # two that begin neighbouring sentences,
PAIRS = FIRSTS + CONCEPTS_MAX**2  # two in one sentence, in this order,
TRIPLES = PAIRS + CONCEPTS_MAX**2  # and three.
FEATURES = TRIPLES + CONCEPTS_MAX**3

BLOCK_TOKENS = 40  # Half a window: an injected sentence is seldom longer than a window of two.
GAP_TOKENS = 6  # Concepts further apart than this are not about each other.
RECENT_MAX = 4  # Nor are those with more concepts between them; and dense text costs no more than this.
STEM_CHARS_MIN, STEM_CHARS_MAX = 2, 16
WORD_CHARS_MAX = 24  # Of a longer word only the beginning is read: it is a token or a blob.
VOCABULARY_MAX = 1 << 15  # Words whose token is remembered; the rest are worked out each time.

SEGMENTED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Scripts that are searched for terms, because spaces do not part words from what hangs on them."""

INDIC = "\u0900-\u0dff"  # Their vowel signs are not letters to `re`.

MARKUP = r"</?[a-z_]{2,12}>|<\||\|>|<</?sys>>|<!--|</|\[/?[a-z_]{3,12}\]|://|@|#{3,5}|={3,5}|-{3,5}|[.?!:;\n]+|[{}\"]"
ENDS = frozenset(".?!:;\n。！？：；।؟")
"""A token that begins with one of these parts two sentences; what is said first in one is often a command."""

ASCII_TOKEN = re.compile(rf"[a-z0-9_]+(?:'[a-z]+)?|\.[a-z]{{3}}\b|{MARKUP}")
ANY_TOKEN = re.compile(
    rf"(?:[^\W{SEGMENTED}{INDIC}]+|[{INDIC}]+)+(?:['’][^\W_]+)?|[{SEGMENTED}]+|[。！？：；।؟]+|\.[a-z]{{3}}\b|{MARKUP}"
)
SEGMENT = re.compile(f"[{SEGMENTED}]")
ACCENTS = re.compile("[\u0300-\u036f]+")


class Token(Struct, frozen=True, array_like=True):
    """One word: its hash, the concepts that it may stand for (as numbers, and as bits), whether it ends a sentence."""

    number: int
    concepts: tuple[int, ...]
    mask: int
    ends: bool
    own: tuple[int, ...]  # Its features, whatever stands around it.


class Lexicon(Struct, frozen=True):
    concepts: tuple[str, ...]
    words: dict[str, tuple[int, ...]]
    stems: dict[str, tuple[int, ...]]
    terms: re.Pattern[str]  # Of a run of segmented script.


@cache
def lexicon() -> Lexicon:
    """The words of lexicon.txt, read once."""
    return parse(resources.files(__package__).joinpath("lexicon.txt").read_text("utf-8"))


def parse(text: str) -> Lexicon:
    concepts: list[str] = []
    words: dict[str, set[int]] = {}
    stems: dict[str, set[int]] = {}
    for line in text.splitlines():
        if not line or line.startswith("# "):
            continue
        concept, *terms = line.split()
        if concept not in concepts:
            concepts.append(concept)
        for term in terms:
            plain = fold(term)
            if plain.endswith("*") and len(plain) > STEM_CHARS_MIN:
                stems.setdefault(plain[:-1], set()).add(concepts.index(concept))
            else:
                words.setdefault(plain, set()).add(concepts.index(concept))
    assert len(concepts) <= CONCEPTS_MAX, "the feature numbers have no room for more concepts"
    segmented = sorted(
        (word for word in {*words, *stems} if re.match(f"[{SEGMENTED}]", word)), key=lambda w: (-len(w), w)
    )
    return Lexicon(
        tuple(concepts),
        {word: tuple(sorted(has)) for word, has in words.items()},
        {stem: tuple(sorted(has)) for stem, has in stems.items()},
        re.compile(f"{'|'.join(map(re.escape, segmented))}|[{SEGMENTED}]"),
    )


def fold(text: str) -> str:
    """Lower case without accents, compatibility forms resolved."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return unicodedata.normalize("NFC", ACCENTS.sub("", decomposed))


def words(text: str) -> list[str]:
    """The tokens of a folded text, as written."""
    if text.isascii():
        return ASCII_TOKEN.findall(text)
    found: list[str] = ANY_TOKEN.findall(text)
    if SEGMENT.search(text) is None:
        return found
    terms = lexicon().terms
    parted: list[str] = []
    for word in found:
        if SEGMENT.match(word):
            parted += terms.findall(word)
        else:
            parted.append(word)
    return parted


def place(text: str, first: int, last: int) -> tuple[int, int]:
    """Where the tokens [first, last) stand in a text; all of it where folding has moved its characters."""
    if not text.isascii():
        return 0, len(text)
    found = [match.span() for match in islice(ASCII_TOKEN.finditer(text.lower()), first, last)]
    return (found[0][0], found[-1][1]) if found else (0, len(text))


def token(word: str) -> Token:
    """What one word is."""
    concepts = _concepts(word)
    number = crc32(b"0" if word.isdecimal() else word[:WORD_CHARS_MAX].encode())
    mask = 0
    for concept in concepts:
        mask |= 1 << concept
    return Token(number, concepts, mask, word[0] in ENDS, (number % HASHED, *(BARE + concept for concept in concepts)))


def _concepts(word: str) -> tuple[int, ...]:
    known = lexicon()
    found = known.words.get(word)
    if found is None:
        for length in range(min(len(word), STEM_CHARS_MAX), STEM_CHARS_MIN - 1, -1):
            found = known.stems.get(word[:length])
            if found is not None:
                break
    return found or ()


class Vocabulary(dict[str, Token]):
    """Word -> token, worked out when first asked for. Bounded: texts are other people's."""

    def __missing__(self, word: str) -> Token:
        known = token(word)
        if len(self) < VOCABULARY_MAX and len(word) <= WORD_CHARS_MAX:
            self[word] = known
        return known


def blocks(count: int) -> list[range]:
    """The blocks of so many tokens; at least one."""
    return [range(start, min(start + BLOCK_TOKENS, count)) for start in range(0, max(count, 1), BLOCK_TOKENS)]


def features(tokens: Sequence[Token], block: range) -> set[int]:
    """The feature numbers of one block: of its tokens, and of how they stand to each other and to the few before."""
    found: set[int] = set()
    add = found.add
    recent: list[tuple[int, tuple[int, ...]]] = []  # Tokens of this sentence that stand for something.
    starts: tuple[int, ...] = ()  # What the sentence before began with.
    before = 0  # The number of the token before in this sentence; 0 at its start.
    for at in range(max(0, block.start - GAP_TOKENS), block.stop):
        one = tokens[at]
        inside = at >= block.start
        if inside:
            found.update(one.own)
        if one.ends:
            recent = []
            before = 0
            continue
        concepts = one.concepts
        if inside:
            add((before * 0x2C1B3C6D + one.number + 0x5BD1E995) % 0xFFFFFFFB % HASHED)
        if concepts:
            if not before:
                if inside:
                    for c in concepts:
                        add(FIRST + c)
                        for a in starts:
                            add(FIRSTS + a * CONCEPTS_MAX + c)
                starts = concepts
            while recent and recent[0][0] < at - GAP_TOKENS:
                del recent[0]
            del recent[:-RECENT_MAX]
            if inside:
                for _, left in recent:
                    for a in left:
                        for c in concepts:
                            add(PAIRS + a * CONCEPTS_MAX + c)
                if len(recent) > 1:
                    middle, left = recent[-1][1], recent[-2][1]
                    for b in middle:
                        for a in left:
                            for c in concepts:
                                add(TRIPLES + (a * CONCEPTS_MAX + b) * CONCEPTS_MAX + c)
            recent.append((at, concepts))
        before = one.number or 1
    return found
