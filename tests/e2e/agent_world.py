"""A small world that tools change, and a mind that decides what to do by reading the conversation alone.

Every amount that the mind asks for depends on everything it has been told so far: a result, an argument or an id that is
lost or changed on the way leads to another final state.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from e2e.clients import Tool
from upstreams import Asked, Saying

from llmproxy.fakes.conversation import ToolResult, ToolUse, Turn

TURNS = 20
ITEMS = ("bolts", "nuts", "gears ⚙", 'wire "1.5 mm²"')
TASK = "Keep the store until nothing is left to do."


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
TOOLS = (
    Tool("put", "Puts pieces of an item into the store", schema(item=TEXT, count=NUMBER)),
    Tool("take", "Takes pieces of an item out of the store", schema(item=TEXT, count=NUMBER, note=TEXT)),
    Tool("look", "Says what is in the store", schema()),
)


@dataclass
class Store:
    """The world."""

    held: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ITEMS, 100))
    history: list[str] = field(default_factory=list)

    def use(self, tool: str, arguments: dict[str, Any]) -> str:
        """What the tool says; the same always for the same history."""
        match tool:
            case "put":
                self.held[arguments["item"]] += arguments["count"]
            case "take":
                self.held[arguments["item"]] -= arguments["count"]
        self.history.append(f"{tool} {json.dumps(arguments, sort_keys=True, ensure_ascii=False)}")
        return f"{arguments.get('item', 'all')}: {json.dumps(self.held, sort_keys=True, ensure_ascii=False)}"

    @property
    def state(self) -> dict[str, Any]:
        return {"held": self.held, "history": self.history}


def mind(asked: Asked) -> Saying:
    """One to three tools at once, each time others, and at the end a text."""
    turn = asked.number
    told = number_of(asked)
    if turn >= TURNS:
        return Saying(text=f"Done after {turn} turns: {told}.")
    calls: list[tuple[str, dict[str, Any]]] = [
        ("put", {"item": ITEMS[turn % len(ITEMS)], "count": told % 7 + 1}),
        (
            "take",
            {"item": ITEMS[told % len(ITEMS)], "count": told % 5, "note": f"turn {turn} — “{told % 1000}”\n\\ end"},
        ),
        ("look", {}),
    ]
    text = f"Turn {turn}." if turn % 3 == 0 else ""  # Some say something before they act.
    return Saying(text=text, calls=tuple(calls[: 1 + turn % 3]))


def number_of(asked: Asked) -> int:
    """A number that depends on every word, argument and result, and on which result answers which call."""
    told: list[Any] = []
    for turn in asked.turns:
        names = {call.id: index for index, call in enumerate(turn.calls)}
        told.append((turn.side, turn.text))
        told.append([(names[call.id], call.name, sorted(call.arguments.items())) for call in turn.calls])
        told.append([(result.name, result.text) for result in turn.results])
    return int(hashlib.sha256(repr(told).encode()).hexdigest()[:8], 16)


def expected() -> tuple[dict[str, Any], str]:
    """The final state and the last words, of an agent that talks to the mind directly."""
    store, turns, number = Store(), [Turn("user", TASK)], 0
    while True:
        saying = mind(Asked(turns=tuple(turns)))
        if not saying.calls:
            return store.state, saying.text or ""
        calls = tuple(ToolUse(f"c{number + i}", name, arguments) for i, (name, arguments) in enumerate(saying.calls))
        number += len(calls)
        results = tuple(ToolResult(one.id, one.name, store.use(one.name, one.arguments)) for one in calls)
        turns += [Turn("assistant", saying.text or "", calls), Turn("user", results=results)]
