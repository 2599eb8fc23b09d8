"""The proposal of a mapping: decided from a snapshot alone, without a database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from jobs.inspection.contract import TEXT
from jobs.inspection.proposal import life, queue_table, synonyms, taken_names, times, toml_text, words
from jobs.inspection.proposal.proposed import Proposal, TableProposal
from jobs.inspection.proposal.queue_table import Candidate
from jobs.inspection.proposal.snapshot import VIEWS, ColumnFacts, TableFacts
from jobs.inspection.proposal.words import StatusWords
from jobs.models.absent_columns import LOST
from opsconsole.kit.mapping import CONTRACT_COLUMNS, LONGEST_WORD, OWN_COLUMNS
from opsconsole_worker.mapping import mapping_file

# Any other word means the default queue, too.
MOST_QUEUE_WORDS = 20
MOST_REMARKS = 5
MOST_WORDS_SHOWN = 12
ID_TYPES = {"uuid": "uuid", "bigint": "bigint", "integer": "integer"} | dict.fromkeys(TEXT, "text")


def propose(tables: Iterable[TableFacts]) -> Proposal:
    """Return the proposal for the tables of a database, or why there is none."""
    tables = list(tables)
    queues = queue_table.candidates(tables)
    if not queues:
        return _none(tables)
    chosen = queues[0]
    jobs = TableProposal(chosen.table)
    proposal = Proposal(jobs, TableProposal(None), TableProposal(None))
    proposal.considered = [
        f"{other.table.sql} looks like a queue too: check which one is meant" for other in queues[1:]
    ]
    proposal.statuses = words.divide(
        chosen.words,
        free=chosen.status.type in TEXT and not chosen.status.words,
        initial=chosen.status.initial,
    )
    _columns(jobs, chosen, proposal)
    proposal.refused += _refusals(proposal, chosen)
    life.tell(proposal, tables)
    _queue(proposal, chosen.table)
    _limits(proposal, tables)
    _lost(proposal)
    proposal.taken = list(taken_names.sentences(proposal))
    _refuse_what_no_file_can_say(proposal)
    return proposal


def _none(tables: Sequence[TableFacts]) -> Proposal:
    nothing = Proposal(TableProposal(None), TableProposal(None), TableProposal(None))
    numbers = queue_table.of_numbers(tables)
    times = queue_table.without_status(tables)
    nothing.refused = [queue_table.NONE_IS_A_QUEUE]
    nothing.considered = [
        f'{each.table.sql}."{each.status.name}" is a number: no schema tells what 3 means, and a mapping consists of words'
        for each in numbers
    ] + [
        f"{table.sql} looks like a queue, but has no status: which of its jobs run is told by times only"
        for table in times
    ]
    nothing.considered += [
        f"{table.sql} has a status, but row-level security hides its rows from this role: propose as a role that sees them, with "
        "BYPASSRLS for instance"
        for table in queue_table.with_hidden_words(tables)[:MOST_REMARKS]
    ]
    nothing.considered += [
        f'{each.table.sql}."{each.status.name}" has the words {", ".join(map(repr, each.words[:MOST_WORDS_SHOWN]))}: none is known '
        "for a job that runs. If one means that, write the mapping by hand (docs/settings.md)"
        for each in queue_table.with_unknown_words(tables)[:MOST_REMARKS]
    ]
    return nothing


def _refuse_what_no_file_can_say(proposal: Proposal) -> None:
    """Refuse a proposal with a name that no mapping can hold, such as one with quotes."""
    if proposal.refused:
        return
    try:
        toml_text.parsed(proposal)
    except mapping_file.MappingError as error:
        proposal.refused.append(str(error).removesuffix("."))


def _refusals(proposal: Proposal, chosen: Candidate) -> Iterator[str]:
    """Yield why no mapping can describe this table."""
    table = chosen.table
    if table.kind in VIEWS:
        yield f"{table.sql} is {VIEWS[table.kind]}: rows can't be locked there. Name its table"
    yield from _of_status_column(chosen)
    yield from _of_key(proposal, table)
    yield from _of_missing_words(proposal, chosen)
    yield from _of_missing_times(proposal, table)


def _of_status_column(chosen: Candidate) -> Iterator[str]:
    if chosen.status.generated:
        yield f"{_place(chosen)} is generated from other columns: it can't be written"
    if chosen.status.type == queue_table.DOMAIN_OVER_ENUM:
        yield (
            f"the type of {_place(chosen)} is a domain over an enum: PostgreSQL compares it with no word. Give the column the enum "
            "itself"
        )


def _of_key(proposal: Proposal, table: TableFacts) -> Iterator[str]:
    key_column = _key_column(table)
    if key_column is None:
        key = ", ".join(table.key)
        yield (
            f"the key of {table.sql} is composite ({key}): a message and a heartbeat name a job by one value"
            if key
            else f"{table.sql} has no primary key: nothing names one job"
        )
    elif proposal.jobs.columns["id"] is None:
        yield f'the key {table.sql}."{key_column.name}" is {key_column.type}: ids are uuid, bigint, integer or text'


def _of_missing_words(proposal: Proposal, chosen: Candidate) -> Iterator[str]:
    wanted = {
        "pending": "for a job that waits",
        "in_progress": "for a job that runs",
        "completed": "for a completed job",
    }
    for ours, meaning in wanted.items():
        if not proposal.statuses.by_status.get(ours):
            yield f"{_place(chosen)} has no word {meaning} among {', '.join(map(repr, chosen.words))}"


def _of_missing_times(proposal: Proposal, table: TableFacts) -> Iterator[str]:
    if proposal.jobs.columns["created_at"] is None:
        yield f"{table.sql} has no time at which a job was created{_unfit(table, 'created_at')}"
    if {proposal.jobs.columns["started_at"], proposal.jobs.columns["updated_at"]} == {None}:
        yield (
            f"{table.sql} has neither a start time nor a time of change{_unfit(table, 'started_at', 'updated_at')}: nothing tells "
            "when a run began"
        )


def _place(chosen: Candidate) -> str:
    return f'{chosen.table.sql}."{chosen.status.name}"'


def _key_column(table: TableFacts) -> ColumnFacts | None:
    """Return the column that names one job: the primary key, or else another unique one with the name of an id."""
    if len(table.key) == 1:
        return table.columns[table.key[0]]
    unique = {name: column for name, column in table.columns.items() if name in table.unique}
    return synonyms.find(replace(table, columns=unique), synonyms.ID, ID_TYPES)


def _unfit(table: TableFacts, *names: str) -> str:
    """Return, for a sentence, which columns have such a name and can't be used; '' for none."""
    found = [_unusable(table, name) for name in names]
    return "".join(f" ({each})" for each in found if each)


def _unusable(table: TableFacts, name: str) -> str:
    """Return why a column with a fitting name is none of the contract; '' where no column has such a name."""
    column = synonyms.find(table, synonyms.JOB_COLUMNS[name])
    if column is None:
        return ""
    if column.generated:
        return f'"{column.name}" is generated'
    if column.type in synonyms.TYPES[name]:
        return f'"{column.name}" has another meaning'
    wanted = (
        "a timestamp or a whole number"
        if name.endswith("_at")
        else "a whole number"
        if name == "package_size"
        else "text"
        if name == "error_message"
        else "text, a whole number or a uuid"
    )
    return f'"{column.name}" is {column.type}, and {wanted} is needed'


def _columns(jobs: TableProposal, chosen: Candidate, proposal: Proposal) -> None:
    table = chosen.table
    jobs.columns["id"], jobs.columns["status"] = None, chosen.status.name
    jobs.reasons["status"] = _reason_of_status(chosen)
    key = _key_column(table)
    if key is not None and key.type in ID_TYPES:
        jobs.columns["id"] = key.name
        proposal.id_type = ID_TYPES[key.type]
        kind = (
            "the primary key"
            if table.key == (key.name,)
            else "unique, beside another primary key"
            if table.key
            else "unique"
        )
        jobs.reasons["id"] = f"{kind}, {key.type}"
    for name in synonyms.JOB_COLUMNS:
        taken = [each for each in jobs.columns.values() if each]
        column = synonyms.find(table, synonyms.JOB_COLUMNS[name], synonyms.TYPES[name], taken)
        usable = column is not None and not column.generated and column.name not in OWN_COLUMNS["jobs"]
        jobs.columns[name] = column.name if column is not None and usable else None
        jobs.reasons[name] = (
            f"{column.type}"
            if column is not None and usable
            else _unusable(table, name) or "no such column was found"
        )
        if column is not None and usable and name.endswith("_at"):
            times.note(jobs, name, column)
    _doubt_columns(jobs, chosen, proposal.statuses)


def _reason_of_status(chosen: Candidate) -> str:
    source = {
        "enum": "its enum has",
        "check": "its check has",
        "lookup": f"the table {chosen.status.refers_to} has",
    }.get(chosen.status.words_from, "the rows that were sampled have")
    running = [word for word in chosen.words if words.meaning(word) == "in_progress"]
    return f"{chosen.status.type}; {source} {', '.join(map(repr, running))} for a job that runs"


def _doubt_columns(jobs: TableProposal, chosen: Candidate, statuses: StatusWords) -> None:
    rows = chosen.table.sample

    def filled(name: str, status: str) -> bool:
        column = jobs.columns.get(name)
        return column is not None and any(
            row.get(column) not in (None, "", "0")
            and statuses.status_of(row.get(chosen.status.name)) == status
            for row in rows
        )

    if filled("started_at", "pending"):
        jobs.doubts.append(
            f'"{jobs.columns["started_at"]}" is filled while jobs wait: it may not be the start of a run'
        )
    if filled("error_message", "completed"):
        jobs.doubts.append(
            f'"{jobs.columns["error_message"]}" has a text on completed jobs: it may not be an error'
        )
    if jobs.columns["priority_level"] is not None:
        jobs.doubts.append(
            f'"{jobs.columns["priority_level"]}": whether a high number comes first is in no schema'
        )
    if (key := _key_column(chosen.table)) is not None and key.type == "character":
        jobs.doubts.append(
            f'"{key.name}" is a character of fixed length: ids that are shorter are padded, and don\'t fit'
        )
    attempts = synonyms.find(chosen.table, synonyms.ATTEMPTS)
    if attempts is not None and attempts.name not in OWN_COLUMNS["jobs"]:
        jobs.doubts.append(f'"{attempts.name}" seems to count attempts: it is neither read nor written')
    if chosen.table.hidden:
        jobs.doubts.append(
            "row-level security may hide rows from this role, and with them words of the status"
        )
    for name in OWN_COLUMNS["jobs"]:
        if name in chosen.table.columns and name != "queue":
            jobs.doubts.append(
                f'"{name}" exists already: the console uses a column of this name in its own way'
            )


def _queue(proposal: Proposal, table: TableFacts) -> None:
    """Let the words of their own column queue mean the default queue, until a person divides them."""
    if "queue" not in table.columns:
        return
    usable = [
        word for word in table.seen("queue") if 0 < len(word) <= LONGEST_WORD and not set(word) & set("%\0{}")
    ]
    proposal.queue_words = sorted(usable[:MOST_QUEUE_WORDS])
    proposal.jobs.doubts.append(
        '"queue" exists already: its words are read as the default queue, unless [jobs.queues] says otherwise'
    )


def _limits(proposal: Proposal, tables: Sequence[TableFacts]) -> None:
    wanted = set(CONTRACT_COLUMNS["rate_limit_requests"])
    for table in tables:
        if table.name == "rate_limit_requests" and wanted <= set(table.columns):
            proposal.limits = TableProposal(
                table, {name: name for name in CONTRACT_COLUMNS["rate_limit_requests"]}
            )


def _lost(proposal: Proposal) -> None:
    for name, column in proposal.jobs.columns.items():
        if column is None and name in LOST:
            proposal.lost.append(f"{name}: {LOST[name]}")
    by_status = proposal.statuses.by_status
    for status in ("cancelled", "quarantined"):
        if not by_status.get(status):
            written = next(iter(by_status.get("failed", ())), None)
            proposal.lost.append(
                f"{status}: there is no word for it; {written!r} is written"
                if written
                else f"{status}: there is no word for it and none for a failed job; the action is refused"
            )
