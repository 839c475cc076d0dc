"""OpenAI's moderations. https://platform.openai.com/docs/api-reference/moderations"""

from llmproxy.provider_workers.natives.passing import Passing


class Moderations(Passing):
    path = "moderations"
