"""Who answers at each load level: the model, its small variant, or an earlier answer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from mlops_cli.config.schemas.serving import Serving
from mlops_cli.features.column_names import ANNOUNCED, width_columns
from mlops_cli.models.base import wrap_graph
from mlops_cli.models.graph import constant_return_graph
from mlops_cli.models.manifest import GRAPH, file_hashes
from mlops_cli.models.shared.weight_files import WeightFiles
from mlops_cli.serving.answering.degradation import Answering, LoadLevel, Target, has_columns, pick_columns
from mlops_cli.serving.answering.dispatcher import Dispatcher
from mlops_cli.serving.answering.latest_forecasts import LatestForecasts
from mlops_cli.serving.answering.latest_rows import LatestRow, LatestRows
from mlops_cli.serving.answering.shadow import Shadow
from mlops_cli.serving.catalog.catalog import Catalog, ServedModel
from mlops_cli.serving.catalog.loaded_models import LoadedModels
from mlops_cli.serving.contract.messages import Answer, BadInputError
from tests.fakes.served_catalogs import catalog, ensemble, model

ROWS = np.array([[1.0, 2.0]], dtype=np.float32)


class Bench:
    """Constant models in memory, and what answers from them at a level that the test sets."""

    def __init__(self, root: Path, executor: ThreadPoolExecutor, **settings: Any) -> None:
        self.root = root
        self.files = WeightFiles(root / "files")
        chosen = Serving.model_validate(settings)
        self.load = LoadLevel(chosen)
        self.dispatcher = Dispatcher(chosen)
        self.loaded = LoadedModels(self.files, 10**9, executor)
        self.answering = Answering(chosen, self.loaded, self.dispatcher, self.load)

    def served(
        self,
        name: str,
        *returns: float,
        inputs: tuple[str, ...] = ("a", "b"),
        levels: tuple[float, ...] = (),
        **changes: Any,
    ) -> ServedModel:
        """A model whose versions forecast these constants, newest first; with levels, of intervals as wide as asked."""
        versions = []
        for log_return in returns:
            folder = self.root / f"{name}-{log_return}"
            folder.mkdir()
            onnx.save(constant_return_graph(len(inputs), log_return), folder / GRAPH)
            if levels:
                wrap_graph(folder / GRAPH, len(inputs), len(levels), dividend=False)
            sha = file_hashes(folder)[GRAPH]
            columns = (*inputs, *width_columns(levels))
            self.files.prepare(folder, sha, len(columns))
            about = {"sha": sha, "folder": folder, "inputs": columns, "levels": levels, **changes}
            (made,) = model(name, f"{name}:{log_return}", **about).versions
            versions.append(made)
        return ServedModel(name, "main", name, tuple(versions), default=versions[0])

    async def ask(
        self, all_models: Catalog, served: ServedModel, number: int = 0, rows: Any = ROWS, fixed: bool = False
    ) -> Answer:
        target = Target(served, served.versions[number], fixed)
        return await self.answering.answer(all_models, target, ("a", "b"), rows)


Work = Callable[[Bench], Awaitable[None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., None]:
    def whole(work: Work, **settings: Any) -> None:
        async def inside() -> None:
            with ThreadPoolExecutor(1) as executor:
                bench = Bench(tmp_path, executor, **settings)
                await work(bench)
                await bench.dispatcher.stop()

        asyncio.run(inside())

    return whole


def test_without_load_the_model_itself_answers_and_nothing_is_repeated(run: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        full, small = bench.served("m", 0.5, small="s"), bench.served("s", 0.25)
        models = catalog([full, small])
        for _ in range(2):
            answer = await bench.ask(models, full)
            assert (answer.answered_by, answer.rung, answer.age, answer.version) == ("m", "full", 0.0, "m:0.5")
            assert answer.log_return.tolist() == [0.5]

    run(work)


def test_from_level_one_the_small_variant_answers_unless_a_version_is_fixed(run: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        full, small = bench.served("m", 0.5, small="s"), bench.served("s", 0.25, inputs=("b",))
        models = catalog([full, small])
        bench.load.level = 1
        answer = await bench.ask(models, full)
        assert (answer.model, answer.answered_by, answer.rung) == ("m", "s", "small")
        assert answer.log_return.tolist() == [0.25]
        assert (await bench.ask(models, full, fixed=True)).answered_by == "m"

    run(work)


@pytest.mark.parametrize(("dividend", "by"), [(0.0, "s"), (0.01, "m")])
def test_a_small_variant_that_subtracts_no_dividend_does_not_answer_where_one_is_announced(
    run: Callable[..., None], dividend: float, by: str
) -> None:
    async def work(bench: Bench) -> None:
        full = bench.served("m", 0.5, inputs=("a", ANNOUNCED), small="s")
        small = bench.served("s", 0.25, inputs=("a",))  # a baseline, for example
        bench.load.level = 1
        rows = np.array([[1.0, dividend]], np.float32)
        target = Target(full, full.versions[0])
        answer = await bench.answering.answer(catalog([full, small]), target, ("a", ANNOUNCED), rows)
        assert answer.answered_by == by

    run(work)


@pytest.mark.parametrize("reason", ["gone", "other columns", "quarantined", "switched off"])
def test_without_a_usable_small_variant_the_model_answers(run: Callable[..., None], reason: str) -> None:
    async def work(bench: Bench) -> None:
        full = bench.served("m", 0.5, small="s")
        others = {
            "gone": [],
            "other columns": [bench.served("s", 0.25, inputs=("c",))],
            "quarantined": [model("s")],
            "switched off": [bench.served("s", 0.125)],
        }[reason]
        bench.load.level = 3
        answer = await bench.ask(catalog([full, *others]), full)
        assert (answer.answered_by, answer.rung) == ("m", "full")

    run(work, smaller_model={"enabled": reason != "switched off"})


def test_from_level_two_the_same_values_get_the_earlier_answer(run: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        full = bench.served("m", 0.5)
        models = catalog([full])
        await bench.ask(models, full)
        bench.load.level = 2
        answer = await bench.ask(models, full)
        assert (answer.rung, answer.log_return.tolist()) == ("cached", [0.5])
        assert 0 < answer.age < 10
        assert (await bench.ask(models, full, rows=ROWS + 1)).rung == "full"

    run(work)


def test_an_earlier_answer_of_another_version_is_not_given(run: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        full = bench.served("m", 0.5, 0.75)
        models = catalog([full])
        await bench.ask(models, full, number=1, fixed=True)
        bench.load.level = 2
        assert (await bench.ask(models, full)).log_return.tolist() == [0.5]
        assert (await bench.ask(models, full, number=1, fixed=True)).log_return.tolist() == [0.75]

    run(work)


def test_a_table_of_many_rows_is_neither_stored_nor_repeated(run: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        full = bench.served("m", 0.5)
        models, rows = catalog([full]), np.ones((300, 2), dtype=np.float32)
        bench.load.level = 2
        for _ in range(2):
            assert (await bench.ask(models, full, rows=rows)).rung == "full"

    run(work)


def test_an_unusable_forecast_is_refused_and_not_stored(run: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        full = bench.served("m", 101.0)
        bench.load.level = 3
        for rows in (ROWS, np.ones((3, 2), dtype=np.float32)):
            for _ in range(2):
                with pytest.raises(BadInputError, match="m: these values give no usable forecast"):
                    await bench.ask(catalog([full]), full, rows=rows)

    run(work)


def test_columns_are_picked_by_name() -> None:
    rows = np.array([[1.0, 2.0, 3.0]], dtype=np.float32)
    assert pick_columns(rows, ("a", "b", "c"), ("c", "a")).tolist() == [[3.0, 1.0]]
    assert pick_columns(rows, ("a", "b", "c"), ("a", "b", "c")) is rows
    assert has_columns(("a", "b"), ("b",))
    assert not has_columns(("a", "b"), ("b", "x"))
    with pytest.raises(BadInputError, match="columns are missing: x, y") as caught:
        pick_columns(rows, ("a", "b", "c"), ("x", "a", "y"))
    assert caught.value.hint == "expected: x, a, y"


def test_a_shadow_is_compared_and_neither_under_load_nor_with_itself(run: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        full = bench.served("m", 0.5, 0.75)
        followed = ServedModel("m", "main", "m", full.versions, default=full.default, shadow=full.versions[1])
        models, shadow = catalog([followed]), Shadow(bench.answering, bench.load)
        answer = await bench.ask(models, followed)
        shadow.follow(models, followed, ("a", "b"), ROWS, answer)
        await shadow.stop()
        assert (shadow.rows, shadow.difference, shadow.failures) == (1, 0.25, 0)
        shadow.follow(models, followed, ("a", "b"), ROWS, await bench.ask(models, followed, number=1))
        shadow.follow(models, followed, ("b",), ROWS[:, 1:], answer)
        bench.load.level = 1
        shadow.follow(models, followed, ("a", "b"), ROWS, answer)
        await shadow.stop()
        assert shadow.rows == 1

    run(work)


def test_a_failing_shadow_is_counted_and_harms_nobody(run: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        full = bench.served("m", 0.5, 500.0)
        followed = ServedModel("m", "main", "m", full.versions, default=full.default, shadow=full.versions[1])
        models, shadow = catalog([followed]), Shadow(bench.answering, bench.load)
        shadow.follow(models, followed, ("a", "b"), ROWS, await bench.ask(models, followed))
        await shadow.stop()
        assert (shadow.rows, shadow.failures) == (0, 1)

    run(work)


class OneRow(LatestRows):
    """The same newest row in every feature table: the eve of an ex-date, with a dividend of 1 % of the close."""

    def __init__(self) -> None:
        pass

    async def get(self, models: Any) -> Any:
        values = np.array([[1.0, 2.0, 0.01]], np.float32)
        day = date(2024, 3, 7)
        return dict.fromkeys(models, LatestRow(("a", "b", ANNOUNCED), values, day, date(2024, 3, 8), 100.0, 0.01))


def test_an_ensemble_counts_the_dividend_only_for_members_that_subtract_it(run: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        subtracts = bench.served("m", math.log(0.99), inputs=("a", "b", ANNOUNCED))
        baseline = bench.served("n", 0.0)
        together = ensemble("both", (subtracts, 0.5), (baseline, 0.5))
        latest = LatestForecasts(bench.answering, OneRow())
        (both,), _ = await latest.of(catalog([subtracts, baseline], [together]), ["both"], set())
        assert both.announced_dividend == 1.0
        assert both.predicted_close == pytest.approx(100.0 * math.sqrt(0.99), rel=1e-6)
        assert both.expected_total_return == pytest.approx(0.0, abs=1e-7), "as a team that trades on both expects"

    run(work)


class NoTables(LatestRows):
    """Feature tables of which none has a row."""

    def __init__(self) -> None:
        pass

    async def get(self, models: Any) -> Any:
        return dict.fromkeys(models, "no feature table")


def test_latest_forecasts_tell_each_reason_once_and_for_those_asked_for(run: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        full, other = bench.served("m", 0.5), bench.served("n", 0.5)
        latest = LatestForecasts(bench.answering, NoTables())
        forecasts, reasons = await latest.of(catalog([full, other]), ["n", "m"], {"m"})
        assert forecasts == []
        assert list(reasons.items()) == [("n", "no feature table"), ("m", "it is unloaded")]

    run(work)


LEVELS = (80.0, 95.0)
WIDE = ("a", "b", *width_columns(LEVELS))
WIDE_ROWS = np.array([[1.0, 2.0, 0.125, 0.25]], dtype=np.float32)


async def with_interval(bench: Bench, models: Catalog, served: ServedModel, fixed: bool = False) -> Answer:
    target = Target(served, served.versions[0], fixed)
    return await bench.answering.answer(models, target, WIDE, WIDE_ROWS, interval=True)


def test_intervals_are_answered_where_they_are_asked_for(run: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        full = bench.served("m", 0.5, levels=LEVELS)
        models = catalog([full])
        answer = await with_interval(bench, models, full)
        assert answer.interval is not None
        assert answer.interval.tolist() == [[0.375, 0.625, 0.25, 0.75]]
        assert answer.log_return.tolist() == [0.5]
        plain = await bench.answering.answer(models, Target(full, full.versions[0]), WIDE, WIDE_ROWS)
        assert plain.interval is None

    run(work)


def test_without_widths_the_forecast_is_the_same(run: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        full = bench.served("m", 0.5, levels=LEVELS)
        answer = await bench.ask(catalog([full]), full)
        assert (answer.log_return.tolist(), answer.interval) == ([0.5], None)

    run(work)


def test_a_stored_answer_without_an_interval_is_no_answer_with_one(run: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        full = bench.served("m", 0.5, levels=LEVELS)
        models = catalog([full])
        await bench.answering.answer(models, Target(full, full.versions[0]), WIDE, WIDE_ROWS)
        bench.load.level = 2
        assert (await with_interval(bench, models, full)).rung == "full"
        again = await with_interval(bench, models, full)
        assert again.rung == "cached"
        assert again.interval is not None
        assert again.interval.tolist() == [[0.375, 0.625, 0.25, 0.75]]

    run(work)


@pytest.mark.parametrize(("levels", "by"), [(LEVELS, "s"), ((90.0, 95.0), "m"), ((), "m")])
def test_a_small_variant_gives_intervals_of_the_same_levels_or_none(
    run: Callable[..., None], levels: tuple[float, ...], by: str
) -> None:
    async def work(bench: Bench) -> None:
        full = bench.served("m", 0.5, small="s", levels=LEVELS)
        small = bench.served("s", 0.25, levels=levels)
        bench.load.level = 1
        models = catalog([full, small])
        answer = await with_interval(bench, models, full)
        assert answer.answered_by == by
        assert answer.interval is not None
        assert answer.interval.shape == (1, 4)
        assert (await bench.ask(models, full)).answered_by == "s", "without an interval, it can answer"

    run(work)


def test_widths_that_turn_an_interval_around_are_refused(run: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        full = bench.served("m", 0.5, levels=LEVELS)
        target = Target(full, full.versions[0])
        with pytest.raises(BadInputError, match="no usable forecast"):
            await bench.answering.answer(catalog([full]), target, WIDE, -WIDE_ROWS, interval=True)

    run(work)


def test_requests_with_and_without_intervals_run_together(run: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        full = bench.served("m", 0.5, levels=LEVELS)
        loaded = await bench.loaded.load(full.versions[0])
        for slow in (False, True):
            loaded.seconds = 1.0 if slow else 0.0  # slow ones run in a thread
            (plain, _), (wide, _) = await asyncio.gather(
                bench.dispatcher.run_queued(loaded, WIDE_ROWS), bench.dispatcher.run_queued(loaded, WIDE_ROWS, 2)
            )
            assert [len(plain), len(wide)] == [2, 3]
            assert wide[2].tolist() == [[0.375, 0.625, 0.25, 0.75]]

    run(work)


def test_missing_widths_are_filled_up_and_other_columns_are_not() -> None:
    rows = np.array([[1.0, 2.0]], dtype=np.float32)
    assert pick_columns(rows, ("b", "a"), WIDE, LEVELS).tolist() == [[2.0, 1.0, 10.0, 10.0]]
    assert pick_columns(WIDE_ROWS, WIDE, WIDE, LEVELS) is WIDE_ROWS
    with pytest.raises(BadInputError, match="columns are missing: a"):
        pick_columns(rows, ("b", "c"), WIDE, LEVELS)
