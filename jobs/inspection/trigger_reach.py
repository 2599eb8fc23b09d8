"""Triggers that might act outside the transaction in which they run, so that undoing it would not undo what they did."""

from __future__ import annotations

import re

from jobs.inspection import catalog

# The words of a function body that reach outside, or that keep what they did when the transaction is undone.
_OUTSIDE = re.compile(
    r"\b(dblink\w*|http\w*|net\.\w+|copy|program|nextval|setval|pg_advisory_lock\w*|lo_export|pg_write\w*|pg_file\w*|"
    r"aws_\w+|execute|commit|pg_logical_emit_message)\b",
    re.IGNORECASE,
)
_READABLE = {"plpgsql", "sql"}
_FUNCTIONS = """
SELECT p.oid, p.proname, l.lanname, p.prosrc FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
  JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', %s)
"""
_TRIGGERS = """
SELECT t.tgname, c.relname, t.tgfoid FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND n.nspname <> %s
 ORDER BY t.tgname
"""


def reaching_outside(tables: list[str], own_schema: str) -> list[str]:
    """Return why, one sentence each, for triggers of these tables (``to_regclass``), and of what those call or write."""
    functions = {
        oid: (name, language, body or "")
        for oid, name, language, body in catalog.rows(_FUNCTIONS, [own_schema])
    }
    triggers = catalog.rows(_TRIGGERS, [own_schema])
    foreign = [name for (name,) in catalog.rows("SELECT relname FROM pg_class WHERE relkind = 'f'")]
    own = {
        name
        for (name,) in catalog.rows(
            "SELECT relname FROM pg_class WHERE oid IN (SELECT to_regclass(each) FROM unnest(%s::text[]) AS each)",
            [tables],
        )
    }
    sentences: list[str] = []
    for name, table, function in triggers:
        if table in own:
            why = _why(function, functions, triggers, foreign, set())
            if why:
                sentences.append(f"the trigger {name} of {table} {why}")
    return sentences


def _why(
    function: int,
    functions: dict[int, tuple[str, str, str]],
    triggers: list[tuple[str, str, int]],
    foreign: list[str],
    seen: set[int],
) -> str:
    """Return what a function does outside, itself or through what it names; '' if nothing is seen."""
    if function in seen or function not in functions:
        return ""
    seen.add(function)
    name, language, body = functions[function]
    if language not in _READABLE:
        return f"runs {name}, which is written in {language}"
    if reaching := _OUTSIDE.search(body):
        return f"runs {name}, which uses {reaching.group(0)}"
    words = set(re.findall(r"\w+", body))
    if outside := next((each for each in foreign if each in words), None):
        return f"runs {name}, which names the foreign table {outside}"
    called = [oid for oid, (other, _, _) in functions.items() if other in words]
    fired = [oid for _, table, oid in triggers if table in words]
    return next(
        (why for oid in [*called, *fired] if (why := _why(oid, functions, triggers, foreign, seen))), ""
    )
