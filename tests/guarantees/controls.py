"""The table of the guarantees: what each control promises, where it does not apply and why, and what is still missing.

Pure data and what follows from it. The suite (`test_guarantees.py`), the page (`docs/guarantees.md`) and the test that nothing
was forgotten (`tests/architecture/test_guarantees_complete.py`) are all made from here. A cell for which nothing is said here is
promised, and so is a test: docs/adr/0025.
"""

from collections.abc import Iterator

from guarantees.cells import CALLS, CONTENTS, MODES, OUTCOMES, Because, Cell, Control
from guarantees.reasons import (
    ABSENT,
    IN_ARGUMENTS,
    PAINTED,
    PARTED,
    RANKED,
    SAME_GUARD,
    SKIPPED,
    SYSTEMLESS,
    THOUGHTLESS,
    UNSPOKEN,
    UNWAITING,
    WORDLESS,
)

REFUSED = "503 `guard_unavailable`; nothing reaches a provider"
ENDED = "the answer ends with `guard_unavailable`, and nothing says that it is whole"

CONTROLS: tuple[Control, ...] = (
    # Ring 1, in the edge.
    Control(
        name="authentication",
        step="authentication",
        promise="without a good key: 401 in the caller's dialect; nothing reaches a provider",
        failure=REFUSED,
    ),
    Control(
        name="route",
        step="route",
        promise="a path that is not exactly a route is refused after authentication; nothing reaches a provider",
        failure=REFUSED,
    ),
    Control(
        name="limits",
        step="limits",
        promise="the request over the limit of its key: 429; only the first one reaches a provider",
        failure="raises: as every step; late: Redis has its own bound, after which `limits.when_redis_fails: closed` is 503"
        " `limits_unavailable`",
    ),
    Control(
        name="threat ledger",
        step="limits",
        promise="a caller whom the ledger has locked: 403; its neighbour's request reaches its provider",
        failure="raises: as every step; late: the ledger is skipped, for it only slows, and what is sent is still decided by the guards",
        absent=(SKIPPED,),
    ),
    Control(
        name="body",
        step="body",
        promise="a body above `gateway.max_body_bytes`: 413; nothing reaches a provider",
        failure="raises: as every step; late: a body that stops arriving is 408",
    ),
    Control(
        name="firewall",
        step="firewall",
        promise="an attack that a signature knows: 400 `content_blocked`; nothing reaches a provider",
        failure=REFUSED,
        absent=(
            Because(
                outcomes=("is late",),
                reason="it is bounded by budgets of words, trials and decoded bytes instead of time (docs/adr/0011); between two"
                " slices of a large body the loop runs",
            ),
        ),
    ),
    Control(
        name="validation",
        step="validation",
        promise="a model that nobody serves: 404 in the caller's dialect; nothing reaches a provider",
        failure=REFUSED,
    ),
    Control(
        name="end users",
        step="end-users",
        promise="with `threats.end_users: trusted`: the end user whom the ledger has locked gets 403; others of the same key do not",
        failure="raises: as every step; late: as the threat ledger",
        absent=(
            SKIPPED,
            Because(
                apis=("count_tokens", "gemini", "moderations", "rerank", "speech", "transcriptions"),
                reason="this API has no field that names an end user",
            ),
        ),
    ),
    # Ring 2, in the shield.
    Control(
        name="parsing",
        promise="a key that is there twice, beside the text: 400; what a guard reads is what a provider would",
        failure="it is no step that could fail by itself: what is not understood is refused",
        absent=(
            Because(apis=("transcriptions",), reason="a form: the edge makes the JSON itself, each key once"),
            Because(outcomes=("raises", "is late"), reason="not a step: what cannot be decoded is refused by name"),
        ),
    ),
    Control(
        name="token ids",
        promise="a text that comes as the numbers of its tokens: 400 `content_blocked`; nothing reaches a provider",
        failure="it is no step that could fail by itself",
        absent=(
            Because(
                apis=(
                    "chat",
                    "responses",
                    "messages",
                    "count_tokens",
                    "gemini",
                    "moderations",
                    "rerank",
                    "images",
                    "speech",
                    "transcriptions",
                ),
                reason="this API takes no token ids",
            ),
            Because(
                contents=("tool call", "tool result", "multimodal", "text file"),
                reason="token ids stand in place of the prompt alone",
            ),
            Because(outcomes=("raises", "is late"), reason="not a step: one look at the type of a field"),
        ),
    ),
    Control(
        name="secrets",
        step="secrets",
        guard="secrets",
        promise="a credential never reaches a provider: a placeholder does",
        failure=REFUSED,
    ),
    Control(
        name="pii",
        step="pii",
        guard="pii",
        promise="an e-mail address never reaches a provider: a placeholder does",
        failure=REFUSED,
    ),
    Control(
        name="secrets: encoded",
        step="secrets",
        guard="secrets",
        promise="a credential in base64 never reaches a provider: a placeholder for all of the base64 does",
        failure=REFUSED,
        absent=(SAME_GUARD,),
    ),
    Control(
        name="pii: encoded",
        step="pii",
        guard="pii",
        promise="a percent-encoded e-mail address never reaches a provider: a placeholder does",
        failure=REFUSED,
        absent=(SAME_GUARD,),
    ),
    Control(
        name="presidio",
        step="presidio",
        guard="presidio",
        promise="what an operator's own recognizer knows never reaches a provider",
        failure=REFUSED,
    ),
    Control(
        name="rules",
        step="rules",
        guard="rules",
        promise="what an operator's rule rejects: 400 `content_blocked`; nothing reaches a provider",
        failure=REFUSED,
    ),
    Control(
        name="topics",
        step="topics",
        guard="topics",
        promise="a word of a topic that is rejected: 400 `content_blocked`; nothing reaches a provider",
        failure=REFUSED,
    ),
    Control(
        name="links",
        step="links",
        guard="links",
        promise="a link to a domain that is denied: 400 `content_blocked`; nothing reaches a provider",
        failure=REFUSED,
    ),
    Control(
        name="language",
        step="language",
        guard="language",
        promise="a text in a language that is rejected: 400 `content_blocked`; nothing reaches a provider",
        failure=REFUSED,
    ),
    Control(
        name="injection",
        step="injection",
        guard="injection",
        promise="a plain attack, mode `block`: 400 `content_blocked`; nothing reaches a provider",
        failure=REFUSED,
    ),
    Control(
        name="judge",
        promise="a text of which the guard is not sure and the judge is: 400 `content_blocked`; nothing reaches a provider",
        failure="with `on_failure: block`: 503 `guard_unavailable`; nothing reaches a provider",
    ),
    Control(
        name="parts",
        step="parts",
        promise="a credential and an e-mail address that are split over several parts of one message never reach a provider:"
        " a placeholder does, and in an answer it is the whole value again",
        failure=REFUSED,
        absent=(
            UNWAITING,
            Because(
                apis=("completions", "embeddings", "rerank", "images", "speech", "transcriptions"),
                reason="a text of this API has no parts",
            ),
            Because(
                contents=("tool call", "text file"),
                reason="the arguments of a call and a file are each one text",
            ),
            Because(
                apis=("gemini",),
                contents=("tool result",),
                reason="what a function returned is one document here, whose fields are texts of their own",
            ),
        ),
    ),
    Control(
        name="trajectory",
        step="injection.trajectory",
        promise="three turns of a conversation, none an attack by itself, that are one together: 400 `content_blocked`",
        failure=REFUSED,
        absent=(
            UNWAITING,
            Because(
                apis=("completions", "embeddings", "moderations", "rerank", "images", "speech", "transcriptions"),
                reason="this API has no turns",
            ),
            Because(
                contents=("tool call", "tool result"),
                reason="the turns of the user are what is judged together; what a tool is told or returns is judged by itself",
            ),
        ),
    ),
    Control(
        name="trajectory by id",
        promise="the same, of turns of which each request says one and names the answer before it: 400 `content_blocked`",
        failure="what is remembered of the turns before cannot be asked: 503 `guard_unavailable`; the turn reaches no provider",
        absent=(
            Because(
                apis=tuple({route.api: None for route in CALLS.values() if route.api != "responses"}),
                reason="a request of this API says all of its conversation, or has none",
            ),
            Because(
                contents=("tool call", "tool result"),
                reason="the turns of the user are what is judged together; what a tool is told or returns is judged by itself",
            ),
        ),
    ),
    Control(
        name="mask",
        step="mask",
        promise="what any guard found is taken out at its place, and nothing else of the text is changed",
        failure=REFUSED,
        absent=(UNWAITING,),
    ),
    Control(
        name="canary",
        step="canary",
        promise="with `policy.answers.canary`: the provider gets a marker in the system text",
        failure=REFUSED,
        absent=(
            UNWAITING,
            Because(
                apis=(
                    "completions",
                    "embeddings",
                    "moderations",
                    "rerank",
                    "images",
                    "transcriptions",
                ),
                reason="this API has no system text that could carry one",
            ),
            Because(apis=("speech",), reason="`instructions` say how to speak, and nobody answers with words"),
        ),
    ),
    # Ring 3, in the router.
    Control(
        name="resolve",
        step="resolve",
        promise="the endpoint that has the model gets the request, under the model's name, and no other",
        failure=REFUSED,
    ),
    Control(
        name="order",
        step="order",
        promise="an endpoint whose circuit is open gets nothing; the next one does",
        failure=REFUSED,
    ),
    Control(
        name="attempts",
        step="attempts",
        promise="an endpoint that fails before its first byte is followed by the next one; the caller sees one answer",
        failure=REFUSED,
    ),
    # Ring 4, on the way back through the shield.
    Control(
        name="unmasking",
        step="answer",
        promise="what was masked comes back as it was, streamed in pieces of three characters too, in every choice",
        failure=ENDED,
        absent=(
            WORDLESS,
            PAINTED,
            UNWAITING,
            Because(apis=("rerank",), contents=("text",), reason="the query is told to nobody"),
        ),
    ),
    Control(
        name="answers: secrets",
        step="answer",
        guard="secrets",
        setting="kinds",
        promise="a credential that the request did not hold is taken out of the answer; with `block` the answer ends with an error",
        failure=ENDED,
        absent=UNSPOKEN,
    ),
    Control(
        name="answers: thoughts",
        step="answer",
        guard="secrets",
        setting="kinds",
        promise="a credential that the model only thinks is taken out of its thoughts, or recorded where they are signed; with `block` the answer ends with an error",
        failure=ENDED,
        absent=(*UNSPOKEN, *THOUGHTLESS),
    ),
    Control(
        name="answers: pii",
        step="answer",
        guard="pii",
        setting="kinds",
        promise="an address that the request did not hold is recorded; with `block` the answer ends with an error",
        failure=ENDED,
        absent=UNSPOKEN,
    ),
    Control(
        name="answers: injection",
        step="answer",
        guard="injection",
        setting="injection",
        promise="an attack in the answer, mode `block`: the answer ends with an error",
        failure=ENDED,
        absent=UNSPOKEN,
    ),
    Control(
        name="answers: rules",
        step="answer",
        guard="rules",
        promise="what an operator's rule replaces is replaced in the answer; with `reject` the answer ends with an error",
        failure=ENDED,
        absent=UNSPOKEN,
    ),
    Control(
        name="answers: topics",
        step="answer",
        guard="topics",
        promise="a word of a topic that is replaced is replaced in the answer; with `reject` the answer ends with an error",
        failure=ENDED,
        absent=UNSPOKEN,
    ),
    Control(
        name="answers: denied links",
        step="answer",
        guard="links",
        promise="a link to a domain that is denied is taken out of the answer; with `reject` the answer ends with an error",
        failure=ENDED,
        absent=UNSPOKEN,
    ),
    Control(
        name="answers: language",
        step="answer",
        guard="language",
        promise="an answer in another language is recorded; with `reject` the answer ends with an error",
        failure=ENDED,
        absent=UNSPOKEN,
    ),
    Control(
        name="answers: invisible text",
        step="answer",
        setting="invisible",
        promise="text that nobody sees is taken out; with `block` the answer ends with an error",
        failure=ENDED,
        absent=(*UNSPOKEN, UNWAITING),
    ),
    Control(
        name="answers: images",
        step="answer",
        setting="links.images",
        promise="a picture from a stranger's host with a payload is taken out; with `block` the answer ends with an error",
        failure=ENDED,
        absent=(*UNSPOKEN, UNWAITING, IN_ARGUMENTS),
    ),
    Control(
        name="answers: markup",
        step="answer",
        setting="links.images",
        promise="a tag that runs a script, or a style that loads from a stranger's host, is taken out; with `block` the answer ends with an error",
        failure=ENDED,
        absent=(*UNSPOKEN, UNWAITING, IN_ARGUMENTS),
    ),
    Control(
        name="answers: scripts",
        step="answer",
        setting="links.images",
        promise="what could send something is taken out of the text of a script; with `block` the answer ends with an error",
        failure=ENDED,
        absent=(*UNSPOKEN, UNWAITING, IN_ARGUMENTS),
    ),
    Control(
        name="answers: links",
        step="answer",
        setting="links.others",
        promise="a link that runs a script is recorded; with `block` the answer ends with an error",
        failure=ENDED,
        absent=(*UNSPOKEN, UNWAITING),
    ),
    Control(
        name="answers: secrets in parts",
        step="answer",
        guard="secrets",
        setting="kinds",
        promise="a credential that is split over several texts of one answer never comes through as a whole; with `block` the answer ends with an error",
        failure=ENDED,
        absent=PARTED,
    ),
    Control(
        name="answers: images in parts",
        step="answer",
        setting="links.images",
        promise="a picture from a stranger's host whose address is split over several texts of one answer is broken off; with `block` the answer ends with an error",
        failure=ENDED,
        absent=(*PARTED, UNWAITING),
    ),
    Control(
        name="answers: scripts in parts",
        step="answer",
        setting="links.images",
        promise="a script that is split over several texts of one answer loses what could send something; with `block` the answer ends with an error",
        failure=ENDED,
        absent=(*PARTED, UNWAITING),
    ),
    Control(
        name="answers: links in parts",
        step="answer",
        setting="links.others",
        promise="a link that runs a script, split over several texts of one answer, is recorded; with `block` the answer ends with an error",
        failure=ENDED,
        absent=(*PARTED, UNWAITING),
    ),
    Control(
        name="answers: leak",
        step="answer",
        setting="leak",
        promise="a passage of the request's system text is recorded; with `block` the answer ends with an error",
        failure=ENDED,
        absent=(WORDLESS, RANKED, SYSTEMLESS, UNWAITING),
    ),
    Control(
        name="answers: canary",
        step="answer",
        setting="canary",
        promise="the marker of the system text ends the answer with an error",
        failure=ENDED,
        absent=(WORDLESS, RANKED, SYSTEMLESS, UNWAITING),
    ),
    Control(
        name="answers: repetition",
        step="answer",
        setting="repetition",
        promise="the same over and over is recorded; with `block` the answer ends with an error",
        failure=ENDED,
        absent=(*UNSPOKEN, UNWAITING),
    ),
    Control(
        name="answers: entropy",
        step="answer",
        setting="entropy",
        promise="long random text that nobody asked for, and that is no part of code, is recorded; with `block` the answer ends with an error",
        failure=ENDED,
        absent=(*UNSPOKEN, UNWAITING),
    ),
    # Beside the rings.
    Control(
        name="audit",
        promise="exactly one record of each request, answered or blocked, before the answer's end leaves; none holds the text",
        failure="no answer without its record: 503 `audit_unavailable`, or a stream that ends with an error",
    ),
)

BY_NAME = {control.name: control for control in CONTROLS}
SETTINGS_OF_NO_CONTROL = {
    "when": "says which answers are read, for all of them",
    "links.allowed": "an exception to links",
    "links.denied": "an addition to links",
}
"""Of `policy.answers`: what is no control by itself, and why."""
AREAS: dict[str, str] = {
    "kinds": "secrets, pii, presidio, mask",
    "injection.mode": "injection",
    **dict.fromkeys(
        ("injection.user", "injection.assistant", "injection.tool", "injection.system", "injection.parameter"),
        "injection",
    ),
    "injection.trajectory": "trajectory, trajectory by id",
    "injection.judge": "judge",
    "injection.embedding": "none: without a model, which is not shipped, nothing is asked (docs/adr/0028, tests/unit/shield/test_embedding_weighs.py)",
    "answers": "a row for each of its settings",
    "pii": "presidio",
    "rails": "rules, topics, links, language",
    "unreadable": "token ids",
    "signed": "none: what a provider signed is left as it is (docs/adr/0013, tests/attacks/test_shield_hiding_places.py)",
    "guard_timeout_ms": "is late, of every guard",
    "overrides": "every row has its settings by one",
}
"""Each field of `policy`: the rows that are about it."""
GUARDS_OF_NO_ANSWERS = {
    "presidio": "answers are read in the loop, where a guard with a process of its own may not look (docs/adr/0020)"
}


def cells(control: Control) -> Iterator[Cell]:
    """All of them, whether they apply or not."""
    for route in CALLS:
        for mode in MODES:
            for content in CONTENTS:
                for outcome in OUTCOMES:
                    yield Cell(control.name, route, mode, content, outcome)


def why_not(cell: Cell) -> Because | None:
    """Why the cell does not apply; the endpoint's reason before the control's."""
    return next((one for one in (*ABSENT, *BY_NAME[cell.control].absent) if one.covers(cell)), None)


def lacks(cell: Cell) -> Because | None:
    """What is missing in the product, of a cell that does apply."""
    return next((one for one in BY_NAME[cell.control].missing if one.covers(cell)), None)


def promised() -> list[Cell]:
    """The cells that are tested; those of which something is missing are expected to fail."""
    return [cell for control in CONTROLS for cell in cells(control) if why_not(cell) is None]
