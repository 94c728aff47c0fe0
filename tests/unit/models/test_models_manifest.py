"""The manifest: what is written is read, damage is named, hashes tell every change."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.config.schemas.project import FeatureSpec, Macd
from mlops_cli.errors import ModelError
from mlops_cli.models.manifest import Span, Validation, file_hashes, fingerprint, read_manifest
from tests.fakes.model_folders import manifest_of

numbers = st.floats(allow_nan=False, allow_infinity=False)
manifests = st.builds(
    manifest_of,
    features=st.just(FeatureSpec(returns=(1, 5), macd=Macd(fast=3, slow=6, signal=2), calendar=("month",), history=9)),
    inputs=st.lists(st.text(max_size=10), max_size=5).map(tuple),
    target=st.sampled_from(["log_return", "close"]),
    trainer=st.sampled_from(["ludwig", "naive", "drift"]),
    seed=st.integers(0, 2**31 - 1),
    train=st.builds(Span, first=st.dates(), last=st.dates(), sessions=st.integers(0, 10_000)),
    trained_until=st.dates(),
    drift=numbers,
    shrinkage=st.none() | st.floats(0, 1),
    validation=st.builds(Validation, mae_ratio_raw=numbers, mae_ratio=st.none() | numbers),
    epochs=st.lists(st.dictionaries(st.text(max_size=8), numbers, max_size=2), max_size=3),
    facts=st.dictionaries(
        st.text(max_size=8), st.integers(-(2**53), 2**53) | numbers | st.text(max_size=8), max_size=4
    ),
    versions=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=2),
    files=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=2),
)


@given(manifests)
@settings(max_examples=150)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, manifest):
    folder = tmp_path_factory.mktemp("model")
    manifest.write(folder)
    assert read_manifest(folder) == manifest


def test_equal_manifests_are_equal_bytes_that_people_can_read(tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        manifest_of(facts={"b": 1, "a": 2}).write(folder)
    text = (one / "manifest.json").read_text()
    assert text == (two / "manifest.json").read_text()
    assert text.endswith("}\n")
    assert '\n  "trained_until": "2015-12-31",\n' in text
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_the_version_is_the_graphs(tmp_path: Path):
    assert manifest_of(files={"model.onnx": "0123456789abcdef" * 4}).version == "0123456789ab"
    assert manifest_of().version == ""


def written(folder: Path, **changes: Any) -> Path:
    manifest_of().write(folder)
    path = folder / "manifest.json"
    data = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in data.items() if value != "GONE"}))
    return path


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"ticker": "GONE"}, "ticker: Field required"),
        ({"shrinkage": "half"}, "shrinkage: Input should be a valid number"),
        ({"train": {"first": "2015-01-20", "last": "soon", "sessions": 1}}, "train.last: Input should be a valid date"),
        ({"target": "volume"}, "target: Input should be 'log_return' or 'close'"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"format": 2}, "format: Input should be 1"),
        ({"features": {"returns": [0]}}, "features.returns.0: Input should be greater than or equal to 1"),
    ],
)
def test_damage_is_named_by_its_key(tmp_path: Path, changes: dict[str, Any], where: str):
    path = written(tmp_path, **changes)
    with pytest.raises(ModelError) as refusal:
        read_manifest(tmp_path)
    assert refusal.value.message.startswith(f"{path}: damaged: {where}")
    assert refusal.value.hint == f"remove {tmp_path} and run: mlops train"
    assert refusal.value.exit_code == 6


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[]", b"null", b'{"name": "red'])
def test_a_file_that_is_no_manifest_is_damaged(tmp_path: Path, content: bytes):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"manifest\.json: damaged: the file: "):
        read_manifest(tmp_path)


def test_a_folder_without_manifest_is_no_model(tmp_path: Path):
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(ModelError) as refusal:
            read_manifest(folder)
        assert refusal.value.message == f"{folder} is no model folder: manifest.json is missing"
        assert refusal.value.hint == "train it: mlops train"


def test_hashes_are_of_every_file_but_the_manifest(tmp_path: Path):
    (tmp_path / "ludwig").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "ludwig" / "weights").write_bytes(b"")
    (tmp_path / "manifest.json").write_text("{}")
    assert file_hashes(tmp_path) == {
        "ludwig/weights": hashlib.sha256(b"").hexdigest(),
        "model.onnx": hashlib.sha256(b"graph").hexdigest(),
    }


def test_a_fingerprint_does_not_depend_on_the_order_of_keys_but_on_all_else():
    one = fingerprint({"a": [1, 2], "b": {"x": None, "y": 1.5}, "day": date(2020, 1, 2)})
    assert one == fingerprint({"day": date(2020, 1, 2), "b": {"y": 1.5, "x": None}, "a": (1, 2)})
    assert len(one) == 64
    others = [{"a": [2, 1]}, {"a": [1, 2]}, {"a": [1, 2.0]}, {"a": ["1", 2]}, {"a": None}, {}]
    assert len({fingerprint(other) for other in others}) == len(others)
