"""Checks of every page at every screen size: no overflow, accessible (WCAG 2.2 A and AA, by axe)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.journeys.visitor import Visitor

Screens = tuple[tuple[int, str, dict[str, Any] | None], ...]

HEIGHT = 900
# Without "resultTypes", axe describes every element, also for rules that pass.
ALL: dict[str, Any] = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    "resultTypes": ["violations"],
}
# In dark mode only the frame is specific to wide screens, and it is the same on all pages.
WIDE_IN_DARK: Screens = ((1440, "dark", ALL),)
SCREENS: Screens = (
    (1440, "light", ALL),
    (1280, "dark", None),
    (390, "dark", ALL),
    (390, "light", None),
)
# For many pages in a row: axe takes longest, so each page is given to it on one screen, the next one on the other.
IN_TURN: tuple[Screens, ...] = (
    (
        (1440, "light", ALL),
        (1280, "dark", None),
        (1024, "light", None),
        (768, "light", None),
        (390, "dark", None),
    ),
    ((1440, "light", None), (1024, "light", None), (768, "light", None), (390, "dark", ALL)),
)
# Up to this width a screen is touched.
TOUCHED = 1024

# Lists and tables scroll content that is too wide, and forms hide it. The figures behind a chart may be more than fit.
CUT_OFF = """() => [...document.querySelectorAll(
        '.results, .module, .form-row, .scroll:has(> .lines), #content :not(.scroll):has(> table)')]
    .filter(part => part.scrollWidth > part.clientWidth && getComputedStyle(part).overflowX !== 'visible')
    .map(part => part.id || part.className)"""

# WCAG 2.2 leaves out links within a sentence, and an arrow beside a heading that does the same.
SMALL = """() => {
    const found = [];
    for (const each of document.querySelectorAll('a[href], button, select, summary, textarea, input:not([type=hidden])')) {
        const box = each.getBoundingClientRect(), words = each.parentElement.childNodes;
        if (!each.checkVisibility({visibilityProperty: true}) || each.closest('svg, .visually-hidden, .sortoptions')) continue;
        const head = each.closest('thead th'), isHidden = head && getComputedStyle(head).clipPath !== 'none';
        const isInSentence = getComputedStyle(each).display === 'inline'
            && [...words].some(other => other !== each && other.textContent.trim());
        if (box.width && !isHidden && !isInSentence && Math.min(box.width, box.height) < 23.5)
            found.push(`${each.tagName} ${each.className} “${each.textContent.trim().slice(0, 40)}”, `
                + `${Math.round(box.width)} x ${Math.round(box.height)}`);
    }
    return [...new Set(found)];
}"""

# The footer begins where the content does; the last column ends before its frame; a badge keeps off what stands before it, and
# stays in its cell, and has one line (a long one not where a table has no room for it); the words of a button fit into it, those
# of a choice stand beside its box; tables and facts break their lines between words; nothing is in capitals, nothing is covered.
MISPLACED = """() => {
    const box = each => each.getBoundingClientRect();
    const content = document.getElementById('content'), note = document.querySelector('#footer p');
    const begin = content && box(content).left + parseFloat(getComputedStyle(content).paddingLeft);
    const found = note && Math.abs(box(note).left - begin) > 1 ? ['the footer is not below the content'] : [];
    for (const cell of document.querySelectorAll('#changelist tbody tr > :last-child')) {
        const text = document.createRange();
        text.selectNodeContents(cell);
        if (cell.offsetParent && box(text).right > box(cell.closest('.results')).right - 6)
            found.push('flush with the edge: ' + cell.className);
    }
    for (const badge of document.querySelectorAll('.badge')) {
        const before = badge.previousElementSibling && box(badge.previousElementSibling), own = box(badge);
        if (before && before.width && before.top < own.bottom && own.top < before.bottom && Math.abs(own.left - before.right) < 3)
            found.push('a badge touches what is before it: ' + badge.textContent);
        const isNarrow = badge.closest('#changelist, table.lines')
            && matchMedia('(768px <= width < 1440px)').matches;
        const cell = badge.closest('td');
        if (cell && own.right > box(cell).right + 1) found.push('a badge leaves its cell: ' + badge.textContent);
        if (own.height > 30 && (!isNarrow || badge.textContent.length <= 12)) found.push('a badge is broken: ' + badge.textContent);
    }
    for (const button of document.querySelectorAll('#content :is(.submit-row, .object-tools) a, #content a.operation')) {
        const inner = button.clientHeight, style = getComputedStyle(button);
        const room = inner - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
        if (style.display !== 'inline' && inner && room < parseFloat(style.fontSize))
            found.push('a button cuts its words: ' + button.textContent.trim());
    }
    for (const choice of document.querySelectorAll('#content label:has(> input:is([type=checkbox], [type=radio]))')) {
        const words = document.createRange(), own = box(choice.querySelector('input'));
        words.selectNodeContents(choice);
        for (const line of own.width ? words.getClientRects() : [])
            if (line.width > 1 && line.top >= own.bottom - 1 && line.left < own.right)
                found.push('words below the box of their choice: ' + choice.textContent.trim());
    }
    for (const box_of_row of document.querySelectorAll('td.action-checkbox')) {
        const title = document.createRange(), chosen = box_of_row.querySelector('input'), beside = box_of_row.nextElementSibling;
        if (!chosen || !chosen.offsetParent || !beside) continue;
        title.selectNodeContents(beside);
        const own = box(chosen);
        for (const line of title.getClientRects())
            if (line.left < own.right && own.left < line.right && line.top < own.bottom && own.top < line.bottom)
                found.push('a checkbox covers ' + beside.textContent.slice(0, 40));
    }
    for (const link of document.querySelectorAll('thead a'))
        if (link.checkVisibility() && getComputedStyle(link.closest('th')).clipPath !== 'none')
            found.push('nobody sees what has the focus: ' + link.textContent);
    for (const each of document.querySelectorAll('#container *'))
        if (getComputedStyle(each).textTransform === 'uppercase') found.push('in capitals: ' + each.textContent.slice(0, 40));
    for (const cell of document.querySelectorAll('td, th, dd')) {
        const nodes = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
        while (nodes.nextNode()) for (const word of nodes.currentNode.data.matchAll(/\\b\\w{2,14}\\b/g)) {
            const place = document.createRange();
            place.setStart(nodes.currentNode, word.index);
            place.setEnd(nodes.currentNode, word.index + word[0].length);
            if (new Set([...place.getClientRects()].map(each => Math.round(each.top))).size > 1)
                found.push('a word is broken: ' + word[0]);
        }
    }
    return [...new Set(found)];
}"""


def faults(visitor: Visitor, page: Page, screens: Screens = SCREENS) -> list[str]:
    """Return what is wrong with the open page. It is loaded once and then checked at each screen size."""
    # axe uses inline styles for its measurements; the CSP blocks them and the browser reports that.
    before = list(visitor.complaints)
    page.evaluate(_axe())
    found = list(dict.fromkeys(_on_each(screens, page)))
    visitor.complaints[:] = before
    return found


def _on_each(screens: Screens, page: Page) -> Iterator[str]:
    for width, scheme, rules in screens:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # always a valid scheme
        if page.evaluate("document.documentElement.scrollWidth") > width:
            yield f"wider than a screen of {width}"
        if cut := page.evaluate(CUT_OFF):
            yield f"cut off on a screen of {width}: {', '.join(cut)}"
        for misplaced in page.evaluate(MISPLACED):
            yield f"{misplaced} on a screen of {width}"
        for small in page.evaluate(SMALL) if width <= TOUCHED else ():
            yield f"too small to touch: {small} on a screen of {width}"
        if rules is None:
            continue
        for rule in page.evaluate("options => axe.run(options)", rules)["violations"]:
            yield from (_told(rule, node) for node in rule["nodes"])


def _told(rule: Any, node: Any) -> str:
    return f"{rule['id']}: {node['html'][:120]} ({node['failureSummary']})"


@cache
def _axe() -> str:
    return str(Axe().axe_script)
