"""Strings that match a regular expression, drawn evenly: a hundredth of what Hypothesis takes for a long token."""

import random
import re
from functools import cache
from re import _constants as op
from re import _parser as parser
from typing import Any

PRINTABLE = [chr(code) for code in range(33, 127)]
SPACES = [" ", "\n"]
LONGEST = 40  # Repeats beyond the least.


def drawn(pattern: re.Pattern[str], chance: random.Random) -> str:
    """A string that the pattern may match whole; what it says about its surroundings is left out."""
    return _sequence(parser.parse(pattern.pattern, pattern.flags), chance, {})


def _sequence(tree: Any, chance: random.Random, groups: dict[int, str]) -> str:
    return "".join(_one(code, value, chance, groups) for code, value in tree)


def _one(code: Any, value: Any, chance: random.Random, groups: dict[int, str]) -> str:
    match code:
        case op.LITERAL:
            return chr(value)
        case op.NOT_LITERAL | op.ANY | op.IN:
            return chance.choice(_members(code, tuple(value) if code is op.IN else value))
        case op.MAX_REPEAT | op.MIN_REPEAT | op.POSSESSIVE_REPEAT:
            least, most, tree = value
            times = chance.randint(least, min(int(most), least + LONGEST))
            return "".join(_sequence(tree, chance, groups) for _ in range(times))
        case op.SUBPATTERN:
            text = _sequence(value[3], chance, groups)
            groups[value[0]] = text
            return text
        case op.GROUPREF:
            return groups.get(value, "")
        case op.ATOMIC_GROUP:
            return _sequence(value, chance, groups)
        case op.BRANCH:
            return _sequence(chance.choice(value[1]), chance, groups)
        case op.ASSERT | op.ASSERT_NOT | op.AT:
            return ""
        case _:
            raise NotImplementedError(code)


@cache
def _members(code: Any, value: Any) -> list[str]:
    if code is op.ANY:
        return PRINTABLE
    if code is op.NOT_LITERAL:
        return [one for one in PRINTABLE if one != chr(value)]
    is_negated = value[0][0] is op.NEGATE
    beyond = [chr(item) for kind, item in value if kind is op.LITERAL and item > ord("~")]
    kept = [
        one
        for one in [*PRINTABLE, *SPACES, *beyond]
        if any(_is_in(one, *item) for item in value[is_negated:]) != is_negated
    ]
    return [one for one in kept if one not in SPACES] or kept


def _is_in(one: str, code: Any, value: Any) -> bool:
    match code:
        case op.LITERAL:
            return ord(one) == value
        case op.RANGE:
            return bool(value[0] <= ord(one) <= value[1])
        case op.CATEGORY:
            is_member = {"DIGIT": str.isdigit, "WORD": lambda c: c.isalnum() or c == "_", "SPACE": str.isspace}[
                value.name.split("_")[-1]
            ](one)
            return bool(is_member) != ("_NOT_" in value.name)
    raise NotImplementedError(code)
