"""Addresses of pages: those that a list repeats on each of its rows, found once per process instead of once per row, and those
that are written or were stored by a process that serves no pages."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote as urlquote
from urllib.parse import quote_plus

from django.conf import settings
from django.contrib.admin.utils import quote, unquote
from django.urls import get_script_prefix, get_urlconf, reverse
from django.utils.http import RFC3986_SUBDELIMS

_CUSTOMER = "admin/customer/?id="
_FOLDERS = {".": "_2E", "..": "_2E_2E"}
_KEYS = {part: key for key, part in _FOLDERS.items()}
# As Django leaves them in the paths that ``reverse`` makes.
UNQUOTED = f"{RFC3986_SUBDELIMS}/~:@"


def of_list(model: str) -> str:
    """Return the address of the admin's list of a model, such as ``jobs_sweep``. Unlike ``reverse``, it reads no pages.

    The console's pages and their libraries take 21 MB, and the cluster only names them, in alerts.
    """
    app, _, name = model.rpartition("_")
    return f"{get_script_prefix()}admin/{app}/{name}/"


def row_key(key: object) -> str:
    """Return a row's key as a part of the path of its page, which browsers and proxies leave as it is.

    Django's own quoting leaves the names "." and "..", which mean a folder to them.
    """
    return _FOLDERS.get(str(key)) or quote(str(key))


def key_of(part: str) -> str:
    """Return the key of a row from its part of a path: the opposite of ``row_key``."""
    return _KEYS.get(part) or unquote(part)


def for_django(part: str) -> str:
    """Return this part of a path as Django's own pages read it."""
    return _KEYS.get(part, part)


def of_row(model: str, key: object) -> str:
    """Return the address of the admin's page of one row of a model, as ``of_list`` does."""
    return f"{of_list(model)}{urlquote(row_key(key), safe=UNQUOTED)}/change/"


def of_customer(customer_id: str) -> str:
    """Return the address of the page about a customer, as ``of_list`` does."""
    return f"{get_script_prefix()}{_CUSTOMER}{quote_plus(customer_id)}"


def is_of_customer(link: str) -> bool:
    """Tell whether a stored address is that of the page about a customer, below whatever path."""
    return link.startswith("/") and f"/{_CUSTOMER}" in link


def model_of(link: str) -> str:
    """Return of which model a stored address shows rows, as ``of_list`` names it, below whatever path; '' of any other address."""
    if is_of_customer(link):
        return "jobs_job"
    _, _, page = link.partition("/admin/")
    parts = page.partition("?")[0].split("/")
    return f"{parts[0]}_{parts[1]}" if link.startswith("/") and len(parts) > 2 else ""


def fixed(view: str) -> str:
    """Return the address of a view without parameters."""
    return _of(view, get_script_prefix(), get_urlconf())


@lru_cache(maxsize=256)
def _of(view: str, prefix: str, urlconf: str | None) -> str:
    return reverse(view, urlconf=urlconf)


def mounted(link: str) -> str:
    """Return the stored address of a page below the path of the console, which not every process knows that stores one."""
    return below(settings.FORCE_SCRIPT_NAME or "", link)


def below(name: str, link: str) -> str:
    """Return the address of a page below this path, under which it may be already."""
    return link if not link.startswith("/") or link.startswith(f"{name}/") else name + link
