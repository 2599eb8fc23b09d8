"""What PostgreSQL can keep: its text knows no NUL and no lone surrogates, its jsonb neither these nor NaN."""

from __future__ import annotations

import json
from typing import Any

# Of a column of type integer.
LARGEST_INTEGER = 2**31 - 1


def plain_text(text: str) -> str:
    """The text without what can't be kept: NUL characters go, lone surrogates become question marks."""
    return text.replace("\x00", "").encode(errors="replace").decode()


def is_storable(text: str) -> bool:
    """Tell whether PostgreSQL can keep the text as it is."""
    return "\x00" not in text and (text.isascii() or text == plain_text(text))


def json_problem(value: Any) -> str | None:
    """Why the value can't be kept as jsonb, or None when it can."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        return "it has a lone surrogate, which is no character"
    except (TypeError, ValueError, RecursionError) as error:
        return f"it is not JSON ({error})"
    # Written so by json.dumps. A text that spells these six characters itself is refused with it.
    return "it has a NUL character" if "\\u0000" in text else None
