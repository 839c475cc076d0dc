"""What a cell of the table is: a control, at a route, in a mode, over a content, with an outcome; and a reason for some of them."""

from typing import Literal

from msgspec import Struct

from llmproxy.edge.routes.table import GENERATE, ROUTES, STREAM_GENERATE, Action, Route

Mode = Literal["whole", "stream"]
Content = Literal["text", "tool call", "tool result", "multimodal", "text file", "n>1"]
Outcome = Literal["works", "raises", "is late"]

MODES: tuple[Mode, ...] = ("whole", "stream")
CONTENTS: tuple[Content, ...] = ("text", "tool call", "tool result", "multimodal", "text file", "n>1")
OUTCOMES: tuple[Outcome, ...] = ("works", "raises", "is late")

CALLS: dict[str, Route] = {
    route.name: route for route in (*ROUTES.values(), GENERATE, STREAM_GENERATE) if route.action is Action.CALL
}
"""Every route that reaches a provider. The others hold no text of anybody's and are told in the edge's own tests."""

CONVERSATIONS = ("chat", "completions", "responses", "messages", "gemini")
NO_WORDS = ("count_tokens", "embeddings", "moderations", "speech")
"""APIs whose answers hold no text: numbers, judgements, sound."""


class Because(Struct, frozen=True, kw_only=True):
    """A reason, for the cells that it covers; what is not named is covered whatever it is."""

    reason: str
    apis: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()

    def covers(self, cell: "Cell") -> bool:
        route = CALLS[cell.route]
        return (
            (not self.apis or route.api in self.apis)
            and (not self.routes or route.name in self.routes)
            and (not self.modes or cell.mode in self.modes)
            and (not self.contents or cell.content in self.contents)
            and (not self.outcomes or cell.outcome in self.outcomes)
        )


class Control(Struct, frozen=True, kw_only=True):
    """One promise. `step` is what `GET /api/v1/plugins` calls what keeps it; "" for what is no step."""

    name: str
    promise: str
    failure: str  # What the caller gets when it raises or is late.
    step: str = ""
    guard: str = ""  # Of the shield's list, where it is one.
    setting: str = ""  # Of `policy.answers`, where it is one of those.
    absent: tuple[Because, ...] = ()
    missing: tuple[Because, ...] = ()


class Cell(Struct, frozen=True):
    control: str
    route: str
    mode: Mode
    content: Content
    outcome: Outcome

    @property
    def id(self) -> str:
        """As pytest has it in brackets."""
        return f"{self.control}|{self.route}|{self.mode}|{self.content}|{self.outcome}"
