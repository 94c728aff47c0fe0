"""The error boundary: an error that a command raises becomes a message on stderr and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from mlops_cli.config.run_environment import DVC_STAGE, RUN_PID, STOP_NOTE
from mlops_cli.errors import EXIT_INTERRUPTED, MlopsError


class BoundaryGroup(TyperGroup):
    """The command group that turns our errors into exit codes; usage errors are left to Typer (exit 2)."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; print its error, if it has one, and exit with the error's code."""
        try:
            return super().invoke(ctx)
        except MlopsError as error:
            _stop(error)
        except KeyboardInterrupt:
            print("\nstopped. What was finished is kept; run the same command again to go on.", file=sys.stderr)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except typer.Abort:  # the user answered a question with no, or not at all
            print("\nnothing was done", file=sys.stderr)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except OSError as error:
            # such as a full disk or a read-only folder: the user must repair it, and a traceback would not help
            if error.errno in (None, errno.EPIPE):  # Typer handles a closed pipe
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
    """Write the error to a file for `mlops run`, because DVC does not pass on the exit code of a stage."""
    note = os.environ.get(STOP_NOTE)
    if note:
        import json

        try:
            with open(note, "w") as file:
                json.dump({"exit_code": error.exit_code, "message": error.message}, file)
        except OSError as failure:
            print(f"could not write {note}: {failure.strerror}", file=sys.stderr)


def end_with_parent() -> None:
    """In a DVC stage: end this process when DVC, or the `mlops run` that started DVC, ends or is killed.

    Otherwise the stage would keep its branch locked and write results after the run was stopped, and DVC would start
    the next stage. Does nothing outside of DVC.
    """
    if DVC_STAGE in os.environ:
        run = os.environ.get(RUN_PID, "")
        _end_with(int(run) if run.isdigit() else None)


def _end_with(run: int | None) -> None:
    import psutil

    from mlops_cli.system.lifetime import call_when_ended

    try:
        dvc = psutil.Process(os.getppid())
        if "-c" in dvc.cmdline():  # a shell between DVC and us: dash stays, bash replaces itself
            dvc = dvc.parent() or dvc
    except psutil.NoSuchProcess:
        os._exit(EXIT_INTERRUPTED)
    except psutil.AccessDenied:
        return  # another user's process cannot be watched

    def end() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            if run is not None:
                dvc.terminate()
        os._exit(EXIT_INTERRUPTED)

    call_when_ended([dvc] if run is None else [dvc, run], end)
