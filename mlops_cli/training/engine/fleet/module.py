"""Many copies of one Ludwig module, each with its own weights, as one function of stacked tensors.

The function is `torch.func.vmap` over the module, after two changes: dropout layers multiply by masks of each model's
own stream, and if all inputs are numbers that pass unchanged through their encoders, the matrix of inputs replaces the
encoders and their concatenation.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.func import functional_call, vmap

from mlops_cli.training.ludwig_config import TARGET, InputSlice

LOGITS = f"{TARGET}::logits"
PROBED_ROWS = 7
AGREEMENT = 1e-5  # largest difference between one model in the stack and alone, in units of the normalised target

Tensors = Mapping[str, torch.Tensor]


class CannotStackError(Exception):
    """The architecture cannot train in a fleet; the text says why."""


class Stack:
    """The stacked forward pass of an architecture.

    Args:
        ecd: a Ludwig module; every model begins with its weights.
        layout: the columns of each Ludwig input.
        columns: width of the matrix of normalised inputs.

    Attributes:
        weights: the module's parameters by name.
        dropouts: name of each dropout layer to its rate and the shape of one row of its input.
        activations: number of outputs of all layers for one row, for the size of chunks.

    Raises:
        CannotStackError: running statistics, randomness other than dropout, or an operation that has no stacked form.
    """

    def __init__(self, ecd: Any, layout: Sequence[InputSlice], columns: int) -> None:
        ecd = copy.deepcopy(ecd)
        self.weights = {name: tensor.detach() for name, tensor in ecd.named_parameters()}
        if len(ecd.state_dict()) != len(self.weights):
            raise CannotStackError("a layer keeps running statistics")
        if any(not weight.requires_grad for weight in ecd.parameters()):
            raise CannotStackError("some weights are frozen")
        plain = _Raw(ecd, layout, lowered=False)
        raw = _Raw(ecd, layout, lowered=_is_plain_concat(ecd, layout))
        example = torch.linspace(-2, 2, PROBED_ROWS * columns).reshape(PROBED_ROWS, columns)
        expected = plain.eval()(example)
        self.dropouts, self.activations = _probe(raw, example)
        self._eval = vmap(self._call(_swapped(raw, drop=False)), in_dims=(0, 0), randomness="error")
        self._train = vmap(self._call(_swapped(raw, drop=True).train()), in_dims=(0, 0, 0), randomness="error")
        self._check(expected, example)

    def predict(self, weights: Tensors, rows: torch.Tensor) -> torch.Tensor:
        """Forward pass without dropout: normalised predictions, (models, rows).

        Args:
            weights: stacked parameters, (models, ...) each.
            rows: normalised inputs, (models, rows, columns).
        """
        predicted: torch.Tensor = self._eval(weights, rows)
        return predicted

    def forward(self, weights: Tensors, rows: torch.Tensor, masks: Tensors) -> torch.Tensor:
        """Forward pass of a training step; `masks` holds (models, rows, ...) for each of `dropouts`, scaled."""
        predicted: torch.Tensor = self._train(weights, rows, masks)
        return predicted

    def _call(self, module: _Raw) -> Any:
        def call(weights: Tensors, rows: torch.Tensor, masks: Tensors | None = None) -> Any:
            values = {f"ecd.{name}": tensor for name, tensor in weights.items()}
            values.update({f"ecd.{name}.mask": tensor for name, tensor in (masks or {}).items()})
            return functional_call(module, values, (rows,))

        return call

    def _check(self, expected: torch.Tensor, example: torch.Tensor) -> None:
        """Two equal models in the stack must predict what the module alone predicts, and have gradients."""
        both = {name: torch.stack([tensor, tensor]).requires_grad_() for name, tensor in self.weights.items()}
        rows = torch.stack([example, example])
        masks = {name: torch.ones(2, PROBED_ROWS, *shape) for name, (_, shape) in self.dropouts.items()}
        try:
            alone = self.predict(both, rows)
            trained = self.forward(both, rows, masks)
            torch.autograd.grad(trained.square().sum(), list(both.values()))
        except (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError) as error:
            # what torch raises for an operation without a stacked form, for randomness, and for branches on values
            raise CannotStackError(f"an operation has no stacked form ({_line(error)})") from error
        for outputs in (alone, trained):
            if not torch.allclose(outputs[0], expected, atol=AGREEMENT) or not torch.equal(outputs[0], outputs[1]):
                raise CannotStackError("stacked, it predicts something else than alone")


class _Raw(torch.nn.Module):
    """A Ludwig ECD from a matrix of normalised inputs to normalised predictions."""

    def __init__(self, ecd: Any, layout: Sequence[InputSlice], lowered: bool) -> None:
        super().__init__()
        self.ecd = ecd
        self.layout = tuple(layout)
        self.lowered = lowered
        self.order = [part.start for part in layout]

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        if self.lowered:
            wide = rows.shape[1] == len(self.order) and self.order == sorted(self.order)
            combined = {"combiner_output": self.ecd.combiner.fc_stack(rows if wide else rows[:, self.order])}
        else:
            combined = self.ecd.combine(self.ecd.encode({part.name: part.of(rows) for part in self.layout}))
        logits: torch.Tensor = self.ecd.decode(combined, None, None)[LOGITS]
        return logits.reshape(-1)


class _Masked(torch.nn.Module):
    """Dropout with a mask that the caller sets."""

    def __init__(self) -> None:
        super().__init__()
        self.mask: torch.Tensor
        self.register_buffer("mask", torch.ones(()))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * self.mask


def _is_plain_concat(ecd: Any, layout: Sequence[InputSlice]) -> bool:
    encoders = {type(feature.encoder_obj).__name__ for feature in ecd.input_features.values()}
    combiner = ecd.combiner
    return (
        encoders == {"PassthroughEncoder"}
        and all(part.width == 1 for part in layout)
        and len(layout) > 1
        and type(combiner).__name__ == "ConcatCombiner"
        and combiner.batch_ensemble_layer is None
    )


def _active_dropouts(ecd: torch.nn.Module) -> dict[str, float]:
    return {name: layer.p for name, layer in ecd.named_modules() if type(layer) is torch.nn.Dropout and layer.p > 0}


def _probe(raw: _Raw, example: torch.Tensor) -> tuple[dict[str, tuple[float, tuple[int, ...]]], int]:
    """Rate and shape of every dropout layer that is used, and the number of outputs of all layers for one row."""
    rates = _active_dropouts(raw.ecd)
    used: dict[str, tuple[float, tuple[int, ...]]] = {}
    calls: list[str] = []
    sizes: list[int] = []

    def watch(name: str, layer: torch.nn.Module) -> Any:
        def hook(_: Any, inputs: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, torch.Tensor):
                sizes.append(output.numel())
            if name in rates:
                calls.append(name)
                used[name] = (rates[name], tuple(inputs[0].shape[1:]))

        return layer.register_forward_hook(hook)

    handles = [watch(name, layer) for name, layer in raw.ecd.named_modules() if not list(layer.children())]
    with torch.no_grad():
        raw.eval()(example)
    for handle in handles:
        handle.remove()
    if len(set(calls)) != len(calls):
        raise CannotStackError("a dropout layer is used twice")
    return used, -(-sum(sizes) // len(example))


def _swapped(raw: _Raw, drop: bool) -> _Raw:
    """A copy whose dropout layers take a mask, or do nothing."""
    module = copy.deepcopy(raw).eval()
    for name in _active_dropouts(module.ecd):
        module.ecd.set_submodule(name, _Masked() if drop else torch.nn.Identity())
    return module


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
