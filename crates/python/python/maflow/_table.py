"""From what users have (arrays, frames, columns of text) to columns of numbers with names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Columns:
    """Columns of numbers, 64-bit and row by row, as the extension takes them.

    `names` are those of a frame; `labels` are the words of columns of text, whose numbers are places in them.
    """

    names: list[str] | None
    values: NDArray[np.float64]
    labels: list[tuple[int, list[str]]]


def columns(x: Any, what: str) -> Columns:
    """Lay out an array of shape (rows, columns), or a frame of pandas or polars; sentences call it `what`."""
    if isinstance(x, Columns):
        return x
    if hasattr(x, "columns") and hasattr(x, "__getitem__"):
        return _of_frame(x, what)
    if np.ma.is_masked(x):
        raise ValueError(f"{what} has masked entries; leave those rows out")
    array = np.asarray(x)
    if array.ndim != 2:
        remedy = f"; give {what}.reshape(-1, 1) for rows of one column" if array.ndim == 1 else ""
        raise ValueError(f"{what} has shape {array.shape}, but (rows, columns) is needed{remedy}")
    if 0 in array.shape:
        raise ValueError(f"{what} has shape {array.shape}, without any numbers; give at least one row and one column")
    return Columns(None, _numbers(array, what), [])


def _of_frame(frame: Any, what: str) -> Columns:
    names = [str(name) for name in frame.columns]
    if not names or len(frame) == 0:
        raise ValueError(f"{what} has {len(frame)} rows and {len(names)} columns; give at least one of each")
    values, labels = np.empty((len(frame), len(names))), []
    for place, (name, key) in enumerate(zip(names, frame.columns)):
        column = np.asarray(frame[key])
        if column.ndim != 1:
            raise ValueError(f"{what} has several columns {name!r}; give each a name of its own")
        words = [word for word in column.tolist() if isinstance(word, str)] if column.dtype.kind in "OUT" else []
        if not words:
            values[:, place] = _numbers(column, f"{what}, column {name!r}")
        elif len(words) < len(column):
            raise ValueError(
                f"{what}, column {name!r}: {len(column) - len(words)} of {len(column)} values are no text, though the"
                " others are; leave those rows out"
            )
        else:
            known, places = np.unique(np.asarray(words), return_inverse=True)
            values[:, place] = places
            labels.append((place, [str(word) for word in known]))
    return Columns(names, values, labels)


def _numbers(array: NDArray[Any], what: str) -> NDArray[np.float64]:
    if array.dtype.kind == "c":
        raise ValueError(f"{what} has complex numbers; give real and imaginary parts as columns")
    if array.dtype.kind in "OUST":
        try:
            return np.ascontiguousarray(array.astype(np.float64))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{what} has values that are no numbers ({error}); give numbers") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} has elements of type {array.dtype}; give numbers")
    return np.ascontiguousarray(array, dtype=np.float64)


def beside(x: Any, given: Any, weights: Any, what: str = "x") -> tuple[Columns, list[str], str | None]:
    """One table of `x`, `given` and `weights`, the names of the given columns, and that of the column of weights."""
    table = columns(x, what)
    parts, given_names, weight_name = [_named(table, "x")], [], None
    if given is not None and _is_names(given):
        given_names = [given] if isinstance(given, str) else list(given)
    elif given is not None:
        context = _named(beside_rows(given, "given"), "c")
        given_names = context.names or []
        parts.append(context)
    if isinstance(weights, str):
        weight_name = weights
    elif weights is not None:
        weight_name = "weights"
        parts.append(Columns([weight_name], beside_rows(weights, "weights").values, []))
    _require_known(parts[0].names or [], [*given_names, *([weight_name] if weight_name else [])], parts)
    return _joined(parts), given_names, weight_name


def beside_rows(x: Any, what: str) -> Columns:
    """Lay out numbers that belong to the rows of another array, as `columns` does; of one axis, one for each row."""
    if not hasattr(x, "columns"):
        x = np.asanyarray(x)
        x = x.reshape(-1, 1) if x.ndim == 1 else x
    return columns(x, what)


def _is_names(given: Any) -> bool:
    listed = isinstance(given, Sequence) and len(given) > 0 and all(isinstance(name, str) for name in given)
    return isinstance(given, str) or listed


def _named(table: Columns, letter: str) -> Columns:
    names = table.names or [f"{letter}{place}" for place in range(table.values.shape[1])]
    return Columns(names, table.values, table.labels)


def _require_known(own: list[str], wanted: list[str], parts: list[Columns]) -> None:
    known = [name for part in parts for name in part.names or []]
    for name in wanted:
        if name not in known:
            raise ValueError(f"x has no column {name!r}; its columns are {', '.join(own)}")


def _joined(parts: list[Columns]) -> Columns:
    rows = parts[0].values.shape[0]
    names: list[str] = []
    labels: list[tuple[int, list[str]]] = []
    width = 0
    for part in parts:
        if part.values.shape[0] != rows:
            called = "weights" if part.names == ["weights"] else "given"
            raise ValueError(f"{called} has {part.values.shape[0]} rows, but x has {rows}; give one for every row of x")
        labels.extend((width + place, words) for place, words in part.labels)
        names.extend(part.names or [])
        width += part.values.shape[1]
    if len(parts) == 1:
        return parts[0]
    return Columns(names, np.hstack([part.values for part in parts]), labels)
