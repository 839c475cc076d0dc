"""Identity numbers by country. A new country is a file with `NUMBERS`, and one line here."""

from llmproxy.shield.ids import asia, au, br, ca, eu, in_, members, ru, uk, us
from llmproxy.shield.ids.form import Number

NUMBERS: tuple[Number, ...] = (
    *us.NUMBERS,
    *uk.NUMBERS,
    *eu.NUMBERS,
    *members.NUMBERS,
    *ca.NUMBERS,
    *au.NUMBERS,
    *in_.NUMBERS,
    *br.NUMBERS,
    *asia.NUMBERS,
    *ru.NUMBERS,
)
