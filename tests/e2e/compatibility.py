"""What the suite found, as a page: rows are provider families, columns what a package can do with them."""

from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/compatibility.md"
YES, CANNOT = "yes", "no"

ABILITIES: dict[str, str] = {
    "chat": "a question and its answer, with its usage",
    "stream": "the same, streamed, with the same text and usage",
    "tools": "two tools called at once, their results sent back, the conversation gone on with; whole and streamed",
    "image": "an image arrives, byte for byte",
    "JSON schema": "the answer fits a schema",
    "reasoning": "asked to think: the thoughts come apart from the answer",
    "long": "an answer of 100,000 characters, whole and streamed",
    "errors": "400, 401, 404, 429, 500 and overload at the provider, in the package's own exceptions",
    "broken": "an error in mid-stream: the package raises, or says that the answer failed, after the text so far",
}

HEAD = f"""\
# Compatibility

Written by `make e2e` (tests/e2e/test_compatibility.py): each cell is one conversation, or several, of the official package,
unmodified, through the running gateway to a fake of that provider (`llmproxy fake-provider`), which refuses what the
provider refuses. The test fails when this page is not what it found.

`{YES}`: it works. `{CANNOT}`: the provider cannot, and the gateway says so with a 400 that names what it cannot.

"""

NOTES = """\
`reasoning` of `openai`, `openai-responses`, `azure` and `perplexity`: chat completions do not show the thoughts there, and
the Responses API shows a summary to a caller who asks for one; where there are none, the cell says that the effort is understood.
"""


@dataclass
class Matrix:
    clients: tuple[str, ...]
    families: tuple[str, ...]
    cells: dict[tuple[str, str, str], str] = field(default_factory=dict)  # (client, family, ability)

    @property
    def is_complete(self) -> bool:
        return len(self.cells) == len(self.clients) * len(self.families) * len(ABILITIES)

    def page(self) -> str:
        abilities = "".join(f"- **{name}**: {what}\n" for name, what in ABILITIES.items())
        tables = "\n".join(f"## `{client}`\n\n{self._table(client)}" for client in self.clients)
        return f"{HEAD}{abilities}\n{tables}\n{NOTES}"

    def _table(self, client: str) -> str:
        rows = [["", *ABILITIES], ["---"] * (len(ABILITIES) + 1)]
        rows += [[family, *(self.cells[client, family, one] for one in ABILITIES)] for family in self.families]
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)
