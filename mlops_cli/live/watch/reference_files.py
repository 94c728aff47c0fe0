"""The stored references: forecasts of each model that were made out of sample, and for which version they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from mlops_cli.system.files import write_whole

FILE = "references.parquet"
PRICES = ("last_close", "raw_predicted_close", "base_predicted_close", "announced_dividend", "actual_close")
COLUMNS = ("model", "target_session", *PRICES)
_BUILT = b"mlops.built"


class Built(BaseModel):
    """What the reference of a model was built for.

    Attributes:
        version: that it judges.
        group: of that version: versions of another group have another config.
        until: the last target session that it may hold; later ones are judged. Sessions up to this day that it lacks
            were left out on purpose.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    group: str
    until: date


_Models = TypeAdapter(dict[str, Built])


@dataclass(frozen=True)
class References:
    """References of all models.

    Attributes:
        rows: columns COLUMNS, in order of model and target session. The forecast before shrinkage is kept, because a
            later version may shrink otherwise.
        built: by label.
    """

    rows: pd.DataFrame
    built: dict[str, Built]


def no_references() -> References:
    """References of no model."""
    types = {"model": "str", "target_session": "datetime64[s]", **dict.fromkeys(PRICES, "float64")}
    return References(pd.DataFrame(columns=list(COLUMNS)).astype(types), {})


def read_references(folder: Path) -> References:
    """Read them; none if the file is missing or damaged: they are then built again."""
    try:
        table = pq.read_table(folder / FILE)
        built = _Models.validate_json((table.schema.metadata or {}).get(_BUILT, b""))
        rows = table.to_pandas().astype({"model": "str", "target_session": "datetime64[s]"})
        return References(rows[list(COLUMNS)], built)
    except (OSError, pa.ArrowException, ValidationError, KeyError):
        return no_references()


def write_references(folder: Path, references: References) -> None:
    """Write them, whole or not at all."""
    rows = references.rows.astype({"model": "category"})
    table = pa.Table.from_pandas(rows, preserve_index=False)
    table = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), _BUILT: _Models.dump_json(references.built)}
    )
    write_whole(folder / FILE, lambda part: pq.write_table(table, part))


def as_outcomes(references: References, shrinkages: dict[str, float]) -> pd.DataFrame:
    """The rows as `calibration.calibrate` takes them, as if the version that is judged had shrunk all forecasts.

    An earlier version may have been shrunk to nothing, so that its errors were those of the naive forecast; beside
    them, every forecast of a later one would look like a change. `models.base` has the formula.

    Args:
        references: of any models.
        shrinkages: of the version that is judged, by label; other models are left out.
    """
    rows = references.rows[references.rows["model"].isin(list(shrinkages))]
    last = rows["last_close"].to_numpy("float64")
    paid = rows["announced_dividend"].to_numpy("float64") / last
    network, base = (
        np.log(rows[name].to_numpy("float64") / last + paid) for name in ("raw_predicted_close", "base_predicted_close")
    )
    shrinkage = rows["model"].map(shrinkages).to_numpy("float64")
    total = base + shrinkage * (network - base)
    versions = {label: references.built[label].version for label in shrinkages}
    return pd.DataFrame(
        {
            "model": rows["model"],
            "version": rows["model"].map(versions),
            "target_session": rows["target_session"],
            "last_close": last,
            "predicted_close": last * np.maximum(np.exp(total) - paid, 1e-6),
            "actual_close": rows["actual_close"],
        }
    )
