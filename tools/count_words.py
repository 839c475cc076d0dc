"""Writes libs/common/llmproxy/common/everyday.yaml: which of the words that signatures are looked for by ordinary prose has, and how often.

uv run python tools/count_words.py [--corpora ../shared/corpora/dev]      (and then tools/prepare_signatures.py)

Only words of signatures are counted, in harmless texts, and only how common each is is written, as a power of two.
"""

# ruff: noqa: T201 - this is a program for a terminal.

import argparse
import gzip
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from math import log2
from pathlib import Path

import yaml

from llmproxy.common import everyday, signatures
from llmproxy.common.literals import SHORT_WORDS, WORD_BYTES_MIN, Choice, Part, edged, part
from llmproxy.common.words import EDGE, WORD_BYTES_MAX

ROOT = Path(__file__).resolve().parents[1]
FILE = Path(everyday.__file__).with_name(everyday.DATA)
CORPUS = "injection.jsonl.gz"
SEED = 7
ENGLISH, ENGLISH_BYTES = "en", 1 << 20
LANGUAGE_BYTES_MIN = 10_000  # What there is less of says nothing of its language,
LANGUAGE_FOUND_MIN = 2  # nor does a word that is found once,
LANGUAGE_SHARE = 0.5  # and most texts are in English.
FOUND_MIN = 64  # In a megabyte: a rarer word is not listed.
EDGES_SHARE = 0.5  # With an edge, a word is listed where it is so much rarer than without.
LINE = 150


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--corpora", type=Path, default=ROOT.parent / "shared/corpora/dev")
    texts = harmless(arguments.parse_args().corpora)
    wanted = words()
    common = {word: found for word in wanted if word.strip(EDGE) == word and (found := count(word, texts)) >= FOUND_MIN}
    edges = {word: count(word, texts) for word in wanted - common.keys() if word.strip(EDGE) in common}
    rarer = {word: found for word, found in edges.items() if found < EDGES_SHARE * common[word.strip(EDGE)]}
    grades: dict[int, list[str]] = defaultdict(list)
    for word, found in sorted((common | rarer).items()):
        grades[1 << round(log2(max(found, 1)))].append(word.decode())
    FILE.write_text("".join(line(grade, grades[grade]) for grade in sorted(grades)), encoding="utf-8")
    print({grade: len(grades[grade]) for grade in sorted(grades)})


def line(grade: int, words: list[str]) -> str:
    return yaml.safe_dump({grade: words}, allow_unicode=True, default_flow_style=None, width=LINE)


def harmless(corpora: Path) -> Mapping[str, bytes]:
    """By language, in lower case."""
    texts: dict[str, list[str]] = defaultdict(list)
    with gzip.open(corpora / CORPUS, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["label"] == "benign":
                texts[row["lang"]].append(row["text"].lower())
    random.Random(SEED).shuffle(texts[ENGLISH])  # noqa: S311 - a sample
    together = {language: "\n\n".join(ones).encode(errors="replace") for language, ones in texts.items()}
    together[ENGLISH] = together[ENGLISH][:ENGLISH_BYTES]
    return {language: text for language, text in together.items() if len(text) >= LANGUAGE_BYTES_MIN}


def words() -> set[bytes]:
    """All that signatures may be looked for by, also those that are not."""
    data = signatures.shipped()
    found = set[bytes]()
    for one in data.signatures:
        for letters in literals(part(signatures.expression(one.pattern, data.vocabulary))):
            found |= {word for word in (letters.strip(EDGE), *edged(letters)) if is_whole(word)}
    return found


def literals(part: Part) -> Iterator[bytes]:
    items = [b"", *part.items, b""]
    for before, item, behind in zip(items, items[1:], items[2:], strict=False):
        if isinstance(item, bytes):
            yield item
        elif isinstance(item, Choice):
            first = before if isinstance(before, bytes) else b""
            last = EDGE if isinstance(behind, bytes) and behind.startswith(EDGE) else b""
            for one in item.alternatives:
                yield from literals(Part([first, one, last]))


def is_whole(word: bytes) -> bool:
    """Neither too short nor a piece of a letter, as a common beginning of alternatives may be."""
    bare = word.strip(EDGE)
    long_enough = WORD_BYTES_MIN <= len(bare) <= WORD_BYTES_MAX or bare in SHORT_WORDS
    return long_enough and bare.decode(errors="ignore").encode() == bare


def count(word: bytes, texts: Mapping[str, bytes]) -> float:
    """How often a megabyte has it: one of English, or of another language that has it oftener."""
    found = {language: _times(word, text) for language, text in texts.items()}
    others = (
        LANGUAGE_SHARE * times / len(texts[language])
        for language, times in found.items()
        if language != ENGLISH and times >= LANGUAGE_FOUND_MIN
    )
    return (1 << 20) * max([found[ENGLISH] / len(texts[ENGLISH]), *others])


def _times(word: bytes, text: bytes) -> int:
    bare = word.strip(EDGE)
    times = text.count(bare)
    if bare == word or not times:
        return times
    begins, ends = rb"(?<![0-9a-z_])" * word.startswith(EDGE), rb"(?![0-9a-z_])" * word.endswith(EDGE)
    return len(re.findall(begins + re.escape(bare) + ends, text))


if __name__ == "__main__":
    main()
