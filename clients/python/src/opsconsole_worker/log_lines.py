"""Lines of a log: one per event, as text for people or as JSON for programs (OPSCONSOLE_LOG_FORMAT).

Each line has the time in UTC, level, logger and message, then what it is about: job, run, worker. What was done to many at once
is told of up to ten per line. Secrets of the environment are never part of it, and of an error of the database only its own
sentence is: its details may quote rows.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from opsconsole_worker.errors import first_line

FORMATS = TEXT, JSON = "text", "json"
HIDDEN = "[hidden]"
# Ids and names are written by others, and may be of any length.
LONGEST_FACT = 300
LONGEST_EVENT = 2_000
LONGEST_TRACEBACK = 20_000
# Of a line that tells what was done to several: the facts of each, as rows.
EACH = "each"
# As many as one call to SQS takes. A line stays below 2 kB as long as ids are UUIDs.
MOST_PER_LINE = 10

_WORD = re.compile(r"[^\s\"=]+")

activity = logging.getLogger("opsconsole.activity")
_facts: ContextVar[Mapping[str, Any]] = ContextVar("facts")


def tell(what: str, level: int, facts: Mapping[str, Any]) -> None:
    """Write a line about what was done, with its facts. Those that are None are left out."""
    if activity.isEnabledFor(level):
        known = {name: fact for name, fact in facts.items() if fact is not None}
        # As Logger.log does, without searching the stack for the place in the code, which is always this one.
        activity.handle(
            activity.makeRecord(activity.name, level, __file__, 0, what, (), None, extra={"facts": known})
        )


def together(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the facts of each line that tells the same of all these rows: those of one row, or up to ten rows.

    Every row is in a line with all its facts, except for those that are None.
    """
    known = [{name: fact for name, fact in row.items() if fact is not None} for row in rows]
    for start in range(0, len(known), MOST_PER_LINE):
        some = known[start : start + MOST_PER_LINE]
        yield some[0] if len(some) == 1 else {"count": len(some), EACH: some}


class _About:
    """A block whose lines have facts. Each request is one, and a generator would take twice as long."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._own = facts

    def __enter__(self) -> None:
        self._token = _facts.set({**current_facts(), **self._own})

    def __exit__(self, *_: object) -> None:
        _facts.reset(self._token)


def about(**facts: Any) -> AbstractContextManager[None]:
    """Give all lines of this thread these facts during the block."""
    return _About(facts)


def current_facts() -> Mapping[str, Any]:
    """Return the facts of this thread."""
    return _facts.get({})


def of_record(record: logging.LogRecord) -> dict[str, Any]:
    """Return the line of a record: its head, then the facts, of which those of the record itself win."""
    written = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    line: dict[str, Any] = {
        "time": written.replace("+00:00", "Z"),
        "level": record.levelname,
        "logger": record.name,
        "event": without_details(record.getMessage(), record.args if isinstance(record.args, tuple) else ()),
        **current_facts(),
        **getattr(record, "facts", {}),
    }
    if record.exc_info and record.exc_info[1] is not None:
        line["traceback"] = without_details(
            logging.Formatter().formatException(record.exc_info), _chain(record.exc_info[1])
        )
    return line


class LineFormatter(logging.Formatter):
    """Writes one line per record. Only in text, a traceback follows on further lines."""

    def __init__(self, style: str = TEXT, secrets: Sequence[str] = ()) -> None:
        super().__init__()
        self.of_style = style
        self.secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of this record."""
        return rendered(of_record(record), self.of_style, self.secrets)


def rendered(line: Mapping[str, Any], style: str, secrets: Sequence[str]) -> str:
    """Return a line as it is written."""
    rows = line.get(EACH, ())
    shared = {name: fact for name, fact in line.items() if name != EACH} if rows else line
    cleaned = clean([shared, *rows], style, secrets)
    if style == TEXT:
        return _as_text(cleaned[0], cleaned[1:])
    return _as_json({**cleaned[0], EACH: cleaned[1:]} if rows else cleaned[0])


def clean(parts: Sequence[Mapping[str, Any]], style: str, secrets: Sequence[str]) -> list[dict[str, Any]]:
    """Return a line and the rows in it without secrets, and with facts of a bounded length; for text, the facts as text."""
    as_text = [
        {name: value if type(value) is str else str(value) for name, value in part.items()} for part in parts
    ]
    # Nearly every line has none and is short, which is seen sooner in all of it than in each fact.
    whole = "\n".join(["\n".join(texts.values()) for texts in as_text])
    hidden = [secret for secret in secrets if secret in whole]
    cleaned = as_text if style == TEXT else [dict(part) for part in parts]
    if hidden or len(whole) > LONGEST_FACT:
        # Each fact is bounded by itself, so that no id of a line about several is cut.
        for part, texts in zip(cleaned, as_text, strict=True):
            for name, text in texts.items():
                if hidden or len(text) > LONGEST_FACT:
                    shown = _shortened(name, without(hidden, text))
                    if shown != text:
                        part[name] = shown
    return cleaned


def _shortened(name: str, text: str) -> str:
    if name == "traceback":
        # Its end says what happened.
        return text if len(text) <= LONGEST_TRACEBACK else f"…{text[-LONGEST_TRACEBACK:]}"
    longest = LONGEST_EVENT if name == "event" else LONGEST_FACT
    return text if len(text) <= longest else f"{text[:longest]}…"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and those behind it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        if (each := waiting.pop()) is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__]


def without_details(text: str, named: Any) -> str:
    """Return the text with the first line only of each error in it: PostgreSQL's further ones quote rows and statements."""
    for each in named:
        if isinstance(each, BaseException) and "\n" in (details := str(each).strip()):
            text = text.replace(details, first_line(each))
    return text


def _as_json(line: Mapping[str, Any]) -> str:
    return json.dumps(line, default=str, ensure_ascii=True)


def _as_text(facts: dict[str, str], rows: Sequence[Mapping[str, str]]) -> str:
    traceback = facts.pop("traceback", "")
    head = f"{facts.pop('time')} {facts.pop('level'):<7} {facts.pop('logger')}: {facts.pop('event')}"
    line = _printable(head + "".join(map(_facts_as_text, [facts, *rows])))
    return line + "".join(f"\n  {_printable(each)}" for each in traceback.split("\n")) if traceback else line


def _facts_as_text(facts: Mapping[str, str]) -> str:
    texts = facts.values()
    # Nearly all are words, which is seen sooner in all of them together.
    if all(texts) and _WORD.fullmatch("".join(texts)):
        return "".join([f" {name}={text}" for name, text in facts.items()])
    return "".join([f" {name}={_word(text)}" for name, text in facts.items()])


def _word(text: str) -> str:
    return text if _WORD.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _printable(text: str) -> str:
    """Keep outside text from forging lines or controlling a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def without(secrets: Sequence[str], text: str) -> str:
    """Return the text without these secrets."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return text
