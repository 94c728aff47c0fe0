"""The data plane over real model folders: what answers, from which version, on which rung, while folders change."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Serving
from mlops_cli.features.column_names import width_columns
from mlops_cli.models.base import wrap_graph
from mlops_cli.models.manifest import GRAPH, MANIFEST, file_hashes
from mlops_cli.models.predict import Model
from mlops_cli.models.shared.weight_files import WeightFiles
from mlops_cli.models.store import install
from mlops_cli.models.versions import Champion, model_versions, write_champion
from mlops_cli.serving.catalog.loaded_models import LoadedModels
from mlops_cli.serving.catalog.metadata import describe, models_of
from mlops_cli.serving.contract.messages import (
    Answer,
    BadInputError,
    OverloadedError,
    Query,
    ServedVersion,
    UnknownModelError,
    UnservableError,
)
from mlops_cli.serving.data_plane import DataPlane
from tests.fakes.model_folders import manifest_of
from tests.fakes.served_projects import BRANCH, COLUMNS, install_model, mlp_graph, served_project

ROWS = np.random.default_rng(5).standard_normal((3, len(COLUMNS))).astype(np.float32)
SESSIONS = pd.date_range("2024-01-01", periods=5, freq="B", name="session")
Work = Callable[[DataPlane], Awaitable[Any]]


def run(root: Path, work: Work, models: str | None = None, **settings: Any) -> Any:
    """Start a data plane over a project, do the work, stop it."""

    async def whole() -> Any:
        plane = DataPlane(Project.at(root), Serving.model_validate(settings), models)
        await plane.start()
        try:
            return await work(plane)
        finally:
            await plane.stop()

    return asyncio.run(whole())


def put(root: Path, name: str, seed: int, **changes: Any) -> str:
    """Install a version of a model with anything in its manifest; its version."""
    branch = changes.pop("branch", BRANCH)
    staged = root / "models" / ".staging" / branch / f"{name}-{seed}"
    staged.mkdir(parents=True)
    inputs = changes.setdefault("inputs", COLUMNS)
    assert len(inputs) == len(COLUMNS)
    onnx.save(mlp_graph(seed), staged / GRAPH)
    levels = changes.get("levels", ())
    if levels:
        wrap_graph(staged / GRAPH, len(inputs), len(levels), dividend=False)
        changes["inputs"] = (*inputs, *width_columns(levels))
    values = {"shrinkage": 0.5, "ticker": name.partition("-")[2].upper(), "files": file_hashes(staged), **changes}
    manifest = manifest_of(name, **values)
    manifest.write(staged)
    install(staged, root / "models" / branch / name, keep=3)
    return manifest.version


def own_forecast(root: Path, name: str, version: str = "", branch: str = BRANCH) -> np.ndarray:
    """What the model's own session gives for `ROWS`."""
    folder = root / "models" / ".versions" / branch / name / version if version else root / "models" / branch / name
    return Model.open(folder).log_returns(pd.DataFrame(ROWS, columns=list(COLUMNS)))[0]


def feature_table(root: Path, name: str, shift: float = 0.0, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    values = np.random.default_rng(len(name)).standard_normal((len(SESSIONS), len(columns))) + shift
    table = pd.DataFrame(values, index=SESSIONS, columns=list(columns)).assign(
        target=[0.0] * 4 + [np.nan],
        last_close=[10.0, 11.0, 12.0, 13.0, 14.0],
        next_close=[11.0, 12.0, 13.0, 14.0, np.nan],
        target_session=SESSIONS + pd.offsets.BDay(),
    )
    folder = root / "data" / "features" / BRANCH
    folder.mkdir(parents=True, exist_ok=True)
    table.to_parquet(folder / f"{name}.parquet")
    return table


async def eventually(what: Callable[[], bool], seconds: float = 10.0) -> None:
    for _ in range(int(seconds / 0.05)):
        if what():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come about")


def ask(plane: DataPlane, name: str, **more: Any) -> Awaitable[Answer]:
    return plane.infer(Query(name, ROWS, **more))


def test_every_model_answers_what_its_own_session_gives(tmp_path: Path) -> None:
    names = ["red-a", "red-b", "red-c"]
    root = served_project(tmp_path / "p", names)

    async def work(plane: DataPlane) -> None:
        assert plane.ready()
        assert plane.catalog.names() == names
        assert {entry.state for entry in plane.index()} == {"UNAVAILABLE"}
        for name in names:
            answer = await ask(plane, name)
            np.testing.assert_allclose(answer.log_return, own_forecast(root, name), atol=1e-6)
            np.testing.assert_allclose(answer.log_return, 0.5 * answer.raw_log_return, atol=1e-6)
            assert (answer.rung, answer.age, answer.answered_by) == ("full", 0.0, name)
            assert describe(plane.catalog, name).versions == (answer.version,)
        assert {entry.state for entry in plane.index()} == {"READY"}
        assert models_of(plane.catalog, "b") == ["red-b"]
        assert describe(plane.catalog, "red-a").inputs == COLUMNS
        assert plane.features_of("red-a").ticker == "A"

    run(root, work)


def test_a_hundred_first_requests_at_once_load_a_model_once(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", ["red-a", "red-b"])

    async def work(plane: DataPlane) -> None:
        for name in ("red-a", "red-b"):  # the first builds the session in a thread, the second does not
            answers = await asyncio.gather(*[ask(plane, name) for _ in range(100)])
            assert len({answer.version for answer in answers}) == 1
        assert plane.measures()["loads"] == 2

    run(root, work)


def test_a_request_that_comes_while_the_session_is_built_loads_no_second_time(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", ["red-a"])
    folder = root / "models" / BRANCH / "red-a"
    one = model_versions(root / "models", BRANCH, "red-a")[0]
    sha = one.manifest.files[GRAPH]
    version = ServedVersion(one.version, sha, folder, COLUMNS, "A", "red", one.manifest.trained_until, 0.5, None)
    files = WeightFiles(tmp_path / "files")
    files.prepare(folder, sha, len(COLUMNS))

    class Late(ThreadPoolExecutor):
        """Tells the loop late that a thread has done its work."""

        def submit(self, work: Any, /, *given: Any, **named: Any) -> Any:
            return super().submit(lambda: (work(*given, **named), time.sleep(0.2))[0])

    async def work() -> None:
        residence = LoadedModels(files, 10**9, Late(1))
        first = asyncio.create_task(residence.load(version))
        while not files.architectures.bytes:
            await asyncio.sleep(0.001)
        second = await residence.load(version)
        assert await first is second
        assert residence.loads == 1
        residence.drop(sha)
        assert residence.bytes == files.architectures.bytes

    asyncio.run(work())


def test_the_folder_of_weight_files_may_be_removed_at_any_time(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", ["red-a", "red-b"])

    async def work(plane: DataPlane) -> None:
        first = await ask(plane, "red-a")
        shutil.rmtree(root / ".mlops" / "serving")
        for name in ("red-a", "red-b"):  # also where a file is there, but empty
            (root / ".mlops" / "serving").mkdir(exist_ok=True)
            (root / ".mlops" / "serving" / f"{_sha(root, name)}.weights").touch()
            np.testing.assert_allclose((await ask(plane, name)).log_return, own_forecast(root, name), atol=1e-6)
        assert first.version in {entry.version for entry in plane.index()}

    run(root, work)


def test_a_model_that_breaks_after_the_start_is_quarantined_when_it_is_asked_for(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", ["red-a", "red-b"])

    async def work(plane: DataPlane) -> None:
        shutil.rmtree(root / ".mlops" / "serving")
        graph = root / "models" / BRANCH / "red-b" / GRAPH
        graph.write_bytes(b"not a graph")
        with pytest.raises(UnservableError, match="does not match its manifest"):
            await ask(plane, "red-b")
        assert not plane.ready("red-b")
        assert {entry.state for entry in plane.index() if entry.name == "red-b"} == {"QUARANTINED"}
        assert (await ask(plane, "red-a")).rung == "full"
        await eventually(lambda: "is quarantined" in _why(plane, "red-b"))
        install_model(root, "red-b", 7)
        await eventually(lambda: plane.ready("red-b"))
        assert (await ask(plane, "red-b")).rung == "full"

    run(root, work)


def _sha(root: Path, name: str) -> str:
    return file_hashes(root / "models" / BRANCH / name)[GRAPH]


def _why(plane: DataPlane, name: str) -> str:
    try:
        describe(plane.catalog, name)
    except UnservableError as error:
        return error.message
    return ""


def test_the_wrong_input_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", ["red-a"])

    async def work(plane: DataPlane) -> None:
        for shape in ((1, 3), (0, len(COLUMNS)), (len(COLUMNS),)):
            with pytest.raises(BadInputError, match="shape") as caught:
                await plane.infer(Query("red-a", np.zeros(shape, dtype=np.float32)))
            assert "rows of 20 columns: return_1, return_2" in caught.value.hint
        with pytest.raises(BadInputError, match="no usable forecast"):
            await plane.infer(Query("red-a", np.full((1, len(COLUMNS)), 3e38, dtype=np.float32)))
        for name in ("red-x", "../../etc/passwd", "main/red-a", ".versions"):
            with pytest.raises(UnknownModelError, match="no model"):
                await plane.infer(Query(name, ROWS))
        with pytest.raises(UnknownModelError, match="has no version"):
            await ask(plane, "red-a", version="000000000000")
        with pytest.raises(UnknownModelError):
            models_of(plane.catalog, "NONE")

    run(root, work)


def test_broken_folders_are_quarantined_with_a_reason_while_the_others_serve(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", ["red-a", "red-cut", "red-bad", "red-none", "red-odd", "red-deep"])
    models = root / "models" / BRANCH
    (models / "red-cut" / GRAPH).write_bytes((models / "red-cut" / GRAPH).read_bytes()[:500])
    (models / "red-bad" / MANIFEST).write_text("{")
    (models / "red-none" / GRAPH).unlink()
    (models / "red-odd" / MANIFEST).unlink()
    (models / "red-odd" / MANIFEST).mkdir()
    _put_graph_with_short_constants(root, "red-deep")
    put(root, "red-new", 9, shrinkage=None)

    async def work(plane: DataPlane) -> None:
        assert (await ask(plane, "red-a")).rung == "full"
        reasons = {entry.name: entry.reason for entry in plane.index() if entry.state == "QUARANTINED"}
        assert "does not match its manifest" in reasons["red-cut"]
        assert "damaged" in reasons["red-bad"]
        assert "is missing" in reasons["red-none"]
        assert "cannot be read" in reasons["red-odd"]
        assert "damaged graph" in reasons["red-deep"]
        assert "not finished" in reasons["red-new"]
        for name in reasons:
            assert not plane.ready(name)
            with pytest.raises(UnservableError, match="quarantined"):
                await ask(plane, name)
            with pytest.raises(UnservableError, match="quarantined"):
                describe(plane.catalog, name)

    run(root, work)


def _put_graph_with_short_constants(root: Path, name: str) -> None:
    """A model whose manifest is right about a graph that is not."""
    folder = root / "models" / BRANCH / name
    graph = mlp_graph(1)
    graph.graph.initializer[0].raw_data = b"\0" * 8
    onnx.save(graph, folder / GRAPH)
    ticker = name.partition("-")[2].upper()
    manifest_of(name, ticker=ticker, inputs=COLUMNS, shrinkage=0.5, files=file_hashes(folder)).write(folder)


def test_memory_stays_within_the_budget_over_thousands_of_models(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", [f"red-{number:03d}" for number in range(60)])

    async def work(plane: DataPlane) -> None:
        order = np.random.default_rng(0).integers(60, size=3000)
        for number in order:
            await ask(plane, f"red-{number:03d}")
            measures = plane.measures()
            assert measures["resident_bytes"] <= measures["memory_budget_bytes"] == 1_000_000
        assert plane.measures()["evictions"] > 100
        assert "red-007" in {entry.name for entry in plane.index() if entry.state == "READY"}

    run(root, work, memory_budget=1, pinned=["red-007"], prewarm=["red-00*"])


def test_unloaded_models_answer_no_more_until_they_are_loaded(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", ["red-a"])

    async def work(plane: DataPlane) -> None:
        await plane.load("red-a")
        assert plane.measures()["resident_models"] == 1
        await plane.unload("red-a")
        assert plane.measures()["resident_models"] == 0
        assert not plane.ready("red-a")
        with pytest.raises(UnservableError, match="unloaded"):
            await ask(plane, "red-a")
        await plane.load("red-a")
        assert plane.ready("red-a")
        await ask(plane, "red-a")
        with pytest.raises(UnknownModelError):
            await plane.unload("red-x")

    run(root, work)


def test_new_versions_and_new_models_are_swapped_in_without_a_failed_request(tmp_path: Path) -> None:
    names = [f"red-{number}" for number in range(8)]
    root = served_project(tmp_path / "p", names)

    async def work(plane: DataPlane) -> None:
        before = {name: describe(plane.catalog, name).versions[0] for name in names}
        stop, answered = asyncio.Event(), Counter[str]()

        async def keep_asking() -> None:
            while not stop.is_set():
                for name in names:
                    answered[(await ask(plane, name)).version] += 1
                await asyncio.sleep(0.001)

        asking = asyncio.create_task(keep_asking())

        def replace() -> None:
            for number, name in enumerate(names):
                install_model(root, name, 100 + number)
            install_model(root, "red-new", 200)

        await asyncio.get_running_loop().run_in_executor(None, replace)
        await eventually(lambda: "red-new" in plane.catalog.names())
        await eventually(lambda: all(len(describe(plane.catalog, name).versions) == 2 for name in names))
        await ask(plane, "red-new")
        stop.set()
        await asking
        for name in names:
            new, old = describe(plane.catalog, name).versions
            assert old == before[name]
            assert (await ask(plane, name)).version == new
            np.testing.assert_allclose(
                (await ask(plane, name, version=old)).log_return, own_forecast(root, name, old), atol=1e-6
            )
        shutil.rmtree(root / "models" / BRANCH / "red-new")
        shutil.rmtree(root / "models" / ".versions" / BRANCH / "red-new")
        await eventually(lambda: "red-new" not in plane.catalog.names())

    run(root, work)


def test_a_pinned_champion_answers_until_the_pin_is_gone_and_a_route_splits(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", [])
    old, new = put(root, "red-a", 1), put(root, "red-a", 2)

    async def split(plane: DataPlane) -> None:
        sides = Counter([(await ask(plane, "red-a")).version for _ in range(100)])
        assert abs(sides[new] - 25) <= 1
        by_caller = [(await ask(plane, "red-a", caller="me")).version for _ in range(20)]
        assert len(set(by_caller)) == 1

    run(root, split, routes={"red-a": {"champion": 0.75, "challenger": 0.25}})

    async def pin(plane: DataPlane) -> None:
        assert (await ask(plane, "red-a")).version == new
        write_champion(root / "models", BRANCH, "red-a", Champion(old, True, ()))
        await eventually(lambda: describe(plane.catalog, "red-a").shrinkage == 0.5 and _default(plane) == old)
        assert (await ask(plane, "red-a")).version == old

    run(root, pin)


def test_a_version_with_intervals_takes_its_share_of_callers_that_know_no_widths(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", [])
    old, new = put(root, "red-a", 1), put(root, "red-a", 2, levels=(80.0, 95.0))

    async def work(plane: DataPlane) -> None:
        assert len(describe(plane.catalog, "red-a").inputs) == len(COLUMNS), "the champion is the old one"
        sides = Counter([(await ask(plane, "red-a")).version for _ in range(40)])
        assert sides == {old: 20, new: 20}
        with pytest.raises(BadInputError, match="red-a has no output interval"):
            await ask(plane, "red-a", interval=True)
        with pytest.raises(BadInputError, match="needs the columns width_80, width_95"):
            await ask(plane, "red-a", version=new, interval=True)
        rows = np.hstack([ROWS, np.full((3, 2), 0.125, np.float32)])
        wide = await plane.infer(Query("red-a", rows, new, interval=True))
        assert wide.interval is not None
        np.testing.assert_allclose(wide.interval - wide.log_return[:, None], [[-0.125, 0.125] * 2] * 3, atol=1e-6)
        named = Query("red-a", rows, old, columns=(*COLUMNS, "width_80", "width_95"))
        np.testing.assert_allclose((await plane.infer(named)).log_return, own_forecast(root, "red-a", old), atol=1e-6)

    write_champion(root / "models", BRANCH, "red-a", Champion(old, True, ()))
    run(root, work, routes={"red-a": {"champion": 0.5, "challenger": 0.5}})


def test_a_verdict_is_of_the_version_that_answered(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", [])
    old, new = put(root, "red-a", 1), put(root, "red-a", 2)
    evaluated = root / "simulation" / "evaluation" / BRANCH
    evaluated.mkdir(parents=True)
    (evaluated / "models.json").write_text(json.dumps([{"model": "red-a", "version": new, "verdict": "skill"}]))

    async def work(plane: DataPlane) -> None:
        found = {(answer.version, answer.verdict) for answer in [await ask(plane, "red-a") for _ in range(40)]}
        assert found == {(old, None), (new, "skill")}
        assert (await ask(plane, "red-a", version=old)).verdict is None
        assert (describe(plane.catalog, "red-a", old).verdict, describe(plane.catalog, "red-a", new).verdict) == (
            None,
            "skill",
        )

    run(root, work, routes={"red-a": {"champion": 0.5, "challenger": 0.5}})


def _default(plane: DataPlane) -> str:
    return str(plane.features_of("red-a").version)


def test_a_shadow_runs_along_unseen(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", [])
    old, new = put(root, "red-a", 1), put(root, "red-a", 2)

    async def work(plane: DataPlane) -> None:
        for _ in range(4):
            assert (await ask(plane, "red-a")).version == new
        await eventually(lambda: plane.measures()["shadow_rows"] == 12)
        expected = 4 * np.abs(own_forecast(root, "red-a") - own_forecast(root, "red-a", old)).sum()
        assert plane.measures()["shadow_difference"] == pytest.approx(expected, rel=1e-4)
        plane._load_level.level = 3
        cached = await ask(plane, "red-a")
        assert (cached.rung, cached.version) == ("cached", new), "not what the shadow answered last"

    run(root, work, shadow={"red-a": "champion"})


def test_a_name_of_two_branches_is_asked_for_with_its_branch(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", [])
    put(root, "red-a", 1)
    put(root, "red-a", 2, branch="other")

    async def work(plane: DataPlane) -> None:
        assert plane.catalog.names() == ["main/red-a", "other/red-a"]
        answer = await ask(plane, "other/red-a")
        np.testing.assert_allclose(answer.log_return, own_forecast(root, "red-a", branch="other"), atol=1e-6)
        with pytest.raises(UnknownModelError, match="several branches") as caught:
            await ask(plane, "red-a")
        assert "main/red-a, other/red-a" in caught.value.hint

    run(root, work)


@pytest.mark.parametrize(
    ("models", "names"),
    [
        ("red-*", ["red-a", "red-b"]),
        ("models/main/blue-*", ["blue-c"]),
        ("models/main", ["blue-c", "red-a", "red-b"]),
        ("models/main/red-a", ["red-a"]),
        ("nothing-*", []),
    ],
)
def test_a_part_of_the_models_can_be_served(tmp_path: Path, models: str, names: list[str]) -> None:
    root = served_project(tmp_path / "p", ["red-a", "red-b", "blue-c"])

    async def work(plane: DataPlane) -> list[str]:
        return plane.catalog.names()

    assert run(root, work, models) == names


def test_latest_forecasts_come_of_the_newest_row_and_follow_new_tables(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", ["red-a", "red-b", "red-none", "red-thin"])
    table = feature_table(root, "red-a")
    feature_table(root, "red-b")
    feature_table(root, "red-thin", columns=COLUMNS[:5])
    judged = root / "simulation" / "evaluation" / BRANCH
    judged.mkdir(parents=True)
    made = Model.open(root / "models" / BRANCH / "red-a").manifest.version
    entries = [("red-a", made, "skill"), ("red-a", "of-before", "worse"), ("red-b", "of-before", "skill")]
    rows = [{"model": name, "version": version, "verdict": verdict} for name, version, verdict in entries]
    (judged / "models.json").write_text(json.dumps(rows))

    async def work(plane: DataPlane) -> None:
        forecasts, reasons = await plane.latest()
        assert [one.model for one in forecasts] == ["red-a", "red-b"]
        assert reasons["red-none"].startswith("no feature table main/red-none.parquet")
        assert "return_6" in reasons["red-thin"]
        one = forecasts[0]
        expected = Model.open(root / "models" / BRANCH / "red-a").log_returns(table.iloc[-1:])[0][0]
        assert one.log_return == pytest.approx(expected, abs=1e-6)
        assert one.predicted_close == pytest.approx(14.0 * math.exp(expected))
        assert (str(one.session), str(one.target_session)) == ("2024-01-05", "2024-01-08")
        assert (one.verdict, one.rung, one.ticker) == ("skill", "full", "A")
        assert forecasts[1].verdict is None, "another version was judged, not this one"
        feature_table(root, "red-a", shift=1.0)
        changed, _ = await plane.latest(["red-a"])
        assert changed[0].log_return != one.log_return
        with pytest.raises(UnknownModelError):
            await plane.latest(["red-x"])

    run(root, work)


def test_latest_forecasts_of_many_models_are_those_of_each_alone(tmp_path: Path) -> None:
    names = [f"red-{number:03d}" for number in range(150)]
    root = served_project(tmp_path / "p", names)
    tables = {name: feature_table(root, name, shift=index) for index, name in enumerate(names)}
    _put_graph_without_numbers(root, "red-011")

    async def work(plane: DataPlane) -> None:
        forecasts, reasons = await plane.latest()
        assert [one.model for one in forecasts] == [name for name in names if name != "red-011"]
        assert set(reasons) == {"red-011"}
        assert "no usable forecast" in reasons["red-011"]
        for one in forecasts:
            expected = Model.open(root / "models" / BRANCH / one.model).log_returns(tables[one.model].iloc[-1:])[0][0]
            assert one.log_return == pytest.approx(expected, abs=1e-6)
            assert (one.answered_by, one.rung) == (one.model, "full")
        again, _ = await plane.latest()
        assert again == forecasts
        assert plane.measures()["resident_models"] == len(names)

    run(root, work)


def _put_graph_without_numbers(root: Path, name: str) -> None:
    """A model whose forecasts are no numbers."""
    graph = mlp_graph(1)
    for constant in graph.graph.initializer:
        if constant.name == "b0":
            constant.CopyFrom(onnx.numpy_helper.from_array(np.full(64, np.nan, np.float32), "b0"))
    staged = root / "models" / ".staging" / BRANCH / "bad"
    staged.mkdir(parents=True)
    onnx.save(graph, staged / GRAPH)
    ticker = name.partition("-")[2].upper()
    manifest_of(name, ticker=ticker, inputs=COLUMNS, shrinkage=0.5, files=file_hashes(staged)).write(staged)
    install(staged, root / "models" / BRANCH / name, keep=3)


def test_under_load_small_then_cached_then_delayed_answers_are_given(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", [])
    backwards = tuple(reversed(COLUMNS))
    put(root, "red-a", 1, small="red-a-small")
    put(root, "red-a-small", 2, ticker="A", inputs=backwards)

    async def work(plane: DataPlane) -> None:
        level = plane._load_level
        plain = await ask(plane, "red-a")
        level.level = 1
        small = await ask(plane, "red-a")
        assert (small.rung, small.model, small.answered_by) == ("small", "red-a", "red-a-small")
        mirrored = await plane.infer(Query("red-a-small", ROWS[:, ::-1].copy()))
        np.testing.assert_allclose(small.log_return, mirrored.log_return, atol=1e-6)
        assert (await ask(plane, "red-a", version=plain.version)).rung == "full"
        level.level = 2
        other = await plane.infer(Query("red-a", ROWS + 1))
        assert other.rung == "small"  # nothing was kept for these values
        cached = await ask(plane, "red-a")
        assert cached.rung == "cached"
        np.testing.assert_array_equal(cached.log_return, plain.log_return)  # the last answer to these values
        assert 0 < cached.age < 10

    run(root, work)


def test_ensembles_average_their_members_and_broken_ones_say_why(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", [])
    for seed, name in enumerate(("red-a", "blue-a", "red-b")):
        put(root, name, seed, team=name.partition("-")[0])
        feature_table(root, name)
    sets = {
        "a-fixed": {"models": ["red-a", "blue-a"], "weights": {"red-a": 3, "blue-a": 1}},
        "a-recent": {"models": ["red-a", "blue-a"], "sessions": 5},
        "mixed": {"models": ["red-a", "red-b"]},
        "gone": {"models": ["red-a", "red-x"]},
        "uneven": {"models": ["red-a", "blue-a"], "weights": {"red-a": 1}},
    }
    judged = root / "simulation" / "evaluation" / BRANCH
    judged.mkdir(parents=True)
    pd.DataFrame(
        {
            "model": ["red-a"] * 6 + ["blue-a"] * 6,
            "session": [*SESSIONS, SESSIONS[-1] + pd.offsets.BDay()] * 2,
            "predicted_close": [99.0] + [11.0] * 5 + [13.0] * 6,
            "actual_close": [10.0] * 12,
        }
    ).to_parquet(judged / "forecasts.parquet")

    async def work(plane: DataPlane) -> None:
        red, blue = [(await ask(plane, name)).log_return for name in ("red-a", "blue-a")]
        for name in ("a-fixed", "a-recent"):  # of late red was off by 1 and blue by 3
            answer = await ask(plane, name)
            np.testing.assert_allclose(answer.log_return, 0.75 * red + 0.25 * blue, atol=1e-6)
            assert describe(plane.catalog, name).versions == (answer.version,)
            assert (await ask(plane, name, version=answer.version)).rung == "full"
        assert models_of(plane.catalog, "A") == ["a-fixed", "a-recent", "blue-a", "red-a"]
        assert describe(plane.catalog, "a-fixed").team == "ensemble"
        reasons = {entry.name: entry.reason for entry in plane.index() if entry.state == "QUARANTINED"}
        assert "different tickers" in reasons["mixed"]
        assert "without red-x" in reasons["gone"]
        assert "blue-a" in reasons["uneven"]
        with pytest.raises(UnservableError, match="different tickers"):
            await ask(plane, "mixed")
        forecasts, missing = await plane.latest(["red-a", "blue-a", "a-fixed", "mixed"])
        by_name = {one.model: one.log_return for one in forecasts}
        assert by_name["a-fixed"] == pytest.approx(0.75 * by_name["red-a"] + 0.25 * by_name["blue-a"])
        assert "different tickers" in missing["mixed"]

    run(root, work, ensembles=sets)


def test_a_flood_climbs_the_steps_and_all_is_well_again_by_itself(tmp_path: Path) -> None:
    root = served_project(tmp_path / "p", [])
    put(root, "red-a", 1, small="red-a-small")
    put(root, "red-a-small", 2, ticker="A")
    steps = {
        "smaller_model": {"enter_ms": 4, "leave_ms": 2},
        "cached_answer": {"enter_ms": 12, "leave_ms": 8},
        "delayed_answer": {"enter_ms": 15, "leave_ms": 12, "queue": 200, "deadline_ms": 2000},
    }

    async def work(plane: DataPlane) -> None:
        rungs: Counter[str] = Counter()
        until = asyncio.get_running_loop().time() + 90
        crowd = 50

        def missing() -> bool:
            return not {"full", "small", "cached", "delayed", "refused"} <= rungs.keys()

        async def swell() -> None:
            nonlocal crowd
            while missing():  # from few to many, again and again: which crowd brings which step depends on the machine
                await asyncio.sleep(0.1)
                crowd = int(crowd * 1.3) if crowd < 2000 else 50

        async def keep_asking(seed: int) -> None:
            random = np.random.default_rng(seed)
            while missing():
                assert asyncio.get_running_loop().time() < until, rungs
                if seed > crowd:
                    await asyncio.sleep(0.05)
                    continue
                rows = ROWS if random.random() < 0.2 else random.standard_normal(ROWS.shape).astype(np.float32)
                try:
                    answer = await plane.infer(Query("red-a", rows))
                    rungs[answer.rung] += 1
                except OverloadedError:
                    rungs["refused"] += 1
                await asyncio.sleep(0)

        await ask(plane, "red-a")
        await asyncio.gather(swell(), *[keep_asking(seed) for seed in range(2000)])
        await eventually(lambda: plane.measures()["level"] == 0)
        assert (await plane.infer(Query("red-a", ROWS + 9))).rung == "full"
        assert plane.measures()["queued"] == 0

    run(root, work, **steps)
