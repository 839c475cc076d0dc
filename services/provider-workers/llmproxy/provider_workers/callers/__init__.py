"""The APIs that callers speak besides the canonical one. A new one is one file and one line here."""

from llmproxy.common.envelope import Api
from llmproxy.provider_workers.callers.caller import Caller
from llmproxy.provider_workers.callers.completions import Completions
from llmproxy.provider_workers.callers.gemini import Gemini
from llmproxy.provider_workers.callers.messages import Messages
from llmproxy.provider_workers.callers.responses import Responses

CALLERS: dict[Api, Caller] = {caller.api: caller for caller in (Completions(), Gemini(), Messages(), Responses())}
