"""The training process: imports Ludwig once, then takes jobs, one JSON line each, until its input ends.

Started by `LudwigTrainer` as `python -m mlops_cli.training.ludwig_worker GRAPHS`, where GRAPHS is the folder of
exported architectures. Lines in: a job. Lines out: `{"ready"}` once, then one result per job. When the parent is
gone, however it went, the input ends and so does this process.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from mlops_cli.errors import MlopsError
from mlops_cli.training.trainer import Fitted, TrainJob
from mlops_cli.training.wire import job_from_json

Fit = Callable[[TrainJob], Fitted]


def main() -> None:
    """Train with Ludwig until the input ends."""
    serve(_load_ludwig)


def serve(load: Callable[[], Fit]) -> None:
    """Answer jobs on the standard input until it ends.

    Args:
        load: gives what fits a job; may take its time and print what it likes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it ends us by closing the input
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    fit = load()
    _answer(answers, {"ready": os.getpid()})
    while True:
        _answer(answers, _result(fit, job_from_json(lines.get())))


def _load_ludwig() -> Fit:
    _lighten_import()
    from mlops_cli.training.ludwig_fit import LudwigFitter, prepare_process

    gc.freeze()
    gc.enable()
    prepare_process()
    return LudwigFitter(Path(sys.argv[1])).fit


def _lighten_import() -> None:
    """Take a third off the import of Ludwig, which is most of what a small training costs."""
    import yaml

    gc.disable()  # nothing of what an import makes is garbage; it goes on after `freeze` below
    # Ludwig reads 0.5 MB of its own YAML with the parser written in Python
    yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[misc, assignment]
    # 8-bit optimizers for CUDA, which is not used here; Ludwig does without where it is missing
    sys.modules["bitsandbytes"] = None  # type: ignore[assignment]


def _read(lines: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    # the parent may have died in the middle of a job: nobody would take the result
    os._exit(0)


def _result(fit: Fit, job: TrainJob) -> dict[str, Any]:
    try:
        fitted = fit(job)
    except MlopsError as error:
        return {"failed": str(error), "exit_code": error.exit_code}
    except OSError as error:
        return {"failed": f"{job.spec.name}: {error}", "exit_code": 5}
    return {"epochs": fitted.epochs, "facts": fitted.facts}


def _answer(answers: TextIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")


if __name__ == "__main__":
    main()
