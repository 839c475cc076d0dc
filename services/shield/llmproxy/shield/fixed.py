"""Texts that nothing can stand for: names to route by, ids, and what a provider has signed (docs/adr/0013)."""

import re
from typing import Any

from msgspec import structs

from llmproxy.common.actions import PASSING, REMOVING
from llmproxy.common.policy import SECRET, Policy
from llmproxy.common.segments import Segment
from llmproxy.common.segments.names import SEALS
from llmproxy.shield.verdict import Block, Flag, Mask

ROUTED_BY = "model"

THINKING = re.compile(r"messages\[(\d+)\]\.(content|thinking_blocks)\[(\d+)\]\.thinking")
"""What a model thought. It is never unmasked on its way to the caller, so it comes back as the provider signed it."""

_STEPS = r"(?:\[\d+\]|\.(?:content|parts|thinking_blocks|tool_calls|extra_content|google|citations|output))*"
FIXED = re.compile(
    r"previous_response_id"
    r"|messages\[\d+\]\.(?:tool_call_id|tool_calls\[\d+\]\.id|content\[\d+\]\.(?:id|tool_use_id|data))"
    r"|input\[\d+\]\.(?:id|call_id)"
    r"|contents\[\d+\]\.parts\[\d+\]\.function_?(?:Call|Response|call|response)\.id"
    rf"|(?:messages|input|contents){_STEPS}\.(?:{'|'.join(sorted(SEALS))})"
)
"""Ids and seals: a provider compares them with its own."""

MACHINE_MADE = re.compile(r"[A-Za-z0-9+/=_.:-]+", re.ASCII)


def settle(seen: Mask, segment: Segment, tree: Any, policy: Policy) -> Mask | Flag | Block:
    """What is to be masked, unless the text is fixed: then it is left and recorded, or the request is refused.

    A number in an id that a machine drew is no personal data, but a credential is never drawn by chance.
    """
    if segment.path == ROUTED_BY:
        return _refused(seen)
    if segment.form != "value":
        return seen
    if is_signed(segment, tree):
        return _left(seen) if policy.signed == "leave" else _refused(seen)
    if FIXED.fullmatch(segment.path):
        is_drawn = MACHINE_MADE.fullmatch(segment.text) and not any(
            finding.kind.startswith(SECRET) for finding in seen.findings
        )
        return _left(seen) if is_drawn else _refused(seen)
    return seen


def is_thinking(segment: Segment) -> bool:
    return THINKING.fullmatch(segment.path) is not None


def is_signed(segment: Segment, tree: Any) -> bool:
    """Whether the text is an assistant's thinking with a signature, which masking would break."""
    place = THINKING.fullmatch(segment.path)
    if place is None:
        return False
    message = tree["messages"][int(place[1])]
    block = message[place[2]][int(place[3])]
    signature = block.get("signature")
    return (
        message.get("role") == "assistant"
        and block.get("type") == "thinking"
        and isinstance(signature, str)
        and MACHINE_MADE.fullmatch(signature) is not None
    )


def _left(seen: Mask) -> Flag:
    return Flag(
        tuple(
            finding if finding.action in PASSING else structs.replace(finding, action="flag")
            for finding in seen.findings
        )
    )


def _refused(seen: Mask) -> Block:
    return Block(
        tuple(structs.replace(finding, action="block") for finding in seen.findings if finding.action in REMOVING)
    )
