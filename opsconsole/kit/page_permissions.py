"""Who may see which page, and so every fragment elsewhere that quotes it: a figure, a banner, a column, a link."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

from django.contrib.auth.models import AnonymousUser, User
from django.db.models.options import Options

from opsconsole.kit import addresses, admin_pages
from opsconsole.kit.principal import Principal

Person: TypeAlias = User | AnonymousUser
# Who asks to see something: a person, or an API key that acts for one.
Asker: TypeAlias = Person | Principal


def may_see(user: Asker, page: str) -> bool:
    """Tell whether this person may open the list and the rows of a model, named as in addresses: 'jobs_job'."""
    return may_see_rows(user, _models()[page])


def may_see_rows(user: Asker, model: Options[Any]) -> bool:
    """Return the same for a model. As in Django, whoever may change a row also sees it."""
    label, name = model.app_label, model.model_name
    return any(user.has_perm(f"{label}.{action}_{name}") for action in ("view", "change"))


def may_open(user: Asker, address: str) -> bool:
    """Tell whether this person may open a stored address. Those of no list and no row are open to everybody."""
    model = _models().get(addresses.model_of(address))
    return model is None or may_see_rows(user, model)


@cache
def _models() -> dict[str, Options[Any]]:
    pages = [of_model.opts for of_model in admin_pages.site()._registry.values()]  # noqa: SLF001 - there is no other list
    return {f"{model.app_label}_{model.model_name}": model for model in pages}
