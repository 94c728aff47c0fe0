"""Which columns the rows of a request hold: all inputs of a model, or all but the widths of its intervals."""

from __future__ import annotations

from typing import Protocol

from mlops_cli.features.column_names import ANNOUNCED
from mlops_cli.serving.contract.messages import BadInputError, Query

DIVIDEND_HINT = (
    f"{ANNOUNCED} is the dividend of the next session over the last close, 0 where none is announced: the feature "
    "table has it, and mlops actions list --upcoming shows it; POST /forecasts finds it by itself"
)


class Described(Protocol):
    """A model, or a version of it, by its columns."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """All columns; the last ones are the widths of intervals, one for each level."""
        ...

    @property
    def needed(self) -> tuple[str, ...]:
        """All columns but the widths."""
        ...

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels of the intervals."""
        ...


def columns_of(query: Query, model: Described) -> tuple[str, ...]:
    """The names of the columns of a request's rows.

    A caller need not send the widths of intervals, unless it asks for intervals: callers from before there were
    intervals are answered as ever.

    Raises:
        BadInputError: there are no rows, or they have other columns; or intervals are asked for, and the model has none
            or the rows lack the widths.
    """
    rows, inputs, needed = query.rows, model.inputs, model.needed
    if query.interval and not model.levels:
        raise BadInputError(
            f"{query.model} has no output interval: its models were trained without intervals, or with different ones",
            "ask for log_return alone, or train again: mlops run",
        )
    if rows.ndim == 2 and len(rows):
        if rows.shape[1] == len(inputs):
            return inputs
        if rows.shape[1] == len(needed):
            if query.interval:
                widths = ", ".join(inputs[len(needed) :])
                raise BadInputError(
                    f"the output interval needs the columns {widths}, and the rows end before them",
                    f"the feature table has them; expected: {', '.join(inputs)}",
                )
            return needed
        if ANNOUNCED in needed and rows.shape[1] in (len(needed) - 1, len(inputs) - 1):
            raise BadInputError(f"the rows lack the column {ANNOUNCED}", f"{DIVIDEND_HINT}; {_expected(model)}")
    raise BadInputError(f"the input has shape {list(rows.shape)}", _expected(model))


def _expected(model: Described) -> str:
    inputs, widths = model.inputs, model.inputs[len(model.needed) :]
    optional = f" ({', '.join(widths)} only for the output interval)" if widths else ""
    return f"expected: rows of {len(inputs)} columns: {', '.join(inputs)}{optional}"
