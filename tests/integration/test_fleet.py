"""Fleets beside the real Ludwig: equal losses and weights, each model as if alone, refusals with reasons."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob
from tests.fakes.train_jobs import HISTORY, make_job, model_spec, same_job

pytestmark = [
    pytest.mark.ludwig,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Ludwig's own
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

LOSSES, WEIGHTS = 1e-6, 2e-6  # largest difference to Ludwig's own trainer, dropout 0; measured: 6e-8 and 4e-8
CONCAT = {"type": "concat", "num_fc_layers": 2, "output_size": 8, "dropout": 0.0}
TRAINER = {"epochs": 4, "batch_size": 64, "eval_batch_size": 1024, "learning_rate": 0.01}
PLAIN = {"combiner": CONCAT, "trainer": TRAINER}
DROPPING = {"combiner": {**CONCAT, "dropout": 0.2}, "trainer": TRAINER}


def with_trainer(**changes: Any) -> dict[str, Any]:
    return {"combiner": CONCAT, "trainer": {**TRAINER, **changes}}


@dataclass
class Hall:
    """One process with Ludwig, and one folder of graphs for all tests here."""

    fitter: Any
    folder: Path
    counter: int = 0

    def jobs(self, *specs: tuple[str, dict[str, Any], int]) -> list[TrainJob]:
        """Jobs of (name, Ludwig config, sessions), each with prices of its own, in a new folder."""
        self.counter += 1
        folder = self.folder / f"jobs-{self.counter}"
        folder.mkdir()
        return [
            make_job(folder, model_spec(name, ludwig=ludwig, ticker=f"T{number}"), prices=number, sessions=sessions)
            for number, (name, ludwig, sessions) in enumerate(specs)
        ]

    def fleet(self, jobs: Sequence[TrainJob], **options: Any) -> dict[str, Fitted | FailedJob]:
        import torch

        from mlops_cli.training.engine.fleet.fleet import LudwigFleet
        from mlops_cli.training.engine.fleet.loop import FleetOptions

        options = {"seed": 0, "device": torch.device("cpu"), **options}
        fleet = LudwigFleet(self.fitter, FleetOptions(**options))
        return {result.job.spec.name: result for result in fleet.fit(jobs, lambda _: None)}

    def alone(self, job: TrainJob) -> Fitted:
        """Ludwig's own trainer on the same job."""
        beside = job.folder.parent / "alone" / job.folder.name
        beside.mkdir(parents=True)
        return self.fitter.fit(replace(job, folder=beside))


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Hall:
    from mlops_cli.training.engine.fit import LudwigFitter, prepare_process

    prepare_process()
    folder = tmp_path_factory.mktemp("fleet")
    return Hall(LudwigFitter(folder / "graphs"), folder)


def losses(result: Fitted | FailedJob) -> np.ndarray:
    assert isinstance(result, Fitted), result
    return np.array([[epoch.get("train_loss", 0.0), epoch["validation_loss"]] for epoch in result.epochs])


def weights(result: Fitted | FailedJob) -> dict[str, np.ndarray]:
    assert isinstance(result, Fitted), result
    return load_file(result.job.folder / "ludwig" / "model_weights.safetensors")


def assert_same(fleet: Fitted | FailedJob, alone: Fitted) -> None:
    assert isinstance(fleet, Fitted), fleet
    assert fleet.facts["strategy"] == "fleet", fleet.facts
    assert losses(fleet).shape == losses(alone).shape
    np.testing.assert_allclose(losses(fleet), losses(alone), atol=LOSSES)
    ours, theirs = weights(fleet), weights(alone)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], atol=WEIGHTS)


class TestEqualToLudwig:
    @pytest.fixture(scope="class")
    def both(self, hall: Hall) -> tuple[dict[str, Fitted | FailedJob], dict[str, Fitted]]:
        """Three lengths of history: two in one bucket, one alone; rates at which the best epoch is not the last."""
        config = with_trainer(epochs=12, early_stop=3, learning_rate=0.02)
        jobs = hall.jobs(("a", config, 330), ("b", config, 322), ("c", config, 200))
        return hall.fleet(jobs), {job.spec.name: hall.alone(job) for job in jobs}

    @pytest.mark.parametrize("name", ["a", "b", "c"])
    def test_losses_and_best_weights_are_those_of_ludwigs_trainer(self, both, name: str):
        fleet, alone = both
        assert_same(fleet[name], alone[name])

    def test_each_model_stops_by_itself_and_keeps_its_best_weights(self, both):
        fleet, _ = both
        lengths = {name: len(result.epochs) for name, result in fleet.items()}
        assert len(set(lengths.values())) > 1, lengths
        stopped = [name for name, result in fleet.items() if result.facts.get("stopped") == "early"]
        assert stopped
        for name in stopped:
            assert fleet[name].facts["best_epoch"] == lengths[name] - 3

    @pytest.mark.parametrize("name", ["model_hyperparameters.json", "training_set_metadata.json"])
    def test_ludwigs_files_are_the_same_to_the_letter(self, both, name: str):
        fleet, alone = both
        for model, result in alone.items():
            ours = (fleet[model].job.folder / "ludwig" / name).read_text()
            assert ours == (result.job.folder / "ludwig" / name).read_text()

    def test_ludwig_loads_it_and_predicts_the_same(self, both):
        from ludwig.api import LudwigModel

        from mlops_cli.training.engine.fit import graph_forecasts
        from mlops_cli.training.rows import training_rows

        fleet, _ = both
        job = fleet["a"].job
        rows = training_rows(job)
        model = LudwigModel.load(str(job.folder / "ludwig"), logging_level=logging.ERROR, backend="local")
        predicted, _ = model.predict(dataset=rows.tail(50), skip_save_predictions=True)
        ours = graph_forecasts(job.folder / "model.onnx", job, rows.tail(50))
        np.testing.assert_allclose(ours, predicted["target_predictions"].to_numpy(np.float64), atol=1e-6)


SETTINGS = {
    "sgd with momentum and a cosine": {
        "optimizer": {"type": "sgd", "momentum": 0.9},
        "learning_rate_scheduler": {"decay": "cosine"},
    },
    "rmsprop, l1_l2, clipped by value": {
        "optimizer": {"type": "rmsprop"},
        "regularization_type": "l1_l2",
        "regularization_lambda": 0.01,
        "gradient_clipping": {"clipglobalnorm": None, "clipvalue": 0.01},
    },
    "adamw, decay of weights, warm-up, linear": {
        "optimizer": {"type": "adamw", "weight_decay": 0.1},
        "learning_rate_scheduler": {"decay": "linear", "warmup_fraction": 0.3},
    },
    "nadam, two norms": {"optimizer": {"type": "nadam"}, "gradient_clipping": {"clipglobalnorm": 0.3, "clipnorm": 0.1}},
    "no shuffling, two evaluations an epoch": {"should_shuffle": False, "checkpoints_per_epoch": 2},
    "small batches of evaluation": {"eval_batch_size": 64},
    "so many steps, by loss": {"train_steps": 7, "validation_metric": "loss"},
    "by mean absolute error, no training loss": {
        "validation_metric": "mean_absolute_error",
        "evaluate_training_set": False,
    },
    "a batch larger than the data": {"batch_size": 4096},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_the_trainer_section_says_is_done(hall: Hall, name: str):
    settings = SETTINGS[name]
    jobs = hall.jobs(("a", with_trainer(**settings), 300), ("b", with_trainer(**settings), 290))
    fleet = hall.fleet(jobs)
    alone = hall.alone(jobs[0])
    if settings.get("evaluate_training_set") is False:  # Ludwig then reports the loss of the batches on the way
        alone = replace(alone, epochs=[{"validation_loss": epoch["validation_loss"]} for epoch in alone.epochs])
    assert_same(fleet["a"], alone)


@pytest.mark.parametrize(
    ("loss", "combiner"),
    [
        ({"type": "mean_squared_error"}, CONCAT),
        ({"type": "mean_absolute_error", "weight": 2.0}, {**CONCAT, "residual": True, "num_fc_layers": 3}),
        ({"type": "huber", "delta": 0.5}, {**CONCAT, "activation": "tanh", "norm": "layer"}),
    ],
)
def test_losses_and_layers_of_other_kinds(hall: Hall, loss, combiner):
    config = {"combiner": combiner, "trainer": TRAINER, "output_features": [{"name": "target", "loss": loss}]}
    jobs = hall.jobs(("a", config, 300), ("b", config, 300))
    fleet = hall.fleet(jobs)
    assert_same(fleet["a"], hall.alone(jobs[0]))


def test_encoders_with_weights_and_a_target_in_prices(hall: Hall):
    config = {
        **PLAIN,
        "input_features": [
            {"name": "return_1", "encoder": {"type": "dense", "num_layers": 1, "output_size": 4}},
            {"name": "return_5", "preprocessing": {"normalization": "minmax"}},
        ],
    }
    jobs = hall.jobs(("a", config, 300), ("b", config, 300))
    priced = make_job(jobs[0].folder.parent, model_spec("priced", target="close", ludwig=PLAIN))
    fleet = hall.fleet([*jobs, priced])
    assert_same(fleet["b"], hall.alone(jobs[1]))
    assert_same(fleet["priced"], hall.alone(priced))


def test_prices_up_to_700_000_are_as_good_as_any(hall: Hall):
    """A price that grew from 3,500 to 700,000: float32 is off by cents, which is much for the old prices."""
    hall.jobs()
    folder = hall.folder / f"jobs-{hall.counter}"
    priced = [
        make_job(folder, model_spec(f"priced-{n}", target="close", ludwig=PLAIN, ticker=f"P{n}"), prices=n)
        for n in range(2)
    ]
    for job in priced:
        table = pd.read_parquet(job.features)
        growth = np.exp(np.linspace(-5.3, 0, len(table))) * 700_000 / table["close"].iloc[-1]
        for column in ("close", "target"):
            table[column] *= growth
        table.to_parquet(job.features)
    fleet = hall.fleet(priced)
    for job in priced:
        result = fleet[job.spec.name]
        assert isinstance(result, Fitted), result
        assert isinstance(hall.alone(job), Fitted)


class TestEachAsIfAlone:
    def test_neither_order_nor_company_changes_a_model(self, hall: Hall):
        jobs = hall.jobs(
            *((name, DROPPING, sessions) for name, sessions in zip("abcd", (300, 300, 295, 200), strict=True))
        )
        together = hall.fleet(jobs)
        single = same_job(jobs[1], "single")
        other_order = hall.fleet([single])
        for name, tensor in weights(together["b"]).items():
            np.testing.assert_allclose(weights(other_order["single"])[name], tensor, atol=WEIGHTS)
        # dropout did something, and not the same to every ticker
        plain = hall.fleet([replace(same_job(jobs[1], "plain"), spec=model_spec("plain", ludwig=PLAIN, ticker="T1"))])
        elsewhere = same_job(jobs[1], "elsewhere")
        elsewhere = replace(elsewhere, spec=elsewhere.spec.model_copy(update={"ticker": "OTHER"}))
        changed = hall.fleet([elsewhere])["elsewhere"]
        assert np.abs(losses(plain["plain"]) - losses(together["b"])).max() > 1e-4
        assert np.abs(losses(changed) - losses(together["b"])).max() > 1e-4

    def test_one_that_breaks_down_harms_no_other(self, hall: Hall):
        jobs = hall.jobs(("a", PLAIN, 300), ("broken", PLAIN, 300), ("c", PLAIN, 300))
        table = pd.read_parquet(jobs[1].features)
        table["return_1"] = np.where(np.arange(len(table)) % 2, 3e38, -3e38)  # its variance is beyond float32
        table.to_parquet(jobs[1].features)
        with np.errstate(over="ignore", invalid="ignore"):
            found = hall.fleet(jobs)
        assert isinstance(found["broken"], FailedJob)
        assert found["broken"].reason.startswith("broken: ")
        assert "not a number" in found["broken"].reason
        for job in (jobs[0], jobs[2]):
            assert_same(found[job.spec.name], hall.alone(job))

    def test_forty_rows_among_many(self, hall: Hall):
        jobs = hall.jobs(("long", PLAIN, 900), ("short", PLAIN, 200), ("longer", PLAIN, 901))
        table = pd.read_parquet(jobs[1].features)
        validating = table.index >= pd.Timestamp(jobs[1].validation_start)
        short = pd.concat([table.loc[~validating].tail(40), table.loc[validating]])
        short.to_parquet(jobs[1].features)
        found = hall.fleet(jobs)
        for job in jobs:
            assert_same(found[job.spec.name], hall.alone(job))


REFUSED = {
    "running statistics": ({**PLAIN, "combiner": {**CONCAT, "norm": "batch"}}, "a layer keeps running statistics"),
    "plateau": (
        with_trainer(learning_rate_scheduler={"reduce_on_plateau": 2}),
        "learning_rate_scheduler.reduce_on_plateau",
    ),
    "optimizer": (with_trainer(optimizer={"type": "lbfgs"}), "trainer.optimizer: lbfgs"),
    "accumulation": (
        with_trainer(gradient_accumulation_steps=2),
        "trainer.gradient_accumulation_steps gives other values in a fleet",
    ),
    "soup": (with_trainer(model_soup="uniform"), "trainer.model_soup gives other values in a fleet"),
    "loss": (
        {**PLAIN, "output_features": [{"name": "target", "loss": {"type": "root_mean_squared_error"}}]},
        "the loss root_mean_squared_error",
    ),
    "filled": (
        {**PLAIN, "defaults": {"number": {"preprocessing": {"missing_value_strategy": "fill_with_mean"}}}},
        "missing_value_strategy fill_with_mean of return_1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_honoured_trains_alone_and_says_why(hall: Hall, name: str):
    config, reason = REFUSED[name]
    (job,) = hall.jobs((f"refused-{name.replace(' ', '-')}", config, 250))
    (result,) = hall.fleet([job]).values()
    assert isinstance(result, Fitted), result
    assert result.facts["strategy"] == "sequential"
    assert result.facts["not_in_fleet"] == reason


def test_recurrent_layers_have_no_stacked_form(hall: Hall):
    gru = {"input_features": [{"name": "history", "encoder": {"state_size": 4}}, {"name": "return_5"}], **PLAIN}
    folder = hall.folder / "recurrent"
    folder.mkdir()
    job = make_job(folder, model_spec("recurrent", features=HISTORY, ludwig=gru))
    (result,) = hall.fleet([job]).values()
    assert isinstance(result, Fitted), result
    assert result.facts["not_in_fleet"].startswith("an operation has no stacked form (")


def test_a_last_batch_of_one_row_is_left_to_ludwig(hall: Hall):
    (job,) = hall.jobs(("odd", PLAIN, 300))
    rows = int((pd.read_parquet(job.features).index < pd.Timestamp(job.validation_start)).sum())
    odd = replace(job, spec=model_spec("odd", ludwig=with_trainer(batch_size=rows - 1)))
    (result,) = hall.fleet([odd]).values()
    assert isinstance(result, Fitted), result
    assert result.facts["not_in_fleet"] == "its last batch would be one row, which Ludwig leaves out"


def test_gaps_are_left_to_ludwig(hall: Hall):
    jobs = hall.jobs(("whole", PLAIN, 300), ("gap", PLAIN, 300))
    table = pd.read_parquet(jobs[1].features)
    table.iloc[5, table.columns.get_loc("return_1")] = np.nan
    table.to_parquet(jobs[1].features)
    found = hall.fleet(jobs)
    assert found["whole"].facts["strategy"] == "fleet"
    assert found["gap"].facts["not_in_fleet"] == "its rows have gaps"


def test_a_config_that_ludwig_refuses_is_refused_for_each_model(hall: Hall):
    config = {**PLAIN, "trainer": {**TRAINER, "learning_rat": 1}}
    found = hall.fleet(hall.jobs(("a", config, 250), ("b", config, 250)))
    assert all(isinstance(result, FailedJob) and result.exit_code == 3 for result in found.values())
    assert found["b"].reason.startswith("configs/b.yaml: Ludwig refuses the config: ludwig.trainer: unknown key")


def test_models_behind_the_median_stop_early(hall: Hall):
    config = with_trainer(epochs=8, early_stop=-1)
    jobs = hall.jobs(*((f"m{number}", config, 300) for number in range(6)))
    everyone = hall.fleet(jobs)
    assert {len(result.epochs) for result in everyone.values()} == {8}
    again = [same_job(job, f"{job.spec.name}-again") for job in jobs]
    found = {name.removesuffix("-again"): result for name, result in hall.fleet(again, median_stopping=3).items()}
    stopped = {name for name, result in found.items() if result.facts.get("stopped") == "median"}
    assert stopped
    assert stopped != set(found)
    assert min(len(result.epochs) for result in found.values()) >= 3
    for name, result in found.items():  # until then nothing is different
        np.testing.assert_allclose(losses(result), losses(everyone[name])[: len(result.epochs)], atol=LOSSES)
    # the first to go were above the median of the others' averages
    first = [name for name in stopped if len(found[name].epochs) == 3]
    averages = {name: losses(result)[:3, 1].mean() for name, result in everyone.items()}
    for name in first:
        others = [average for other, average in averages.items() if other != name]
        assert losses(everyone[name])[2, 1] > np.median(others)


class TestDropoutStreams:
    def test_masks_keep_the_mean_and_the_rate(self):
        import torch

        from mlops_cli.training.engine.fleet.batches import DropoutStreams

        streams = DropoutStreams(["a", "b"], 7, {"first": (0.25, (40,)), "second": (0.5, (3, 4))})
        masks = streams.masks([1000, 900], 1000, torch.device("cpu"))
        first, second = masks["first"], masks["second"]
        assert first.shape == (2, 1000, 40)
        assert second.shape == (2, 1000, 3, 4)
        assert first[0].mean() == pytest.approx(1.0, abs=0.02)
        assert (first[0] == 0).float().mean() == pytest.approx(0.25, abs=0.02)
        assert set(np.unique(second[0].numpy())) == {0.0, 2.0}
        assert not torch.equal(first[0], first[1])

    def test_a_stream_goes_on_the_same_whoever_leaves(self):
        import torch

        from mlops_cli.training.engine.fleet.batches import DropoutStreams

        layers, device = {"one": (0.5, (8,))}, torch.device("cpu")
        together, alone = DropoutStreams(["a", "b"], 7, layers), DropoutStreams(["b"], 7, layers)
        together.masks([4, 5], 5, device)
        alone.masks([5], 5, device)
        together.keep([1])
        assert torch.equal(together.masks([6], 6, device)["one"], alone.masks([6], 6, device)["one"])


@pytest.mark.gpu
class TestOnCuda:
    def test_the_same_as_on_the_processor(self, hall: Hall):
        import torch

        jobs = hall.jobs(("a", DROPPING, 300), ("b", DROPPING, 290), ("c", DROPPING, 200))
        here = hall.fleet(jobs)
        again = [same_job(job, f"{job.spec.name}-cuda") for job in jobs]
        there = hall.fleet(again, device=torch.device("cuda"))
        for job in jobs:
            name = job.spec.name
            np.testing.assert_allclose(losses(there[f"{name}-cuda"]), losses(here[name]), atol=1e-4)

    def test_bfloat16_comes_near(self, hall: Hall):
        import torch

        jobs = hall.jobs(("a", PLAIN, 300), ("b", PLAIN, 300))
        exact = hall.fleet(jobs, device=torch.device("cuda"))
        again = [same_job(job, f"{job.spec.name}-bf16") for job in jobs]
        rough = hall.fleet(again, device=torch.device("cuda"), bf16=True)
        for job in jobs:
            name = job.spec.name
            found = losses(rough[f"{name}-bf16"])
            np.testing.assert_allclose(found, losses(exact[name]), atol=0.05)
            assert not np.array_equal(found, losses(exact[name]))


def test_an_argument_that_torch_refuses_is_told_by_ludwigs_own_trainer(hall: Hall):
    config = with_trainer(optimizer={"type": "sgd", "nesterov": True})
    found = hall.fleet(hall.jobs(("a", config, 250), ("b", config, 250)))
    for result in found.values():
        assert isinstance(result, FailedJob)
        assert "Nesterov momentum requires a momentum" in result.reason


def test_a_normalisation_that_one_models_rows_do_not_allow_concerns_it_alone(hall: Hall):
    config = {**PLAIN, "defaults": {"number": {"preprocessing": {"normalization": "iq"}}}}
    jobs = hall.jobs(("flat", config, 300), ("b", config, 300), ("c", config, 300))
    table = pd.read_parquet(jobs[0].features)
    table["volatility_5"] = 1.0  # its quartiles do not differ
    table.to_parquet(jobs[0].features)
    found = hall.fleet(jobs)
    for name in ("b", "c"):
        assert isinstance(found[name], Fitted), found[name]
        assert found[name].facts["strategy"] == "fleet"
    flat = found["flat"]
    assert isinstance(flat, FailedJob) or flat.facts["strategy"] == "sequential"
