"""Tables: what stands under the name of a column is what the name says."""

from collections.abc import Iterator

import pytest
from unit.shield.personal_findings import of_kind

from llmproxy.shield.personal import columns

CSV = "last,first,dob,mrn\nExample,Ann,1974-04-16,4719835\nExample,Bob,11/6/1967,2961021\n"


def test_every_row_of_a_column_is_found() -> None:
    assert of_kind(CSV, "date_of_birth") == ["1974-04-16", "11/6/1967"]
    assert of_kind(CSV, "medical_record") == ["4719835", "2961021"]


@pytest.mark.parametrize("mark", [",", "\t", ";", "|"])
@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_whatever_parts_and_quotes_its_cells(mark: str, quote: str) -> None:
    rows = [["id", "phone_number", "passport no"], ["1", "5551234567", "C2ZMX04X1"], ["2", "5559876543", "59012345"]]
    text = "Clean this up:\n" + "\n".join(mark.join(f"{quote}{cell}{quote}" for cell in row) for row in rows)
    assert of_kind(text, "phone") == ["5551234567", "5559876543"]
    assert of_kind(text, "passport") == ["C2ZMX04X1", "59012345"]


def test_a_mark_inside_quotes_parts_nothing() -> None:
    text = 'name,dob\n"Example, Ann",1974-04-16\n"Example, Bob",1967-11-06'
    assert of_kind(text, "date_of_birth") == ["1974-04-16", "1967-11-06"]


def test_a_table_of_markdown() -> None:
    text = "| Name | SSN | Date of birth |\n|---|---|---|\n| Ann | 219099998 | 16 April 1974 |\n| Bob | 078051120 | 6 Nov 1967 |\n"
    assert of_kind(text, "us_ssn") == ["219099998", "078051120"]
    assert of_kind(text, "date_of_birth") == ["16 April 1974", "6 Nov 1967"]


@pytest.mark.parametrize(
    "text",
    [
        "id,created,total\n88213001,1974-04-16,4719835\n",
        "Phones, tablets and laptops\n1234567, 2345678 and 3456789\n",
        "dob,note\nnone,4719835\n",
    ],
)
def test_what_stands_under_another_name_is_left_alone(text: str) -> None:
    assert of_kind(text, "date_of_birth") == []
    assert of_kind(text, "medical_record") == []
    assert of_kind(text, "phone") == []


def test_names_in_every_line_make_no_table_of_tables() -> None:
    text = "dob,dob\n" * 20_000 + "dob,dob\n1974-04-16,x\n"
    assert of_kind(text, "date_of_birth") == ["1974-04-16"]


def test_a_name_of_columns_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """To ask of one whether it is that of any number costs what a row costs, and each line may look like a first one."""
    titles: list[str] = []
    kinds = columns._kinds

    def note(title: str) -> Iterator[columns.Column]:
        titles.append(title)
        return kinds(title)

    monkeypatch.setattr(columns, "_kinds", note)
    of_kind("first,second,cpf no\nthird,fourth\n" * 50 + "born 1/2/1990", "date_of_birth")
    assert titles == ["first", "second", "cpf no"]
