"""The one error boundary: what a command raises becomes a message on stderr and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from mlops_cli.config.run_environment import RUN_PID, STOP_NOTE
from mlops_cli.errors import EXIT_INTERRUPTED, MlopsError

DVC_STAGE = "DVC_STAGE"  # DVC sets it for every cmd


class BoundaryGroup(TyperGroup):
    """The command group whose `invoke` turns our errors into exit codes; usage errors stay Typer's own (exit 2)."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except MlopsError as error:
            _stop(error)
        except KeyboardInterrupt:
            print("\nstopped. What was finished is kept; run the same command again to go on.", file=sys.stderr)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except typer.Abort:  # a question was answered with no, or not at all
            print("\nnothing was done", file=sys.stderr)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except OSError as error:
            # a full disk, a read-only folder: the user's to mend, and a traceback would not help
            if error.errno in (None, errno.EPIPE):  # a reader that closed the pipe is Typer's to handle
                raise
            where = f" ({error.filename})" if error.filename else ""
            hint = "free some space or correct the permissions, then run again: what was finished is kept"
            _stop(OperatingSystemError(f"{error.strerror}{where}", hint))


class OperatingSystemError(MlopsError):
    """The operating system refused: disk full, no permission."""

    exit_code = 8


def _stop(error: MlopsError) -> NoReturn:
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
    _leave_note(error)
    raise typer.Exit(error.exit_code) from None


def _leave_note(error: MlopsError) -> None:
    """For the `mlops run` above a stage: DVC hands on no exit codes."""
    note = os.environ.get(STOP_NOTE)
    if note:
        import json

        try:
            with open(note, "w") as file:
                json.dump({"exit_code": error.exit_code, "message": error.message}, file)
        except OSError as failure:
            print(f"could not write {note}: {failure.strerror}", file=sys.stderr)


def end_with_parent() -> None:
    """As a DVC stage: end when DVC, or the `mlops run` above it, is gone, even if it was killed without a word.

    A stage that went on alone would hold its branch and write results nobody asked for any more; a DVC that went on
    alone would begin the next stage.
    """
    if DVC_STAGE in os.environ:
        run = os.environ.get(RUN_PID, "")
        _end_with(int(run) if run.isdigit() else None)


def _end_with(run: int | None) -> None:
    import psutil

    from mlops_cli.system.lifetime import when_gone

    try:
        dvc = psutil.Process(os.getppid())
        if "-c" in dvc.cmdline():  # the shell that DVC starts a cmd with: dash stays between them, bash does not
            dvc = dvc.parent() or dvc
    except psutil.NoSuchProcess:
        os._exit(EXIT_INTERRUPTED)
    except psutil.AccessDenied:
        return  # another user's process: not to be watched

    def end() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            if run is not None:
                dvc.terminate()
        os._exit(EXIT_INTERRUPTED)

    when_gone([dvc] if run is None else [dvc, run], end)
