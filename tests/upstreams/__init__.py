"""The fake vendors of `llmproxy.fakes`, with a second judge: the vendors' own SDK types, where there are some.

upstream = Upstream(OPENAI, Behaviour(text="hello"))
async with running(upstream) as url:
    ...
upstream.requests[-1].json
"""

from llmproxy.fakes import server
from llmproxy.fakes.conversation import KEY, Asked, Behaviour, Recorded, Saying
from llmproxy.fakes.families import FAMILIES, MODELS
from llmproxy.fakes.server import running
from llmproxy.fakes.vendor import Vendor
from upstreams.judges import judge

VENDORS: dict[str, Vendor] = {**FAMILIES, "openai-responses": FAMILIES["openai"]}  # One server, two of our providers.
OPENAI, ANTHROPIC, GOOGLE, OLLAMA = (VENDORS[name] for name in ("openai", "anthropic", "google", "ollama"))


class Upstream(server.Upstream):
    """One fake vendor server whose requests the SDK's types judge too."""

    def __init__(self, vendor: Vendor, behaviour: Behaviour | None = None) -> None:
        super().__init__(vendor, behaviour, judge=judge)


def ask(vendor: Vendor, recorded: Recorded, behaviour: Behaviour) -> Asked:
    """What both judges read in a request. Raises Refused."""
    if behaviour.strict_fields:
        judge(vendor, recorded)
    operation = vendor.operation(recorded.method, recorded.path)
    assert operation is not None, f"{vendor.name} has no {recorded.method} {recorded.path}"
    return operation.ask(recorded, behaviour)


__all__ = [
    "ANTHROPIC", "GOOGLE", "KEY", "MODELS", "OLLAMA", "OPENAI", "VENDORS",
    "Asked", "Behaviour", "Recorded", "Saying", "Upstream", "Vendor", "ask", "judge", "running",
]  # fmt: skip
