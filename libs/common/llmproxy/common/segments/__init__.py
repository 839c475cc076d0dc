"""Every text of a request body, with its place: what guards read, and where what they find is replaced.

The default is to read, whatever the API: an unknown field, an object key or a long number is a segment like a message is,
so nothing is a hiding place. Only `blobs`, long base64 where an API has pictures, sounds, files and seals, are not text.
Two passes keep that cheap. `decode` and `texts` cost microseconds and are enough for a body in which no guard sees
anything; `segments` is the exact scan that knows paths and spans, for the bodies in which one might.
"""

from llmproxy.common.segments.decoding import decode
from llmproxy.common.segments.exact import DEPTH_MAX, segments
from llmproxy.common.segments.names import ROOT_ROLES
from llmproxy.common.segments.places import join, shown
from llmproxy.common.segments.quick import Filled, Turns, named, plain_turns, texts, token_ids
from llmproxy.common.segments.repeats import is_ambiguous
from llmproxy.common.segments.rewrite import Rewrite
from llmproxy.common.segments.segment import TEXT_CHARS_MIN, Segment, beside
from llmproxy.common.segments.whose import Role, roles

__all__ = [
    "DEPTH_MAX",
    "ROOT_ROLES",
    "TEXT_CHARS_MIN",
    "Filled",
    "Rewrite",
    "Role",
    "Segment",
    "Turns",
    "beside",
    "decode",
    "is_ambiguous",
    "join",
    "named",
    "plain_turns",
    "roles",
    "segments",
    "shown",
    "texts",
    "token_ids",
]
