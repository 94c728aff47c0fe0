"""Files of known bars in random notations, with faults: the numbers kept equal the numbers meant, or it is refused."""

from __future__ import annotations

import os
import time
from collections import Counter
from itertools import count

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, seed, settings

from mlops_cli.errors import DataError
from mlops_cli.prices.sources.files.content import Content
from mlops_cli.prices.sources.files.reader import read_bars
from mlops_cli.prices.sources.source import RawBars
from mlops_cli.prices.table import assemble
from tests.fakes.price_files import TICKER, WrittenFile, written_files

FILES = 200
MINUTES = float(os.environ.get("MLOPS_FUZZ_MINUTES", "10"))
QUIET = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


def verdict(file: WrittenFile) -> str:
    """`read` or `refused`; an AssertionError if a number was kept that the file does not mean, or a row was lost."""
    try:
        bars = read_bars(Content.of_bytes(file.body), TICKER, lambda: "America/New_York")
        if right(bars, file):
            return "read"
        # what a reader cannot see may be seen by the cleaning rules
        assemble(RawBars(TICKER, bars, "fuzz"), None, "XNYS", None, None, "2024-07-01T00:00:00+00:00")
    except DataError as error:
        refusal = error
    else:
        raise AssertionError(f"{file}\n{bars}\n{file.truth}")
    assert refusal.hint, file
    assert len(refusal.message) < 700, file
    return "refused"


def right(bars: pd.DataFrame, file: WrittenFile) -> bool:
    """Whether the bars are those that are meant."""
    truth = file.truth
    meant = truth.dropna(how="all")
    if file.fault == "torn":
        bars = bars.dropna(subset=["close"])
        meant = meant[meant.index.isin(bars.index)]
        bars.loc[bars.index[-1:], "volume"] = meant["volume"].reindex(bars.index[-1:])
        bars.loc[bars.index[-1:], "adj_close"] = meant["adj_close"].reindex(bars.index[-1:])
        # a cell that was cut off is missing, which is no wrong number; cleaning fills it and says so
        bars = bars.fillna(meant.reindex(bars.index[-1:]))
        if not file.style.zeros:
            bars = with_unseen_cut(bars, meant)
    kept = bars.dropna(how="all", subset=list(truth.columns)).sort_index()
    if not kept.index.equals(meant.index):
        return False
    return bool(np.allclose(kept[list(truth.columns)], meant, rtol=1e-9, equal_nan=True))


def with_unseen_cut(bars: pd.DataFrame, meant: pd.DataFrame) -> pd.DataFrame:
    """The bars, with the price of the last row that nobody can see to be cut off replaced by the one that is meant.

    Where zeros at the end are left out, a last price may have as few decimals as another price of its row.
    """
    prices = meant[["open", "high", "low", "close"]].iloc[-1:]
    if prices.empty:
        return bars
    day, row = prices.index[0], prices.iloc[0]
    fewest = {name: min(decimals(value) for other, value in row.items() if other != name) for name in row.index}
    for name, value in row.items():
        kept = bars.loc[day, name]
        if decimals(kept) >= fewest[name] and f"{value:.10f}".startswith(f"{kept:.{decimals(kept)}f}"):
            bars.loc[day, name] = value
    return bars


def decimals(value: float) -> int:
    return len(f"{value:.6f}".rstrip("0").partition(".")[2])


def outcomes(number: int | None, files: int) -> Counter[str]:
    seen: Counter[str] = Counter()

    @given(written_files())
    def judge(file: WrittenFile) -> None:
        seen[verdict(file)] += 1

    run = settings(QUIET, max_examples=files, derandomize=number is None)(judge)
    (seed(number)(run) if number is not None else run)()
    return seen


def test_of_200_files_none_is_read_wrongly():
    seen = outcomes(None, FILES)
    assert seen["read"] + seen["refused"] >= FILES
    assert seen["read"] >= FILES // 3


@pytest.mark.soak
@pytest.mark.timeout(60 * MINUTES + 300)
def test_files_for_minutes():
    until, seen = time.monotonic() + 60 * MINUTES, Counter()
    for number in count(1):
        if time.monotonic() > until:
            break
        seen += outcomes(number, 500)
    print(dict(seen), "seeds", number)
    assert seen["read"] >= seen.total() // 3
