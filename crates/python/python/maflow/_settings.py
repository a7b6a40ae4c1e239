"""Changes to a recipe, from Python's values to the words that the library reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def settings(changes: Mapping[str, Any] | None) -> list[str]:
    """As `key=value` with values of TOML; sections may be mappings of their own."""
    return [f"{key}={_toml(value, key)}" for key, value in (changes or {}).items()]


def _toml(value: Any, key: str) -> str:
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item, key) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(name))} = {_toml(item, key)}" for name, item in value.items()) + "}"
    kind = type(value).__name__
    raise TypeError(f"the value of {key!r} is a {kind}; give a number, a word, a bool, or a list of these")
