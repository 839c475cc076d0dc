"""Stand-ins for the embedding model, in a module that its process can import."""

import os
import threading
from pathlib import Path
from typing import Any

from llmproxy.shield.embedding.stage import Question


class Echo:
    """As sure as before; of a text that says so it dies, fails or never has enough."""

    def probability(self, question: Question) -> float:
        if question.text == "die":
            os._exit(1)
        if question.text == "hang":
            threading.Event().wait()
        if question.text == "fail":
            raise RuntimeError
        return question.probability


def echo(_: Path) -> Any:
    return Echo()


def hang(_: Path) -> Any:
    threading.Event().wait()
