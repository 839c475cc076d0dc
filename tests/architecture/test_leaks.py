"""What could leak or be injected, found in the source: SQL from text, prompts and keys in logs and exceptions."""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from architecture.source_tree import ROOT, all_modules, at, distribution_of, is_built, literal_text, nodes

SQL = re.compile(
    r"\s*(SELECT\s|INSERT INTO|UPDATE\s+\S*\s*SET|DELETE FROM|(CREATE|ALTER|DROP) (TABLE|INDEX|ROLE|SCHEMA)|TRUNCATE\s|WITH \w+ AS)"
)
ALLOWED_SQL = {
    # (distribution, file): why parameters are not possible, and why the text is safe.
    (
        "launcher",
        "postgres.py",
    ): "single-user mode takes none; names are constants, the password is base64url of our own",
}
SQL_METHODS = {"execute", "executemany", "fetch", "fetchrow", "fetchval", "cursor", "prepare"}

LOGGERS = {"log", "logger", "logging"}
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
SENSITIVE = {
    "answer_text", "api_key", "argument", "arguments", "authorization", "body", "chat", "content", "contents", "cookie",
    "credential", "credentials", "data", "delta", "envelope", "headers", "input", "key", "line", "match", "messages",
    "original", "output", "password", "passwords", "payload", "placeholder", "prompt", "raw", "request", "response",
    "secret", "secrets", "segment", "segments", "text", "texts", "token", "tokens", "value",
}  # fmt: skip
EXCEPTIONS_THEMSELVES = {"error", "exc", "exception", "err"}

HARMLESS_CALLS = {
    # Functions whose result cannot carry what they are given.
    "len": "a count",
    "type": "a class",
    "isinstance": "a fact",
    "bool": "a fact",
    "place": "file and line of a traceback's end",
    "_position": "the number of a byte",
}
ALLOWED_IN_LOGS = {
    # (distribution, file, name): why it cannot carry a prompt or a credential.
    ("edge", "identity.py", "text"): "an entry of gateway.trusted_proxies",
    ("admin", "configuration.py", "text"): "a ConfigError's words and a revision",
}
ALLOWED_IN_EXCEPTIONS = {
    # (distribution, name): why it cannot carry a prompt or a credential.
    ("common", "key"): "a bucket's key: `current`, or a SHA-256",
    ("launcher", "data"): "the path of the data folder",
}

BROAD = {
    # (distribution, file): why everything may be caught there.
    ("common", "bus.py"): "answers the caller for a handler that has a bug",
    ("common", "host.py"): "runs the steps of a ring, which are foreign code",
    ("common", "runtime.py"): "the last thing before the process ends",
    (
        "edge",
        "server.py",
    ): "in place of aiohttp's own: a bug in one request is said to its client, as a 500 without its words",
    ("edge", "journal.py"): "records that cannot be written are told apart from those behind them",
    ("shield", "chain.py"): "a guard that raises is a guard that blocks",
    ("admin", "app.py"): "answers the operator for a handler that has a bug",
}


def sensitive_names(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Names whose value would be written; what is only counted or typed is not."""
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id in HARMLESS_CALLS:
            return
        for child in (*node.args, *(keyword.value for keyword in node.keywords)):
            yield from sensitive_names(child)
        if isinstance(node.func, ast.Attribute):  # text.strip(), body.decode()
            yield from sensitive_names(node.func.value)
        return
    if isinstance(node, ast.Attribute):
        yield node.attr, node
        return
    if isinstance(node, ast.Name):
        yield node.id, node
        return
    if isinstance(node, ast.Subscript):  # tokens[place] writes an element of tokens; the index is not written.
        yield from sensitive_names(node.value)
        return
    if isinstance(node, ast.Compare | ast.Constant):
        return
    for child in ast.iter_child_nodes(node):
        yield from sensitive_names(child)


def log_calls(nodes: Iterable[ast.AST]) -> Iterator[ast.Call]:
    for node in nodes:
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LOG_METHODS
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in LOGGERS
        ):
            yield node


def test_sql_is_never_put_together_from_text() -> None:
    built = [
        at(path, node)
        for path in all_modules()
        for node in nodes(path)
        if is_built(node) and SQL.match(literal_text(node)) and (distribution_of(path), path.name) not in ALLOWED_SQL
    ]
    passed = [
        at(path, node)
        for path in all_modules()
        for node in nodes(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in SQL_METHODS
        and node.args
        and is_built(node.args[0])
    ]
    assert not built + passed, (
        f"{sorted({*built, *passed})}: SQL stands in .sql files and takes parameters as $1; text put into it is how rows "
        "of other tenants get out."
    )


def test_no_log_line_is_given_a_prompt_or_a_key() -> None:
    leaks = [
        f"{at(path, call)} logs {name!r}"
        for path in all_modules()
        for call in log_calls(nodes(path))
        for argument in (*call.args, *(keyword.value for keyword in call.keywords))
        for name, _ in sensitive_names(argument)
        if name in SENSITIVE and (distribution_of(path), path.name, name) not in ALLOWED_IN_LOGS
    ]
    assert not leaks, (
        f"{leaks}: logs are read by people who may not read prompts, and shipped to places nobody audits. Log a kind, a "
        "count, an id or a code instead."
    )


def test_no_log_line_is_given_the_words_of_an_exception() -> None:
    leaks = [
        f"{at(path, call)} logs {name!r}"
        for path in all_modules()
        for call in log_calls(nodes(path))
        for argument in call.args[1:]
        for name, node in sensitive_names(argument)
        if isinstance(node, ast.Name) and name in EXCEPTIONS_THEMSELVES and not is_one_of_ours(path, call, name)
    ]
    assert not leaks, (
        f"{leaks}: a library's exception may quote what it choked on. Log type(error).__name__, or the .message of a "
        "GatewayError, which is safe by contract."
    )


def is_one_of_ours(path: Path, call: ast.Call, name: str) -> bool:
    """Whether the exception is of a class defined here: the rule below keeps payload out of what those say."""
    for node in nodes(path):
        if (
            isinstance(node, ast.ExceptHandler)
            and node.name == name
            and any(inner is call for inner in ast.walk(node))
            and node.type is not None
        ):
            return {one.id for one in ast.walk(node.type) if isinstance(one, ast.Name)} <= our_classes()
    return False


@cache
def our_classes() -> frozenset[str]:
    return frozenset(node.name for path in all_modules() for node in nodes(path) if isinstance(node, ast.ClassDef))


def test_no_traceback_is_logged() -> None:
    traced = [
        at(path, call)
        for path in all_modules()
        for call in log_calls(nodes(path))
        if (isinstance(call.func, ast.Attribute) and call.func.attr == "exception")
        or any(keyword.arg in ("exc_info", "stack_info") for keyword in call.keywords)
    ]
    assert not traced, f"{traced}: a traceback ends with the exception's own words, which may quote a prompt."


def test_no_exception_quotes_a_prompt_or_a_key() -> None:
    leaks = [
        f"{at(path, node)} quotes {name!r}"
        for path in all_modules()
        for node in nodes(path)
        if isinstance(node, ast.Raise) and node.exc is not None
        for part in ast.walk(node.exc)
        if isinstance(part, ast.FormattedValue)
        for name, _ in sensitive_names(part.value)
        if name in SENSITIVE and (distribution_of(path), name) not in ALLOWED_IN_EXCEPTIONS
    ]
    assert not leaks, (
        f"{leaks}: an exception's message ends up in an answer, a log or an event. Name the thing and the fix, never "
        "the payload. If it cannot be one, give it a name that says what it is, or a reason in ALLOWED_IN_EXCEPTIONS."
    )


def test_everything_is_caught_only_where_foreign_code_runs() -> None:
    broad = [
        at(path, node)
        for path in all_modules()
        if (distribution_of(path), path.name) not in BROAD
        for node in nodes(path)
        if isinstance(node, ast.ExceptHandler)
        and not cleans_up(node)
        and (
            node.type is None
            or any(
                isinstance(one, ast.Name) and one.id in ("Exception", "BaseException") for one in ast.walk(node.type)
            )
        )
    ]
    assert not broad, (
        f"{broad}: catching everything hides bugs; a bug belongs to the bus, which answers, counts and logs it."
    )


def cleans_up(handler: ast.ExceptHandler) -> bool:
    """Puts something back and raises again: nothing is hidden."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_nothing_reads_the_environment_but_the_rim() -> None:
    rim = {"__main__.py", "runtime.py"}
    readers = [
        at(path, node)
        for path in all_modules()
        if path.name not in rim and "launcher" not in path.parts
        for node in nodes(path)
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv")
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]
    assert not readers, (
        f"{readers}: settings enter in one place, typed; a variable read elsewhere is a setting nobody can list."
    )


def test_the_rules_see_the_source() -> None:
    assert len(all_modules()) > 40, (
        f"only {len(all_modules())} modules found under {ROOT}; the other tests would pass on nothing."
    )
    assert sum(1 for path in all_modules() for _ in log_calls(nodes(path))) > 5, (
        "no log call was found; did the loggers' name change?"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "log.info('%s', segment.text)",
        "log.info('%s', body.decode())",
        "log.warning(f'{key}')",
        "log.error('%s', messages[0])",
        "log.debug('%r', {'a': api_key})",
    ],
)
def test_a_leak_in_a_log_line_would_be_seen(statement: str) -> None:
    (call,) = log_calls(ast.walk(ast.parse(statement)))
    assert {name for argument in call.args for name, _ in sensitive_names(argument)} & SENSITIVE


@pytest.mark.parametrize(
    "statement", ["log.info('%d', len(text))", "log.info('%s', type(body).__name__)", "log.info('%s', code)"]
)
def test_a_fact_in_a_log_line_is_no_leak(statement: str) -> None:
    (call,) = log_calls(ast.walk(ast.parse(statement)))
    assert not {name for argument in call.args for name, _ in sensitive_names(argument)} & SENSITIVE


@pytest.mark.parametrize(
    "expression",
    [
        "f'SELECT * FROM entry WHERE tenant = {tenant}'",
        "'DELETE FROM ' + table",
        "'UPDATE entry SET seq = %d' % seq",
        "'INSERT INTO {} VALUES ($1)'.format(table)",
        "f'UPDATE {table} SET seq = 1'",
    ],
)
def test_sql_put_together_from_text_would_be_seen(expression: str) -> None:
    node = ast.parse(expression, mode="eval").body
    assert is_built(node)
    assert SQL.match(literal_text(node))
