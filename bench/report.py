"""The measurements as Markdown, without details that identify the machine."""

from __future__ import annotations

import platform
from importlib.metadata import version
from statistics import median

from bench.finding import TIMES
from bench.measure import Results
from bench.peers import PEERS
from bench.shape import Shape
from bench.stub_sqs import SECONDS_A_CALL

PACKAGES = ("django", "psycopg", "boto3", *(peer.name for peer in PEERS))
PARTS = (
    ("plain", "find", "plain plan: the query"),
    ("plain", "write", "plain plan: an UPDATE for each"),
    ("plain", "send", "plain plan: a message for each"),
    ("plain", "total", "**(a) plain plan, in all**"),
    ("ours", "pages", "**(b) ours, database part: stale runs found, decided, written**"),
    ("ours", "sweep", "ours: the whole sweep (with mass staleness, outages, hung runs, lost messages)"),
    ("ours", "lease and settle", "ours: leasing and settling the outbox"),
    ("ours", "send", "ours: dispatching, with these"),
    ("ours", "total", "**(b) ours, in all, one after the other**"),
    ("ours", "sweep beside the dispatcher", "ours: the whole sweep, beside `dispatch_outbox --loop`"),
    ("ours", "side by side", "**(b) ours, sweep and dispatcher side by side, as installed**"),
    *((peer.name, how, f"(c) {peer.name}, database part: {how}") for peer in PEERS for how in peer.ways),
)


def table(shape: Shape, postgresql: str, results: Results) -> str:
    lines = [
        f"{shape.rows:,} jobs, {shape.running:,} in progress, {shape.stale:,} stale; layout: {shape.layout};",
        f"SQS answers after {SECONDS_A_CALL * 1000:.0f} ms ({_calls(results)}).",
        f"Python {platform.python_version()}, PostgreSQL {postgresql}, {_versions()}.",
        "",
        "| recovering all that is stale | seconds, median | lowest to highest |",
        "|---|---:|---:|",
        *(_row(results.seconds[candidate, part], label) for candidate, part, label in PARTS),
        "",
        *_ratios(results),
        "",
        f"| finding, server time of {TIMES} times | rows | planning, ms | executing, ms, median | 95 of 100 within |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {_FOUND[candidate]} | {rows:,} | {time.planning:.2f} | {time.executing:.2f} | {time.nearly_worst:.2f} |"
            for (candidate, rows), time in sorted(results.server.items())
        ),
    ]
    return "\n".join(lines)


_FOUND = {"ours": "ours: a page of 500, locked", "plain": "plain plan: all, by an index on the status"}


def _row(seconds: list[float], label: str) -> str:
    return f"| {label} | {median(seconds):.3f} | {min(seconds):.3f} to {max(seconds):.3f} |"


def _ratios(results: Results) -> list[str]:
    """Return ratios of medians within the same run."""
    whole, plain = median(results.seconds["ours", "total"]), median(results.seconds["plain", "total"])
    installed = median(results.seconds["ours", "side by side"])
    return [
        f"- recovering with sending: ours is {plain / whole:.1f} times as fast as the plain plan",
        f"- sweep and dispatcher side by side, as installed: {plain / installed:.1f} times as fast as the plain plan",
        *(f"- database part: {_against(results, peer.name, how)}" for peer in PEERS for how in peer.ways),
    ]


def _against(results: Results, peer: str, how: str) -> str:
    theirs = median(results.seconds[peer, how])
    pages, sweep = median(results.seconds["ours", "pages"]), median(results.seconds["ours", "sweep"])
    return f"ours takes {pages / theirs:.2f} times as long as {peer} ({how}), the whole sweep {sweep / theirs:.2f} times"


def _calls(results: Results) -> str:
    return f"plain plan: {results.calls['plain']:,} calls, ours: {results.calls['ours']:,}"


def _versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in PACKAGES)
