"""Runs replays of the nightly pass, some of which are killed; see `kill_fuse`.

Orders: folder, days, kill_at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import filelock  # noqa: F401 - once here, not in every child
import matplotlib.backends.backend_agg  # noqa: F401 - the same
import scipy.stats  # noqa: F401 - the same

import mlops_cli.trading.alpaca.alpaca_broker  # noqa: F401 - the same
from mlops_cli.market.hours import us_hours
from tests.fakes.kill_fuse import serve
from tests.fakes.live_replays import reported
from tests.fakes.projects import SmallProject


def replay(order: dict[str, Any]) -> dict[str, Any]:
    """A replay with its report."""
    result, _ = reported(SmallProject(Path(order["folder"])), days=order["days"])
    return {"outcome": "done", "issued": result["journal"]["counts"]["issued"]}


if __name__ == "__main__":
    us_hours()
    serve(replay)
