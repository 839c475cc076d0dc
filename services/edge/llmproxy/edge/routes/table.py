"""Which paths exist. Whether one needs a key is a fact of the route that matched, never of the text of the path."""

from enum import Enum, auto
from urllib.parse import unquote

from msgspec import Struct

from llmproxy.common.envelope import Dialect


class Action(Enum):
    CHAT = auto()
    MODELS = auto()
    MODEL = auto()
    HEALTH = auto()
    LIVEZ = auto()
    READYZ = auto()
    VERSION = auto()
    UNKNOWN = auto()


class Route(Struct, frozen=True, kw_only=True):
    action: Action
    name: str  # Goes into records and metric labels instead of the path.
    methods: frozenset[str]
    api: str = ""
    public: bool = False
    dialect: Dialect = "openai"

    @property
    def allow(self) -> str:
        return ", ".join(sorted(self.methods))


READ = frozenset({"GET", "HEAD"})
UNKNOWN = Route(action=Action.UNKNOWN, name="unknown", methods=frozenset())
MODEL = Route(action=Action.MODEL, name="/v1/models/{id}", methods=READ, api="models")
MODEL_PREFIX = "/v1/models/"

ROUTES: dict[str, Route] = {
    "/v1/chat/completions": Route(
        action=Action.CHAT, name="/v1/chat/completions", methods=frozenset({"POST"}), api="chat"
    ),
    "/v1/models": Route(action=Action.MODELS, name="/v1/models", methods=READ, api="models"),
    "/health": Route(action=Action.HEALTH, name="/health", methods=READ, public=True),
    "/livez": Route(action=Action.LIVEZ, name="/livez", methods=READ, public=True),
    "/readyz": Route(action=Action.READYZ, name="/readyz", methods=READ, public=True),
    "/version": Route(action=Action.VERSION, name="/version", methods=READ, public=True),
}


def match(path: str) -> tuple[Route, str]:
    """The route of a path exactly as it was sent (undecoded, without its query), and the id in it, decoded once.

    Only exact text matches: `//livez`, `/livez/`, `/%6civez` and `/livez;x=1` are unknown, and what is unknown needs a key.
    """
    route = ROUTES.get(path)
    if route is not None:
        return route, ""
    if path.startswith(MODEL_PREFIX) and len(path) > len(MODEL_PREFIX):
        return MODEL, unquote(path[len(MODEL_PREFIX) :])
    return UNKNOWN, ""
