"""What a proposal is made of: the tables of a database and a few of their rows, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from opsconsole.kit.mapping import quoted

VIEWS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}


@dataclass(frozen=True)
class ColumnFacts:
    """A column. ``type`` has no length, ``enum`` stands for any enum, and a domain counts as its base type.

    ``words``: all that it accepts, according to its enum, a check or the table it refers to (``words_from``). ``initial``: the
    word that a new row has by default. ``zone``: that in which the default of a time without a zone writes; '' if unknown.
    """

    name: str
    type: str = "text"
    generated: bool = False
    words: tuple[str, ...] = ()
    words_from: str = ""
    refers_to: str = ""
    initial: str = ""
    zone: str = ""


@dataclass(frozen=True)
class TableFacts:
    """A table or view. ``on_path``: its bare name finds it. ``sample``: a few rows, values as text cut to a length.

    ``hidden``: row-level security may hide rows from this role.
    ``key``: the columns of the primary key. ``unique``: the columns of which each alone names one row, and is never null.
    """

    name: str
    columns: Mapping[str, ColumnFacts]
    schema: str = "public"
    key: tuple[str, ...] = ("id",)
    kind: str = "r"
    on_path: bool = True
    estimate: int = 0
    sample: tuple[Mapping[str, str | None], ...] = field(default=(), repr=False)
    unique: tuple[str, ...] = ()
    hidden: bool = False

    @property
    def sql(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    def seen(self, column: str) -> tuple[str, ...]:
        """Return the distinct values of a column in the sample, in the order of the sample."""
        return tuple(dict.fromkeys(value for row in self.sample if (value := row.get(column)) is not None))


def columns(*facts: ColumnFacts) -> Mapping[str, ColumnFacts]:
    return MappingProxyType({each.name: each for each in facts})
