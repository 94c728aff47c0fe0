"""What a server gets from rooms above it, which it cannot import: a factory is named, and each worker calls it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from mlops_cli.config.paths import Project
from mlops_cli.serving.contract.issued_forecasts import IssuedForecasts
from mlops_cli.serving.contract.job_desk import JobDesk


@dataclass(frozen=True)
class ServerParts:
    """Adapters of the server's ports; what is None is not served.

    Attributes:
        desk: takes requests for training.
        issued: the forecasts that were issued; None: all are computed.
    """

    desk: JobDesk | None = None
    issued: IssuedForecasts | None = None


def server_parts(factory: str | None, project: Project) -> ServerParts:
    """The parts that a factory, named as `module:function`, makes for a project; none without a factory."""
    if factory is None:
        return ServerParts()
    module, _, function = factory.partition(":")
    make = cast(Callable[[Project], ServerParts], getattr(import_module(module), function))
    return make(project)
