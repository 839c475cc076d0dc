"""Brazil."""

from llmproxy.shield.ids.form import digits_of, number, weighted


def is_cpf(text: str) -> bool:
    """https://www.gov.br/receitafederal: two digits, each modulus 11 of all before it. One digit again and again is none."""
    numbers = digits_of(text)
    first = weighted(numbers[:9], (10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    second = weighted(numbers[:10], (11, 10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    return [first, second] == numbers[9:] and len(set(numbers)) > 1


NUMBERS = (
    number("br_cpf", r"\d{3}\.\d{3}\.\d{3}-\d\d", is_cpf, digits_min=11),
    number("br_cpf", r"\d{3}[ .]?\d{3}[ .]?\d{3}[ -]?\d\d", is_cpf, words="cpf", digits_min=11),
)
