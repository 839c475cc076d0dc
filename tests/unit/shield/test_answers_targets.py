"""Links that say where they lead in other signs than a browser reads: each is judged as it leads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from llmproxy.common.answers import Answers, Links
from llmproxy.common.policy import Policy
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.answers.targets import may_lead, targets
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.links import image_reason, link_reason
from llmproxy.shield.window import Originals


def counts(text: str) -> dict[str, int]:
    guards = Guards(GUARDS, structs.replace(Policy(), answers=Answers()))
    reading = Reading(guards, Asked(), Originals({}), clock=lambda: 0.0)
    assert reading.text(text) == text
    return reading.findings.counts


@pytest.mark.parametrize(
    "link",
    [
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        r"[x](javascript\:alert(1))",
        "[x](javascript&colon;alert(1))",
        "[x](java&#115;cript:alert(1))",
        "[x](&#x6a;avascript:alert(1))",
        "[x](java&Tab;script:alert(1))",
        "[x](java&NewLine;script:alert(1))",
        "[x](<javascript:alert(1)>)",
        "[x][a]\n\n[a]: javascript:alert(1)",
        "[x][a]\n\n[a]: <javascript:alert(1)> 'title'\n",
        "[x][a]\n\n  [a]:\n javascript\\:alert(1)",
        "<javascript:alert(1)>",
        "<a href='javascript:alert(1)'>x</a>",
        "<a HreF = 'javascript&#58;alert(1)'>x</a>",
        "<a href='\x01 java\tscript\n:alert(1)'>x</a>",
        "<a href=javascript:alert(1)>x</a>",
        "<form action='javascript:alert(1)'>",
        "<button formaction=javascript:alert(1)>",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](vbscript:msgbox)",
    ],
)
def test_a_link_that_runs_a_script_is_found_however_it_is_written(link: str) -> None:
    assert counts(f"See {link} ok\n" if not link.startswith("[x][") else f"See {link}\n") == {"answer.link.script": 1}


@pytest.mark.parametrize("colon", [":", r"\:", "&colon;", "&#58;"])
def test_a_link_that_carries_something_away_is_found_however_it_is_written(colon: str) -> None:
    assert counts(f"See [x](https{colon}//evil.test/{'Zx8Qw3Lm9Rt2Vb6N' * 6}) ok") == {"answer.link.payload": 1}


@pytest.mark.parametrize("url", ["https://evil&#46;test/a", "https://evil&period;test/a", r"https://evil\.test/a"])
def test_a_link_to_a_denied_domain_is_found_however_it_is_written(url: str) -> None:
    assert link_reason(url, Links(denied=("evil.test",)), lambda _: False) == "denied"


@pytest.mark.parametrize(
    "url", [r"https\://evil.test/p?d=x", r"https:\/\/evil.test\/p\?d=x", r"https://evil.test/p\?d=x"]
)
def test_an_image_whose_address_has_escapes_is_judged_without_them(url: str) -> None:
    assert image_reason(url, Links(), lambda _: False) == "query"


@pytest.mark.parametrize(
    "text",
    [
        "[docs](/guide/start) and [more](#part) and [chat](irc:rooms)",
        "[docs](https://docs.test/guide?a=1&amp;b=2)",
        "List<String> names; std::vector<std::string> v; x[0]: data: none",
        'rows["data"]: data: the numbers of the year',
        "[summary]: data: the numbers of the year",
        "if (a[i](b)) { action = next; href = '/home'; }",
        "a [note]: see below\n[1]: /relative/path 'A title'\n",
        "<https://docs.test/> and <urn:a:b>",
        "```html\n<a href='javascript:alert(1)'>\n```",
        "1. So:\n   ```html\n   <a href='javascript:alert(1)'>\n   ```\n",
        "```html\n" + "".join(f"<p>{n * n}</p>\n" for n in range(400)) + "<a href='javascript:alert(1)'>\n```",
    ],
)
def test_ordinary_links_code_and_prose_are_left_alone(text: str) -> None:
    assert counts(text) == {}


@pytest.mark.parametrize("before", ["```code``` and ", "```\na\n```x\n```\n", "~~~\n```\n~~~\n", "*   ```\n\n", "]("])
def test_what_only_looks_like_the_beginning_of_code_hides_no_link(before: str) -> None:
    assert counts(f"{before}[x](javascript:alert(1))") == {"answer.link.script": 1}


@pytest.mark.parametrize("before", ["> ", "- ", "1. ", "> * "])
def test_a_definition_in_a_quotation_or_a_list_leads_somewhere_too(before: str) -> None:
    assert counts(f"[x]\n\n{before}[x]: javascript:alert(1)\n") == {"answer.link.script": 1}


@given(st.lists(st.sampled_from(["[x](", "[a]:", "<a ", "href=", "javascript", ":", "\\", "&colon;", "alert", ")", ">", "'", '"', " ", "\n", "/", "data:", "x"]), max_size=16).map("".join))  # fmt: skip
def test_the_quick_look_misses_no_target(text: str) -> None:
    assert may_lead(text) or not list(targets(text))
