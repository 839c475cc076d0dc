"""What a request of a conversation that the provider keeps says of itself: what it goes on from, and how suspicious its own turns are."""

from typing import Any

import msgspec
from msgspec import Struct

from llmproxy.shield.inspection import Inspection
from llmproxy.shield.preflight import user_turns
from llmproxy.shield.trajectory import remembered

PREVIOUS, CONVERSATION = "previous_response_id", "conversation"


class Continuation(Struct, frozen=True, kw_only=True):
    """`turns`: how likely each of the user's is an injection, in order; the last one is what is asked now."""

    turns: tuple[float, ...]
    path: str = ""  # Of the last turn.
    previous: str = ""  # The answer that it goes on from,
    conversation: str = ""  # or the conversation, which has one name for all of its turns.
    added: tuple[float, ...] = ()  # Turns that the conversation has from now on, unless the vendor does not take them.


def continuation(inspection: Inspection) -> Continuation | None:
    """None where no turn is to be remembered, and none was."""
    wanted, tree = inspection.policy.injection, inspection.tree
    if wanted.mode == "disabled" or wanted.trajectory >= 1:
        return None
    previous, conversation = _name(tree.get(PREVIOUS)), _name(tree.get(CONVERSATION))
    if not (previous or conversation or inspection.suspicions):
        return None
    turns, path = _turns(inspection)
    if not (previous or conversation or remembered(turns, wanted.threshold("user"))):
        return None
    return Continuation(turns=turns, path=path, previous=previous, conversation=conversation)


def _name(value: Any) -> str:
    """An id, or an object that has one."""
    if type(value) is dict:
        value = value.get("id")
    return value if type(value) is str else ""


def _turns(inspection: Inspection) -> tuple[tuple[float, ...], str]:
    if inspection.suspicions:
        places = user_turns(inspection)
        path = inspection.segments[places[-1][0]].path if places else ""
        return tuple(suspicion for _, suspicion in places), path
    said = inspection.tree.get("input")
    if type(said) is str:
        return (0.0,), ""
    items = said if type(said) is list else []
    return (0.0,) * sum(type(item) is dict and item.get("role") == "user" for item in items), ""


class _Response(Struct, frozen=True):
    id: str = ""


class _Event(Struct, frozen=True):
    id: str = ""
    response: _Response | None = None


_EVENT = msgspec.json.Decoder(_Event)


def response_id(event: bytes) -> str:
    """Of a whole answer, or of the first event of a streamed one; "" where there is none."""
    try:
        found = _EVENT.decode(event)
    except (msgspec.DecodeError, RecursionError):
        return ""
    return found.response.id if found.response is not None else found.id
