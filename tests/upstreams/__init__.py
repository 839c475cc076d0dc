"""Fake vendor servers that judge what they receive by the vendors' own SDK types and answer in their formats.

upstream = Upstream(OPENAI, Behaviour(text="hello"))
async with running(upstream) as url:
    ...
upstream.requests[-1].json
"""

from upstreams.anthropic import ANTHROPIC
from upstreams.google import GOOGLE
from upstreams.ollama import OLLAMA
from upstreams.openai import OPENAI
from upstreams.script import KEY, Behaviour, Recorded, Vendor
from upstreams.server import Upstream, running

VENDORS: dict[str, Vendor] = {vendor.name: vendor for vendor in (OPENAI, ANTHROPIC, GOOGLE, OLLAMA)}

__all__ = [
    "ANTHROPIC",
    "GOOGLE",
    "KEY",
    "OLLAMA",
    "OPENAI",
    "VENDORS",
    "Behaviour",
    "Recorded",
    "Upstream",
    "Vendor",
    "running",
]
