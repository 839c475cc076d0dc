"""The stream of Gemini's API: each chunk is an answer of its own, with the next parts of every candidate."""

from collections.abc import Container
from typing import Any

import msgspec

from llmproxy.shield.answers.names import is_piece
from llmproxy.shield.restore.arguments import Arguments
from llmproxy.shield.restore.held import Held, Texts, beside, measured, others, renew
from llmproxy.shield.restore.whole import drop_logprobs

OF_CHUNK = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId", "createTime"})
MEASURES = ("safetyRatings", "logprobsResult")
OF_CANDIDATE = frozenset({"content", "index", "finishReason", "avgLogprobs", "tokenCount", *MEASURES})
OF_CONTENT = frozenset({"parts", "role"})
SEAL = frozenset({"thought", "thoughtSignature", "thought_signature"})
"""What a part without content has."""

OF_TEXT = SEAL | {"text"}
OF_WORDS = OF_TEXT - {"thought"}
OF_ROLE = frozenset({"role"})

Place = tuple[int, bool | str]
"""The candidate's index, and whether the text is a thought, or under which other name it stands."""


class Stream:
    """One text for what each candidate says and one for its thoughts; what they hold leaves before any other part."""

    def __init__(self, texts: Texts) -> None:
        self._held: Held[Place] = Held(texts, "candidates")
        self._arguments = Arguments(texts)
        self._last: dict[str, Any] = {}

    def chunk(self, event: bytes) -> list[bytes]:
        tree = msgspec.json.decode(event)
        candidates = tree.get("candidates") if type(tree) is dict else None
        if type(candidates) is not list or not candidates:
            return [self._held.texts.whole(event)]
        self._last = tree
        changed = beside(self._held.texts, tree, OF_CHUNK)
        changed |= measured(self._held.texts, tree, "usageMetadata")
        changed |= others(self._held.texts, candidates)
        for place, candidate in enumerate(candidates):
            if type(candidate) is dict:
                changed |= self._candidate(candidate.get("index", place), candidate)
        return [msgspec.json.encode(tree) if changed else event]

    def end(self) -> list[bytes]:
        parts: dict[int, list[dict[str, Any]]] = {}
        for (index, kind), said in self._held.flush(lambda _: True):
            parts.setdefault(index, []).append(_part(kind, said))
        for index, part in self._arguments.end():
            parts.setdefault(index, []).append(part)
        return [
            msgspec.json.encode({**self._like(), "candidates": [{"content": _content(said), "index": index}]})
            for index, said in parts.items()
        ]

    def _candidate(self, index: int, candidate: dict[str, Any]) -> bool:
        """Changes the candidate in place; says whether anything changed."""
        self._held.texts.choice = index
        changed = beside(self._held.texts, candidate, OF_CANDIDATE)
        for name in MEASURES:
            changed |= measured(self._held.texts, candidate, name)
        content = candidate.get("content")
        if type(content) is dict:
            changed |= beside(self._held.texts, content, OF_CONTENT if type(content.get("parts")) is list else OF_ROLE)
        elif content is not None:
            changed |= renew(self._held.texts, candidate, "content")
            content = None
        before = content.get("parts") if type(content) is dict else None
        parts = self._parts(index, before if type(before) is list else [])
        if candidate.get("finishReason"):
            parts += self._flush(index)
        if parts != (before or []):
            candidate["content"] = {**(content if type(content) is dict else _content([])), "parts": parts}
            drop_logprobs(candidate)
            changed = True
        return changed

    def _parts(self, index: int, parts: list[Any]) -> list[Any]:
        found: list[Any] = []
        for part in parts:
            new = _new(part) if type(part) is dict else {}
            if type(part) is dict and type(part.get("text")) is str:
                is_thought = part.get("thought") is True
                found += self._flush(index, kept={is_thought, *new})
                told = {**part, "text": self._held.push((index, is_thought), part["text"], follows=(index, is_thought))}
                beside(self._held.texts, told, (OF_TEXT if _is_marked(told) else OF_WORDS).union(new))
                found.append(told | self._pushed(index, new))
            elif type(part) is dict and SEAL.issuperset(part) and _is_marked(part):  # The text goes on behind it.
                found.append(part)
            elif type(part) is dict and (said := self._arguments.part(index, part)) is not None:
                found += [*self._flush(index), said]
            elif new:
                found += self._flush(index, kept=new.keys())
                told = self._held.texts.value("", {name: value for name, value in part.items() if name not in new})
                found.append(told | self._pushed(index, new))
            else:
                found += [*self._flush(index), self._held.texts.value("", part)]
        return found

    def _pushed(self, index: int, new: dict[str, str]) -> dict[str, str]:
        return {name: self._held.push((index, name), text) for name, text in new.items()}

    def _flush(self, index: int, *, kept: Container[bool | str] = ()) -> list[dict[str, Any]]:
        """Parts with what is held back of a candidate, but for the texts that go on."""
        return [
            _part(kind, said)
            for (_, kind), said in self._held.flush(lambda place: place[0] == index and place[1] not in kept)
        ]

    def _like(self) -> dict[str, Any]:
        return {key: value for key, value in self._last.items() if key in ("modelVersion", "responseId", "createTime")}


def _is_marked(part: dict[str, Any]) -> bool:
    """Whether it says that it is a thought, or not, as Gemini says it."""
    return part.get("thought") in (None, True, False)


def _part(kind: bool | str, said: str) -> dict[str, Any]:
    """With this text alone."""
    if isinstance(kind, str):
        return {kind: said}
    return {"text": said, **({"thought": True} if kind else {})}


def _new(part: dict[str, Any]) -> dict[str, str]:
    """Texts of a part under names that nobody knows."""
    return {
        name: value for name, value in part.items() if type(value) is str and name not in OF_TEXT and is_piece(name)
    }


def _content(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"parts": parts, "role": "model"}
