"""Which paths exist. Whether one needs a key is a fact of the route that matched, never of the text of the path."""

from enum import Enum, auto
from functools import cache
from urllib.parse import unquote

from msgspec import Struct
from msgspec.structs import replace

from llmproxy.common.envelope import Api, Dialect


class Action(Enum):
    CALL = auto()  # Goes to a provider.
    MODELS = auto()
    MODEL = auto()
    HEALTH = auto()
    LIVEZ = auto()
    READYZ = auto()
    VERSION = auto()
    NOT_SERVED = auto()  # A path of these APIs that we know, and do not serve.
    UNKNOWN = auto()


CALL = Action.CALL  # Every step asks for it; of the enum itself that is a call in Python 3.11.


class Route(Struct, frozen=True, kw_only=True):
    action: Action
    name: str  # Goes into records and metric labels instead of the path.
    methods: frozenset[str] = frozenset()
    api: Api = "chat"  # Of a CALL.
    label: str = ""  # Of the API, in records.
    public: bool = False
    dialect: Dialect = "openai"
    is_shared: bool = False  # Several dialects have this path: the caller's headers say which one is spoken.
    takes_form: bool = False  # multipart/form-data instead of JSON.
    streams: bool = False  # By its path; other APIs say so in the body.
    hint: str = ""  # What to do instead, when it is not served; of an unknown one, which path was meant.

    @property
    def allow(self) -> str:
        return ", ".join(sorted(self.methods))


READ = frozenset({"GET", "HEAD"})
POST = frozenset({"POST"})


def _call(
    path: str, api: Api, dialect: Dialect = "openai", *, takes_form: bool = False, streams: bool = False
) -> Route:
    return Route(
        action=Action.CALL,
        name=path,
        methods=POST,
        api=api,
        label=api,
        dialect=dialect,
        takes_form=takes_form,
        streams=streams,
    )


def _status(path: str, action: Action) -> Route:
    return Route(action=action, name=path, methods=READ, public=True)


MODEL = Route(action=Action.MODEL, name="/v1/models/{id}", methods=READ, label="models", is_shared=True)
GOOGLE_MODEL = Route(action=Action.MODEL, name="/v1beta/models/{id}", methods=READ, label="models", dialect="google")
GENERATE = _call("/v1beta/models/{model}:generateContent", "gemini", "google")
STREAM_GENERATE = _call("/v1beta/models/{model}:streamGenerateContent", "gemini", "google", streams=True)

ROUTES: dict[str, Route] = {
    route.name: route
    for route in (
        _call("/v1/chat/completions", "chat"),
        _call("/v1/completions", "completions"),
        _call("/v1/embeddings", "embeddings"),
        _call("/v1/responses", "responses"),
        _call("/v1/messages", "messages", "anthropic"),
        _call("/v1/messages/count_tokens", "count_tokens", "anthropic"),
        _call("/v1/moderations", "moderations"),
        _call("/v1/rerank", "rerank"),
        _call("/v2/rerank", "rerank"),
        _call("/v1/images/generations", "images"),
        _call("/v1/audio/speech", "speech"),
        _call("/v1/audio/transcriptions", "transcriptions", takes_form=True),
        Route(action=Action.MODELS, name="/v1/models", methods=READ, label="models", is_shared=True),
        Route(action=Action.MODELS, name="/v1beta/models", methods=READ, label="models", dialect="google"),
        _status("/health", Action.HEALTH),
        _status("/livez", Action.LIVEZ),
        _status("/readyz", Action.READYZ),
        _status("/version", Action.VERSION),
    )
}
"""By the exact path."""

BY_METHOD = {"generateContent": GENERATE, "streamGenerateContent": STREAM_GENERATE}
"""Google's, after the colon behind a model."""

SERVED: dict[Dialect, str] = {
    dialect: ", ".join(
        route.name
        for route in (*ROUTES.values(), GENERATE, STREAM_GENERATE)
        if not route.public and (route.dialect == dialect or (route.is_shared and dialect != "google"))
    )
    for dialect in ("openai", "anthropic", "google")
}
"""For who asks for another path."""

BELOW = "/{id}"  # Where the path itself is served, and what is below it is not.
STORES_NOTHING = "the gateway keeps no answers; send the whole conversation with each request"
WITH_THE_REQUEST = "send the content in the request itself"
ONE_BY_ONE = "send the requests one by one"
BASE_URL = "use a client for OpenAI with the base URL of this gateway and /v1"


def _not_served(path: str, dialect: Dialect = "openai", hint: str = "", *, is_shared: bool = False) -> Route:
    return Route(action=Action.NOT_SERVED, name=path, dialect=dialect, hint=hint, is_shared=is_shared)


NOT_SERVED: dict[str, Route] = {
    route.name.removesuffix(BELOW): route
    for route in (
        _not_served("/v1/responses" + BELOW, hint=STORES_NOTHING),
        _not_served("/v1/conversations", hint=STORES_NOTHING),
        _not_served("/v1/chat/completions" + BELOW, hint=STORES_NOTHING),
        _not_served("/v1/files", hint=WITH_THE_REQUEST, is_shared=True),
        _not_served("/v1/uploads", hint=WITH_THE_REQUEST),
        _not_served("/v1/batches", hint=ONE_BY_ONE, is_shared=True),
        _not_served("/v1/images/edits"),
        _not_served("/v1/images/variations"),
        _not_served("/v1/audio/translations", hint="transcribe, then ask a model to translate"),
        _not_served("/v1/audio/voices"),
        _not_served("/v1/assistants", hint="use /v1/responses or /v1/chat/completions"),
        _not_served("/v1/threads", hint="use /v1/responses or /v1/chat/completions"),
        _not_served("/v1/vector_stores"),
        _not_served("/v1/fine_tuning"),
        _not_served("/v1/evals"),
        _not_served("/v1/graders"),
        _not_served("/v1/realtime"),
        _not_served("/v1/videos"),
        _not_served("/v1/containers"),
        _not_served("/v1/chatkit"),
        _not_served("/v1/organization"),
        _not_served("/v1/projects"),
        _not_served("/v1/skills", is_shared=True),
        _not_served("/v1/engines", hint="name the model in the body"),
        _not_served("/v1/edits", hint="use /v1/chat/completions"),
        _not_served("/openai", hint=BASE_URL),
        _not_served("/v1/complete", "anthropic", "use /v1/messages"),
        _not_served("/v1/messages/batches", "anthropic", ONE_BY_ONE),
        _not_served("/v1/organizations", "anthropic"),
        _not_served("/upload", "google", WITH_THE_REQUEST),
        *[
            _not_served(f"/{version}/{name}", "google", hint)
            for version in ("v1", "v1beta")
            for name, hint in (
                ("cachedContents", "providers cache long beginnings themselves"),
                ("tunedModels", ""),
                ("corpora", ""),
                ("fileSearchStores", ""),
                ("interactions", STORES_NOTHING),
            )
        ],
        _not_served("/v1beta/files", "google", WITH_THE_REQUEST),
        _not_served("/v1beta/batches", "google", ONE_BY_ONE),
    )
}
"""By the beginning of a path, whole segments of it."""
SEGMENTS_MAX = 3  # Of a key above.

NOT_SERVED_METHODS: dict[str, Route] = {
    method: _not_served(f"/v1beta/models/{{model}}:{method}", "google", hint)
    for method, hint in (
        ("countTokens", "use /v1/messages/count_tokens"),
        ("computeTokens", ""),
        ("embedContent", "use /v1/embeddings"),
        ("batchEmbedContents", "use /v1/embeddings"),
        ("asyncBatchEmbedContent", "use /v1/embeddings"),
        ("batchGenerateContent", ONE_BY_ONE),
        ("bidiGenerateContent", ""),
        ("generateAnswer", ""),
        ("predict", ""),
        ("predictLongRunning", ""),
    )
}
"""Google's, after the colon behind a model."""

UNKNOWN = Route(action=Action.UNKNOWN, name="unknown", is_shared=True)
UNKNOWN_BELOW: dict[str, Dialect] = {"/v1/messages": "anthropic", "/v1beta": "google", "/v1alpha": "google"}
MODEL_PREFIX, GOOGLE_MODEL_PREFIX = "/v1/models/", "/v1beta/models/"


def match(path: str) -> tuple[Route, str]:
    """The route of a path exactly as it was sent (undecoded, without its query), and the id in it, decoded once.

    Only exact text matches: `//livez`, `/livez/`, `/%6civez` and `/livez;x=1` are unknown, and what is unknown needs a key.
    """
    return _known(path) or (_elsewhere(path), "")


def _known(path: str) -> tuple[Route, str] | None:
    route = ROUTES.get(path)
    if route is not None:
        return route, ""
    for prefix, found in ((MODEL_PREFIX, MODEL), (GOOGLE_MODEL_PREFIX, GOOGLE_MODEL)):
        if path.startswith(prefix) and len(path) > len(prefix):
            return _of_model(path[len(prefix) :], found)
    return None


def _of_model(rest: str, route: Route) -> tuple[Route, str]:
    """A model's own page, or a method of Google's on it. A name may have colons of its own."""
    name, colon, method = rest.rpartition(":")
    if colon and name:
        if method in BY_METHOD:
            return BY_METHOD[method], unquote(name)
        if method in NOT_SERVED_METHODS:
            return NOT_SERVED_METHODS[method], ""
    return route, unquote(rest)


def _elsewhere(path: str) -> Route:
    segments = path.split("/", SEGMENTS_MAX + 1)
    for count in range(min(len(segments), SEGMENTS_MAX + 1), 1, -1):
        beginning = "/".join(segments[:count])
        if beginning in NOT_SERVED and segments[-1]:
            return NOT_SERVED[beginning]
        if beginning in UNKNOWN_BELOW:
            return spoken(_unknown(_meant(path)), UNKNOWN_BELOW[beginning])
    return _unknown(_meant(path))


def _meant(path: str) -> str:
    """The path of ours that a client asks for whose base URL has a version too many, none, or a slash at its end, or ""."""
    plain = "/" + "/".join(segment for segment in path.split("/") if segment)
    for candidate in (plain, "/v1" + plain, plain.removeprefix("/v1"), plain.removeprefix("/v1beta")):
        known = _known(candidate)
        if known and known[0].action is not Action.NOT_SERVED and not known[0].public:
            return known[0].name
    return ""


@cache
def _unknown(meant: str) -> Route:
    return replace(UNKNOWN, hint=meant)


@cache
def spoken(route: Route, dialect: Dialect) -> Route:
    """The route, in that dialect. Few: both are ours."""
    return replace(route, dialect=dialect, is_shared=False)
