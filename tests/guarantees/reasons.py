"""Why cells do not apply: what an endpoint does not have, whatever the control, and what excuses a control."""

from guarantees.cells import NO_WORDS, Because

from llmproxy.edge.routes.table import GENERATE, STREAM_GENERATE

ABSENT: tuple[Because, ...] = (
    Because(
        apis=("count_tokens", "embeddings", "moderations", "rerank"), modes=("stream",), reason="this API does not stream"
    ),
    Because(
        routes=(GENERATE.name,), modes=("stream",), reason="this path answers whole; streamGenerateContent is the streamed one"
    ),
    Because(
        routes=(STREAM_GENERATE.name,), modes=("whole",), reason="this path always streams; generateContent is the whole one"
    ),
    Because(
        apis=("completions",),
        contents=("tool call", "tool result", "multimodal", "text file"),
        reason="a prompt is text: this API has no tools, no pictures and no files",
    ),
    Because(
        apis=("responses", "messages"), contents=("n>1",), reason="this API gives one answer to a request: it has no `n`"
    ),
    Because(apis=("count_tokens",), contents=("n>1",), reason="nothing is generated, so there is no `n`"),
    Because(
        apis=("embeddings", "images", "speech", "transcriptions"),
        contents=("tool call", "tool result"),
        reason="this API has no tools",
    ),
    Because(apis=("moderations",), contents=("tool call", "tool result"), reason="this API takes inputs, no conversation"),
    Because(apis=("rerank",), contents=("tool call",), reason="nothing is called; the documents are the tool result"),
    Because(apis=("embeddings", "rerank"), contents=("multimodal", "text file"), reason="texts are all that is served here"),
    Because(apis=("images",), contents=("multimodal", "text file"), reason="the prompt is text; pictures as input are not served"),
    Because(apis=("speech",), contents=("multimodal", "text file"), reason="the input is text"),
    Because(apis=("moderations",), contents=("text file",), reason="this API takes texts and pictures, no files"),
    Because(apis=("transcriptions",), contents=("text file",), reason="the only file is the sound, and it is not in base64"),
    Because(
        apis=("embeddings", "moderations", "rerank", "speech", "transcriptions"),
        contents=("n>1",),
        reason="this API gives one answer for each input: it has no `n`",
    ),
)  # fmt: skip

UNWAITING = Because(
    outcomes=("is late",),
    reason="it waits for nothing: it is one synchronous pass, bounded by the size of what it reads",
)
SKIPPED = Because(
    outcomes=("is late",),
    reason="Redis has its own bound, after which the ledger is skipped: it only slows, and what is sent is decided by the guards"
    " all the same (docs/adr/0023)",
)
SAME_GUARD = Because(
    outcomes=("raises", "is late"), reason="it is the same guard as in the row of its own name, which says how it fails"
)
WORDLESS = Because(apis=NO_WORDS, reason="the answer holds no text: numbers, judgements or sound")
RANKED = Because(apis=("rerank",), reason="the answer's only texts are the caller's own documents")
PAINTED = Because(apis=("images",), modes=("stream",), reason="the events of a streamed picture hold no text")
SYSTEMLESS = Because(
    apis=("completions", "transcriptions", "images"), reason="this API has no system text that could be told"
)
IN_ARGUMENTS = Because(
    contents=("tool call",), reason="arguments are data for a program: nobody renders Markdown there"
)
UNSPOKEN = (WORDLESS, RANKED, PAINTED)
ONE_TEXT = Because(
    apis=("chat", "completions", "images", "transcriptions"),
    reason="what an answer, or a choice of it, says is one text in this API",
)
EACH_A_DOCUMENT = Because(
    contents=("tool call",), reason="the arguments of each call are a document of their own: nobody puts them together"
)
THOUGHTLESS = (
    Because(
        apis=("completions", "images", "transcriptions"), reason="this API has no place for what a model has thought"
    ),
    Because(
        contents=("tool call",), reason="what a model thinks before it calls a tool is what it thinks before it speaks"
    ),
)
PARTED = (*UNSPOKEN, ONE_TEXT, EACH_A_DOCUMENT)
