"""Journeys of an operator with their clicks counted, and the table of them in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Locator, Page

TABLE = Path(__file__).parents[2] / "docs" / "journeys.md"
# A journey is a part of the day, and nobody should have to search for its next step.
MOST = 6


class Walk:
    """One person's way through the pages; each click counts, what is typed does not."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = 0

    def click(self, target: Locator) -> None:
        target.click()
        self.clicks += 1

    def link(self, name: str | re.Pattern[str], within: str = "#content") -> None:
        exact = isinstance(name, str)
        self.click(self.page.locator(within).get_by_role("link", name=name, exact=exact).first)

    def button(self, name: str | re.Pattern[str]) -> None:
        self.click(self.page.get_by_role("button", name=name, exact=isinstance(name, str)).first)

    def menu(self, entry: str) -> None:
        """Choose an entry of the navigation, which may have a number behind it; on a phone, open the menu before."""
        narrow = (self.page.viewport_size or {"width": 1440})["width"] < 1024
        if narrow:
            self.click(self.page.locator(".menu > summary"))
        place = self.page.locator(".menu" if narrow else "#console-nav")
        self.click(place.get_by_role("link", name=re.compile(rf"^{re.escape(entry)}( [\d,+]+ \w+)?$")).first)

    def why(self, reason: str = "for the journey") -> None:
        self.page.get_by_label("Reason").last.fill(reason)


def documented() -> dict[str, int]:
    """Return the clicks of each journey as the documentation has them."""
    rows = re.findall(r"^\| (.+?) \| (\d+)[^|]* \|", TABLE.read_text(), re.MULTILINE)
    return {name: int(clicks) for name, clicks in rows}
