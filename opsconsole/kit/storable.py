"""What PostgreSQL can store: text without NUL and lone surrogates, and jsonb without these and NaN."""

from __future__ import annotations

import json
from typing import Any

# The largest value of an integer column.
LARGEST_INTEGER = 2**31 - 1


def plain_text(text: str) -> str:
    """Return the text without NUL characters and with question marks for lone surrogates."""
    return text.replace("\x00", "").encode(errors="replace").decode()


def is_storable(text: str) -> bool:
    """Tell whether PostgreSQL can store the text unchanged."""
    return "\x00" not in text and (text.isascii() or text == plain_text(text))


def json_problem(value: Any) -> str | None:
    """Return why the value can't be stored as jsonb, or None when it can."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        return "it has a lone surrogate, which is not a character"
    except (TypeError, ValueError, RecursionError) as error:
        return f"it is not JSON ({error})"
    # The form that json.dumps writes. A text that contains these six characters itself is also refused.
    return "it has a NUL character" if "\\u0000" in text else None
