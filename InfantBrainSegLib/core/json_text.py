"""JSON that every reader takes: it has no word for NaN or infinity, though Python writes them."""

import json
import math
from pathlib import Path
from typing import Any


def to_json(value: Any, indent: int = 2) -> str:
    """Write plain values as indented JSON and a line's end; a number that is not finite becomes null.

    Parameters
    ----------
    value : None, bool, number, str, or a list, tuple or dict of such values
    indent : int
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False) + "\n"


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file of ours; one that is absent, cut short or not an object is empty."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
