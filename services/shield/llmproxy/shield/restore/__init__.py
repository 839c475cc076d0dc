"""The way back: puts the originals in place of this request's placeholders, in whole answers and in streamed ones.

A stream says what a whole answer says, piece by piece, so each format of events has a file that knows where its texts are.
"""

from collections.abc import Callable, Mapping

from llmproxy.common.envelope import Api
from llmproxy.shield.restore import chat, completions, gemini, messages, responses
from llmproxy.shield.restore.whole import Restorer, Whole

STREAMS: Mapping[Api, Callable[[Mapping[str, str]], Restorer]] = {
    "chat": chat.Stream,
    "completions": completions.Stream,
    "messages": messages.Stream,
    "responses": responses.Stream,
    "gemini": gemini.Stream,
    # OpenAI's other streams are typed events too.
    "images": responses.Stream,
    "speech": responses.Stream,
    "transcriptions": responses.Stream,
}


def restorer(api: Api, originals: Mapping[str, str], *, stream: bool) -> Restorer:
    """For one answer. An API without streams of its own has whole answers only."""
    return STREAMS.get(api, Whole)(originals) if stream else Whole(originals)
