"""How much of a scenario the forecasts fill, per model and exchange."""

from __future__ import annotations

from datetime import date

import pandas as pd

from mlops_cli.market.sessions import sessions
from mlops_cli.simulation.coverage import coverage

START, END = date(2024, 1, 1), date(2024, 4, 1)
DAYS = sessions("XNYS", START, date(2024, 3, 31))


def forecasts(**counts: int) -> pd.DataFrame:
    parts = [pd.DataFrame({"model": name, "target_session": DAYS[:count]}) for name, count in counts.items()]
    return pd.concat(parts, ignore_index=True)


def test_a_filled_scenario():
    filled = coverage(forecasts(a=len(DAYS), b=len(DAYS) - 1), {"a": "XNYS", "b": "XNYS"}, START, END)
    assert filled == {
        "sessions": len(DAYS), "replayed": len(DAYS), "last_session": "2024-03-28", "filled": True, "short_models": {},
    }  # fmt: skip


def test_data_that_end_early():
    filled = coverage(forecasts(a=20, b=2), {"a": "XNYS", "b": "XNYS"}, START, END)
    assert (filled["replayed"], filled["sessions"], filled["last_session"]) == (20, len(DAYS), str(DAYS[19].date()))
    assert filled["short_models"] == {"b": 2, "a": 20}
    assert list(filled["short_models"]) == ["b", "a"]


def test_each_model_is_judged_by_its_own_exchange():
    both = sessions("XNYS", START, date(2024, 3, 31)).union(sessions("XTKS", START, date(2024, 3, 31)))
    filled = coverage(forecasts(a=len(DAYS), b=40), {"a": "XNYS", "b": "XTKS"}, START, END)
    assert filled["sessions"] == len(both)
    assert filled["short_models"] == {"b": 40}


def test_at_most_twenty_models_are_named():
    names = [f"m{number:02}" for number in range(30)]
    filled = coverage(forecasts(**dict.fromkeys(names, 3)), dict.fromkeys(names, "XNYS"), START, END)
    assert list(filled["short_models"]) == names[:20]
