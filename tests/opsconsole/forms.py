"""The forms of a page, filled in as by a user who wants to change something."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

Fields = dict[str, list[str]]
WORDS = "because-it-is-so"
NOT_SENT = {"submit", "button", "image", "reset", "file"}


@dataclass
class Form:
    """A POST form. ``buttons`` holds its named buttons; ``offered`` is true if it has any submit button."""

    address: str
    offered: bool = False
    fields: Fields = field(default_factory=lambda: defaultdict(list))
    buttons: list[tuple[str, str]] = field(default_factory=list)

    def ways(self) -> Iterator[Fields]:
        """Yield the data that each button of the form sends."""
        for name, value in self.buttons or [("", "")]:
            yield {**self.fields, name: [value]} if name else dict(self.fields)


def on(address: str, page: str) -> list[Form]:
    """Return the POST forms of the page at this URL."""
    parser = _Parser(address)
    parser.feed(page)
    return parser.found


class _Parser(HTMLParser):
    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address
        self.found: list[Form] = []
        self.form: Form | None = None
        # The name of the open select or text area, and the text read from it so far.
        self.name = ""
        self.text: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open(said)
        elif self.form is None:
            return
        elif tag == "input":
            self._input(said)
        elif tag == "button":
            self._button(said)
        elif tag in {"select", "textarea"}:
            self.name, self.text = said.get("name", ""), []
        elif tag == "option" and "value" in said:
            # Choose the last option, because it is seldom the current one.
            self.form.fields[self.name] = [said["value"]]

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.form = None
        elif tag == "textarea" and self.form and self.text is not None:
            text = "".join(self.text).strip()
            self.form.fields[self.name].append(f"{text} " if text else WORDS)
        if tag in {"select", "textarea"}:
            self.text = None

    def handle_data(self, data: str) -> None:
        if self.text is not None:
            self.text.append(data)

    def _open(self, said: dict[str, str]) -> None:
        # A form without an end tag ends here.
        self.form = None
        if said.get("method", "get").lower() == "post":
            address = urlsplit(urljoin(self.address, said.get("action", "")))
            self.form = Form(address.path + (f"?{address.query}" if address.query else ""))
            self.found.append(self.form)

    def _input(self, said: dict[str, str]) -> None:
        assert self.form is not None
        name, kind, value = said.get("name", ""), said.get("type", "text"), said.get("value", "")
        if kind == "submit":
            self._button(said)
        elif not name or kind in NOT_SENT:
            return
        elif kind == "radio":
            self.form.fields[name] = [value]
        elif kind == "checkbox":
            self.form.fields[name].append(value or "on")
        elif kind == "number":
            self.form.fields[name].append(_one_more(value))
        else:
            self.form.fields[name].append(value or (WORDS if "required" in said else ""))

    def _button(self, said: dict[str, str]) -> None:
        assert self.form is not None
        if said.get("type", "submit") == "submit":
            self.form.offered = True
            if said.get("name"):
                self.form.buttons.append((said["name"], said.get("value", "")))


def _one_more(value: Any) -> str:
    try:
        return str(int(float(value)) + 1)
    except ValueError:
        return "1"
