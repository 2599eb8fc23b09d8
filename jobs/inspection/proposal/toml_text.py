"""The proposal as the text of a mapping file, each line with its reason, ready to paste."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.inspection.proposal.proposed import Proposal, TableProposal
from opsconsole.kit.mapping import STATUSES, Mapping
from opsconsole_worker.mapping import mapping_file


def render(proposal: Proposal) -> str:
    """Return the file, or, where there is no mapping, comments that say why."""
    return "\n".join(_lines(proposal)) + "\n"


def unsupported(proposal: Proposal) -> list[str]:
    """Return what this version can't follow of its own proposal, which is refused at start."""
    return [] if proposal.refused else parsed(proposal).unsupported()


def parsed(proposal: Proposal) -> Mapping:
    """Return the mapping that the file describes. Raise ``MappingError`` for a name that no file can hold."""
    return mapping_file.parse(render(proposal))


def _lines(proposal: Proposal) -> Iterator[str]:
    for reason in proposal.refused:
        yield _comment("refused", reason)
    for remark in proposal.considered:
        yield _comment("considered", remark)
    for sentence in proposal.taken:
        yield _comment("first", sentence)
    if not proposal.refused:
        yield from _jobs(proposal)
        yield from _table("worker_heartbeats", proposal.heartbeats)
        yield from _table("rate_limit_requests", proposal.limits)
        for loss in proposal.lost:
            yield _comment("lost", loss)


def _jobs(proposal: Proposal) -> Iterator[str]:
    yield from _table("jobs", proposal.jobs, f"id_type = {_text(proposal.id_type)}")
    yield "[jobs.statuses]"
    for status in STATUSES:
        found = proposal.statuses.by_status.get(status, ())
        listed = ", ".join(map(_text, found))
        yield _with_reason(
            f"{status} = [{listed}]", f"{_text(found[0])} is written" if len(found) > 1 else ""
        )
    for doubt in proposal.statuses.doubts:
        yield _comment("doubt", doubt)
    yield "[jobs.life]"
    yield _with_reason(f"told_by = {_text(proposal.told_by)}", proposal.promise)
    for key, value in [
        ("column", proposal.life_column),
        ("time", proposal.life_time),
        ("worker", proposal.worker_column),
    ]:
        if value is not None:
            yield f"{key} = {_text(value)}"
    if proposal.queue_words is not None:
        yield "[jobs.queues]"
        yield f"default = [{', '.join(map(_text, proposal.queue_words))}]"


def _table(contract: str, part: TableProposal, *further: str) -> Iterator[str]:
    yield f"[{contract}]"
    if part.facts is None:
        yield _with_reason("absent = true", "no such table was found")
        return
    if not part.facts.on_path:
        yield f"schema = {_text(part.facts.schema)}"
    if part.facts.name != contract or not part.facts.on_path:
        yield f"table = {_text(part.facts.name)}"
    yield from further
    yield f"[{contract}.columns]"
    for name, column in part.columns.items():
        yield _with_reason(
            f"{name} = {'false' if column is None else _text(column)}", part.reasons.get(name, "")
        )
    if part.times:
        yield f"[{contract}.times]"
        for name, kind in part.times.items():
            yield _with_reason(f"{name} = {_text(kind)}", part.reasons.get(f"times.{name}", ""))
    for doubt in part.doubts:
        yield _comment("doubt", doubt)


def _with_reason(line: str, reason: str) -> str:
    return f"{line}  # {_one_line(reason)}" if reason else line


def _comment(kind: str, text: str) -> str:
    line = f"# {kind}: {_one_line(text)}"
    return line if line.endswith(";") else f"{line}."


def _one_line(text: str) -> str:
    """Return a text that can't end the comment: a name or a word of theirs may have any character."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _text(value: str) -> str:
    """Return a basic string of TOML."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(each if each.isprintable() else f"\\U{ord(each):08X}" for each in escaped) + '"'
