"""Whether the caller asks for text that looks random: in words of their own, never in those of the format around them.

A picture beside a question says `image/png` in its JSON, a transcription has a `file`. Whoever could switch a guard off by sending
one would; so what is read is what users, the operator and definitions of tools say. What a tool has returned asks for nothing.
"""

import re
from collections.abc import Iterator
from typing import Any

from llmproxy.common.segments.tree import tree_of
from llmproxy.shield.answers.asked import Asked

RANDOM_LOOKING = re.compile(
    r"base-?64|base-?32|\bhex|encod|encrypt|cipher|\bhash|digest|sign|certificate|\bkey|token|\bjwt|\bpem\b|binary|\bblob|"
    r"random|svg|png|image|picture|font|data:|attachment|\bfile|payload|password|uuid|compress|gzip|serial|minif|wasm|fasta|\bdna\b|protein",
    re.IGNORECASE,
)
"""Words of a request after which random text is no surprise."""

STEMS = (
    "base", "hex", "encod", "encrypt", "cipher", "hash", "digest", "sign", "certificate", "key", "token", "jwt", "pem", "binary", "blob", "random", "svg", "png",
    "image", "picture", "font", "data:", "attachment", "file", "payload", "password", "uuid", "compress", "gzip", "serial", "minif", "wasm", "fasta", "dna", "protein",
)  # fmt: skip
"""Something of each of these words: without any, a long text is not searched through with the expression."""

TYPE = "type"
"""What the names of fields end with whose values are the format's words: `type`, `mimeType`, `media_type`."""


def wants_random(request: Asked) -> bool:
    return any(map(_looks_random, (request.users, request.system))) or any(map(_looks_random, _words(request)))


def _looks_random(text: str) -> bool:
    low = text.lower()
    return any(stem in low for stem in STEMS) and RANDOM_LOOKING.search(low) is not None


def _words(request: Asked) -> Iterator[str]:
    if request.definitions:
        yield from _said(tree_of(request.definitions))


def _said(value: Any) -> Iterator[str]:
    """Every name and text of definitions, but for what says of which type something is."""
    if type(value) is str:
        yield value
    elif type(value) is list:
        for item in value:
            yield from _said(item)
    elif type(value) is dict:
        for name, item in value.items():
            yield name
            if not (type(item) is str and name.lower().endswith(TYPE)):
                yield from _said(item)
