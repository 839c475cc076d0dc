"""The way back: where the texts of an answer stand, in whole answers and in streamed ones, and how one is replaced.

A stream says what a whole answer says, piece by piece, so each format of events has a file that knows where its texts are.
"""

from collections.abc import Callable, Mapping

from llmproxy.common.envelope import Api
from llmproxy.shield.restore import chat, completions, gemini, images, messages, responses
from llmproxy.shield.restore.held import Texts
from llmproxy.shield.restore.whole import Restorer, Whole

STREAMS: Mapping[Api, Callable[[Texts], Restorer]] = {
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

WHOLES: Mapping[Api, Callable[[Texts], Restorer]] = {"chat": chat.Whole, "images": images.Whole}
"""Whole answers of which it is known where their texts stand."""


def restorer(api: Api, texts: Texts, *, stream: bool) -> Restorer:
    """For one answer. An API without streams of its own has whole answers only."""
    return (STREAMS if stream else WHOLES).get(api, Whole)(texts)
