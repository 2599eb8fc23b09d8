"""Addresses of pages: those that a list repeats on each of its rows, found once per process instead of once per row, and those
that are written or were stored by a process that serves no pages."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote as urlquote
from urllib.parse import quote_plus

from django.conf import settings
from django.contrib.admin.utils import quote
from django.urls import get_script_prefix, get_urlconf, reverse
from django.utils.http import RFC3986_SUBDELIMS

_CUSTOMER = "admin/customer/?id="
# As Django leaves them in the paths that ``reverse`` makes.
UNQUOTED = f"{RFC3986_SUBDELIMS}/~:@"


def of_list(model: str) -> str:
    """Return the address of the admin's list of a model, such as ``jobs_sweep``. Unlike ``reverse``, it reads no pages.

    The console's pages and their libraries take 21 MB, and the cluster only names them, in alerts.
    """
    app, _, name = model.rpartition("_")
    return f"{get_script_prefix()}admin/{app}/{name}/"


def of_row(model: str, key: object) -> str:
    """Return the address of the admin's page of one row of a model, as ``of_list`` does."""
    return f"{of_list(model)}{urlquote(quote(str(key)), safe=UNQUOTED)}/change/"


def of_customer(customer_id: str) -> str:
    """Return the address of the page about a customer, as ``of_list`` does."""
    return f"{get_script_prefix()}{_CUSTOMER}{quote_plus(customer_id)}"


def is_of_customer(link: str) -> bool:
    """Tell whether a stored address is that of the page about a customer, below whatever path."""
    return link.startswith("/") and f"/{_CUSTOMER}" in link


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
