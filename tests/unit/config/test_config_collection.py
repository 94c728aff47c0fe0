"""From entries of a collection to model files, and from model files to resolved models."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.collection import ModelCollection, merged
from mlops_cli.config.mistakes import Mistakes
from mlops_cli.config.schemas.project import ModelSpec
from tests.fakes.config_projects import make_project

RED = "team: red\ntickers: [AAPL, IBM]\n"


class Read:
    """A collection over some files, with what it notes."""

    def __init__(self, root: Path, files: dict[str, str]) -> None:
        self.project = make_project(root, files)
        self.mistakes = Mistakes()
        self.collection = ModelCollection(self.project, self.mistakes)

    def files(self, entry: str) -> list[str]:
        paths = self.collection.files(entry, "branches.main.collection")
        return [str(path.relative_to(self.project.configs)) for path in paths]

    def models(self, file: str) -> tuple[ModelSpec, ...] | None:
        return self.collection.models(self.project.configs / file)


FILES = {
    "configs/base.yaml": "exchange: XETR\n",
    "configs/a/one.yaml": RED,
    "configs/a/two.yml": RED,
    "configs/a/deep/er/three.yaml": RED,
    "configs/a/.hidden.yaml": RED,
    "configs/a/.folder/four.yaml": RED,
    "configs/a/notes.txt": "no yaml",
    "configs/b/base.yaml": RED,
}


@pytest.mark.parametrize(
    ("entry", "files"),
    [
        ("configs/a/one.yaml", ["a/one.yaml"]),
        ("configs/a", ["a/deep/er/three.yaml", "a/one.yaml", "a/two.yml"]),
        ("configs/a/", ["a/deep/er/three.yaml", "a/one.yaml", "a/two.yml"]),
        ("./configs//a/../a/one.yaml", ["a/one.yaml"]),
        ("configs/*/*.yaml", ["a/one.yaml", "b/base.yaml"]),
        ("configs/**/t*", ["a/deep/er/three.yaml", "a/two.yml"]),
        ("configs/?/t[hw]*", ["a/two.yml"]),
        ("configs/b", ["b/base.yaml"]),
        ("configs", ["a/deep/er/three.yaml", "a/one.yaml", "a/two.yml", "b/base.yaml"]),
    ],
)
def test_entries_are_files_folders_and_globs(tmp_path, entry, files):
    read = Read(tmp_path, FILES)
    assert read.files(entry) == files
    assert read.mistakes.lines == []


@pytest.mark.parametrize("entry", ["configs/base.yaml", "configs/a/notes.txt", "configs/none", "configs/*.json"])
def test_an_entry_without_model_files_is_a_mistake(tmp_path, entry):
    read = Read(tmp_path, FILES)
    assert read.files(entry) == []
    (line,) = read.mistakes.lines
    assert line == f"params.yaml: branches.main.collection: {entry!r} contains no model file (*.yaml)"


def test_all_files_are_those_of_configs_without_the_defaults(tmp_path):
    read = Read(tmp_path, FILES)
    assert [path.name for path in read.collection.all_files()] == ["three.yaml", "one.yaml", "two.yml", "base.yaml"]


def test_a_mistake_in_a_file_is_noted_once_however_often_it_is_asked_for(tmp_path):
    read = Read(tmp_path, {"configs/a/one.yaml": "team: red\n"})
    assert read.models("a/one.yaml") is None
    assert read.models("a/one.yaml") is None
    assert len(read.mistakes.lines) == 1


def test_a_file_is_read_once(tmp_path):
    read = Read(tmp_path, FILES)
    first = read.models("a/one.yaml")
    (read.project.configs / "a" / "one.yaml").write_text("team: [")
    assert read.models("a/one.yaml") is first


def test_a_file_that_vanished_is_a_mistake(tmp_path):
    read = Read(tmp_path, {})
    assert read.models("gone.yaml") is None
    assert read.mistakes.lines == ["configs/gone.yaml: cannot be read: No such file or directory"]


def test_a_mistake_in_base_yaml_is_no_mistake_of_every_file(tmp_path):
    read = Read(tmp_path, {**FILES, "configs/base.yaml": "exchagne: X\n"})
    assert read.models("a/one.yaml") is None
    assert read.mistakes.lines == ["configs/base.yaml: exchagne: unknown key, did you mean exchange?"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("team: red\nticker: brk.b\n", ["red-brk.b"]),
        ("team: red\nticker: ^GSPC\n", ["red--gspc"]),
        ("team: red\nticker: EURUSD=X\nsuffix: fx\n", ["red-eurusd-x-fx"]),
        ("team: a.b_c\ntickers: [X, y, x]\n", ["a.b_c-x", "a.b_c-y"]),
    ],
)
def test_names_of_models(tmp_path, text, names):
    models = Read(tmp_path, {"configs/m.yaml": text}).models("m.yaml")
    assert models is not None
    assert [model.name for model in models] == names


def test_the_longest_name_fits_and_one_more_letter_does_not(tmp_path):
    team = "t" * 50
    texts = {f"configs/{n}.yaml": f"team: {team}\nticker: {'A' * n}\n" for n in (13, 14)}
    read = Read(tmp_path, texts)
    (model,) = read.models("13.yaml") or ()
    assert len(model.name) == 64
    assert read.models("14.yaml") is None
    (line,) = read.mistakes.lines
    assert line.endswith("longer than 64 characters")


def test_a_model_file_wins_over_base_yaml_and_that_over_the_packaged_defaults(tmp_path):
    files = {
        "configs/base.yaml": "exchange: XETR\ntrainer: naive\ntarget: close\n",
        "configs/m.yaml": RED + "trainer: drift\n",
    }
    (model, _) = Read(tmp_path, files).models("m.yaml") or ()
    assert (model.exchange, model.trainer, model.target) == ("XETR", "drift", "close")
    (plain, _) = Read(tmp_path / "b", {"configs/m.yaml": RED}).models("m.yaml") or ()
    assert (plain.exchange, plain.trainer, plain.target) == ("XNYS", "ludwig", "log_return")


def test_two_mistakes_of_one_file_are_both_noted(tmp_path):
    text = f"team: {'r' * 62}\ntickers: [AAPL]\nfeatures: nope\n"
    read = Read(tmp_path, {"configs/m.yaml": text})
    assert read.models("m.yaml") is None
    assert [line.split(": ")[1][:8] for line in read.mistakes.lines] == ["gives th", "features"]


def test_a_baseline_has_no_pool(tmp_path):
    read = Read(tmp_path, {"configs/m.yaml": RED + "pool: true\ntrainer: naive\n"})
    assert read.models("m.yaml") is None
    assert read.mistakes.lines == ["configs/m.yaml: pool: needs trainer: ludwig, was naive: a baseline is not trained"]


def test_a_small_variant_follows_its_model_and_differs_only_as_it_says(tmp_path):
    text = RED + "small: {trainer: naive}\n"
    models = Read(tmp_path, {"configs/m.yaml": text}).models("m.yaml")
    assert models is not None
    assert [(model.name, model.small, model.small_of) for model in models] == [
        ("red-aapl", "red-aapl-small", None),
        ("red-aapl-small", None, "red-aapl"),
        ("red-ibm", "red-ibm-small", None),
        ("red-ibm-small", None, "red-ibm"),
    ]
    same = {"trainer", "small", "small_of", "name"}
    assert models[0].model_dump(exclude=same) == models[1].model_dump(exclude=same)
    assert (models[0].trainer, models[1].trainer) == ("ludwig", "naive")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "a", "b"]), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_a_config_merged_with_itself_or_under_nothing_stays(config):
    assert merged(config, config) == config
    if isinstance(config, dict):
        assert merged(config, {}) == config
        assert merged({}, config) == config


@given(JSON, JSON)
def test_merging_changes_neither_side(under, over):
    before = repr((under, over))
    merged(under, over)
    assert repr((under, over)) == before


@given(st.dictionaries(st.sampled_from("abc"), JSON), st.dictionaries(st.sampled_from("abc"), JSON))
def test_another_type_replaces_the_mapping_as_a_whole(under, over):
    assert merged({"type": "x", **under}, {**over, "type": "y"}) == {**over, "type": "y"}
    kept = merged({"type": "x", **under}, over)
    assert kept["type"] == "x"
