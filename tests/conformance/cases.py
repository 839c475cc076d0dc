"""Wire cases: folders of what is sent and answered, and how a provider frames an event."""

import json
from pathlib import Path
from typing import Any

import aws_stream
import pytest


def named(cases: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[f"{case.parent.name}-{case.name}" for case in cases])


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def framed(provider: str, event: bytes) -> bytes:
    """One event of a stream, sound or not, as its provider puts it on the wire."""
    match provider:
        case "ollama":
            return event + b"\n"
        case "bedrock":
            return aws_stream.message("event", "contentBlockDelta", event)
    return b"data: " + event + b"\n\n"
