"""Measures false alarms, alarms found and their delay on simulated fleets: states of health of `mlops_cli.live.health`.

.venv/bin/python tests/bench/bench_health.py --seeds 20 --json health.json
.venv/bin/python tests/bench/bench_health.py --prices FOLDER --broken 25
.venv/bin/python tests/bench/bench_health.py --seeds 5 --first 0 --retrain 21
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # this file is started by its path, and the imports below are relative to the repository

from mlops_cli.live.health.calibration import calibrate  # noqa: E402
from mlops_cli.live.health.state import Health, State, read_health  # noqa: E402
from mlops_cli.live.health.update import update  # noqa: E402
from tests.bench.health_prices import real_fleets  # noqa: E402
from tests.fakes.simulated_fleets import REFERENCE, Fleet, simulated_fleet  # noqa: E402

YEAR = 252
WEEK = 5
WITHIN = 40
SHOCK = 20


@dataclass(frozen=True)
class Seed:
    """What one seed gave.

    Attributes:
        alarms: models with an alarm in a year without any change.
        watched: models in watch at the end of that year.
        fleet: the fleet's state was broken at least once in that year (looked at once a week).
        found: broken models with an alarm within `WITHIN` sessions.
        false: other models with an alarm then.
        delays: sessions until the alarm, of those found.
        shock: state of the fleet `SHOCK` sessions after all models broke at once.
        shock_alarms: models with an alarm then.
        crisis_alarms: models with an alarm after 20 sessions with returns four times as large.
    """

    alarms: int
    watched: int
    fleet: bool
    found: int
    false: int
    delays: list[int]
    shock: str
    shock_alarms: int
    crisis_alarms: int


def measure(fleet: Fleet, broken: int, seed: int, noise: float = 0.3, reference: int = 500) -> Seed:
    """Judge one fleet unchanged for a year, with broken models, with a common shock and through a crisis."""
    models = fleet.returns.shape[1]
    calibration = calibrate(fleet.frame(REFERENCE - 20 - reference, REFERENCE), fleet.versions, seed)

    def judged(changed: Fleet, sessions: int) -> Health:
        return update(Health(), changed.live(sessions), calibration)

    weeks = [Health()]
    for week in range(0, YEAR, WEEK):
        rows = fleet.frame(REFERENCE + week, REFERENCE + min(week + WEEK, YEAR))
        weeks.append(update(weeks[-1], rows, calibration))
    some = judged(fleet.broken(broken, noise, seed), WITHIN)
    names = set(fleet.names[:broken])
    alarms = [name for name, model in some.models.items() if model.state is State.BROKEN]
    all_of_them = judged(fleet.broken(models, noise, seed), SHOCK)
    return Seed(
        alarms=_alarms(weeks[-1]),
        watched=sum(model.state is State.WATCH for model in weeks[-1].models.values()),
        fleet=any(health.fleet.state is State.BROKEN for health in weeks),
        found=len(names.intersection(alarms)),
        false=len(set(alarms) - names),
        delays=[_delay(some, name, fleet) for name in alarms if name in names],
        shock=str(all_of_them.fleet.state),
        shock_alarms=_alarms(all_of_them),
        crisis_alarms=_alarms(judged(fleet.crisis(20, 20, 4.0), 60)),
    )


def alarms_with_retraining(fleet: Fleet, every: int, seed: int) -> int:
    """Alarms in a year without any change in which all models get a new version after so many sessions."""
    health, alarms = Health(), 0
    for version, start in enumerate(range(0, YEAR, every)):
        rows = fleet.frame(start, REFERENCE + start, str(version))
        calibration = calibrate(rows, dict.fromkeys(fleet.names, str(version)), seed)
        end = min(start + every, YEAR)
        health = update(health, fleet.frame(REFERENCE + start, REFERENCE + end, str(version)), calibration)
        alarms += _alarms(health)
    return alarms


def seconds_per_session(models: int) -> tuple[float, float]:
    """Seconds to calibrate, and to read the state, judge one session and write the state."""
    fleet = simulated_fleet(models, 2, 0)
    start = time.perf_counter()
    calibration = calibrate(fleet.reference(), fleet.versions)
    calibrated = time.perf_counter() - start
    text = update(Health(), fleet.live(1), calibration).model_dump_json()
    rows = fleet.live(2)
    start = time.perf_counter()
    update(read_health(text), rows, calibration).model_dump_json()
    return calibrated, time.perf_counter() - start


def _alarms(health: Health) -> int:
    return sum(model.state is State.BROKEN for model in health.models.values())


def _delay(health: Health, name: str, fleet: Fleet) -> int:
    days = fleet.live(WITHIN)["target_session"].drop_duplicates().dt.date.tolist()
    since = health.models[name].since
    assert since is not None
    return days.index(since) + 1


def _table(seeds: dict[str, Seed]) -> str:
    lines = ["| seed | alarms in a year | watch | fleet | found | false | median delay | shock | its alarms | crisis |"]
    lines += ["|" + "---:|" * 10]
    for number, seed in seeds.items():
        delay = f"{np.median(seed.delays):.0f}" if seed.delays else "-"
        cells = [number, seed.alarms, seed.watched, "broken" if seed.fleet else "", seed.found, seed.false, delay]
        cells += [seed.shock, seed.shock_alarms, seed.crisis_alarms]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    alarms, found, false = ([getattr(seed, name) for seed in seeds.values()] for name in ("alarms", "found", "false"))
    lines.append(
        f"\nmean alarms in a year {np.mean(alarms):.2f}, most {max(alarms)}; found: mean {np.mean(found):.1f}, "
        f"least {min(found)}; false: mean {np.mean(false):.2f}, most {max(false)}; fleet broken in "
        f"{sum(seed.fleet for seed in seeds.values())} of {len(seeds)} years"
    )
    return "\n".join(lines)


def _fleets(given: argparse.Namespace) -> Iterator[tuple[str, Fleet]]:
    if given.prices:
        yield from real_fleets(given.prices)
        return
    for seed in range(given.first, given.first + given.seeds):
        yield str(seed), simulated_fleet(given.models, YEAR, seed, given.size)


def main() -> None:
    """Print the table, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=200, help="the first seed; constants were chosen on seeds below")
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--broken", type=int, default=50)
    parser.add_argument("--size", type=float, default=0.08, help="sd of honest forecasts in sd of returns")
    parser.add_argument("--noise", type=float, default=0.3, help="sd of the noise of broken models, likewise")
    parser.add_argument("--reference", type=int, default=500, help="sessions of the reference: 60, 120, 250 or 500")
    parser.add_argument("--prices", type=Path, help="folder of price files: linear models on real prices, by year")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--retrain", type=int, help="only alarms in a year with a new version of all after this many")
    given = parser.parse_args()
    if given.retrain:
        for number, (name, fleet) in enumerate(_fleets(given)):
            print(f"{name}: {alarms_with_retraining(fleet, given.retrain, number)} alarms in a year", flush=True)
        return
    seeds = {}
    for number, (name, fleet) in enumerate(_fleets(given)):
        seeds[name] = measure(fleet, given.broken, number, given.noise, given.reference)
        print(f"{name}: {seeds[name].alarms} alarms, {seeds[name].found} found", file=sys.stderr, flush=True)
    print(_table(seeds))
    calibrated, judged = seconds_per_session(1800)
    print(f"\n1,800 models: calibration {calibrated:.2f} s, one session {judged:.3f} s")
    if given.json:
        given.json.write_text(json.dumps({name: asdict(seed) for name, seed in seeds.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
