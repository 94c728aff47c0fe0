"""The kill switch: while a halt file exists no order is sent; orders that were sent are still followed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

ALL_TEAMS = "all"


class HaltFiles:
    """Files `<folder>/HALT-<team>` and `<folder>/HALT-all`, which a person may also make or remove with the shell.

    Args:
        folder: of the halt files.
        team: that is halted by them.
    """

    def __init__(self, folder: Path, team: str) -> None:
        self._folder = folder
        self.team = team

    def reason(self) -> str | None:
        """Why the team is halted; None where it is not."""
        for name in (ALL_TEAMS, self.team):
            path = self._path(name)
            try:
                return path.read_text(encoding="utf-8", errors="replace").strip() or f"{path.name} is there"
            except FileNotFoundError:
                continue
            except OSError as error:
                return f"{path.name} cannot be read ({error.strerror})"  # fail closed
        return None

    def way_on(self) -> str:
        """The commands that resume the team; empty where no file halts it."""
        names = [name for name in dict.fromkeys((ALL_TEAMS, self.team)) if self._path(name).exists()]
        return " && ".join(f"mlops paper-trade resume --team {name}" for name in names)

    def others(self) -> list[str]:
        """Other names (teams, or `all`) that have a halt file of their own."""
        halted = sorted(path.name.removeprefix("HALT-") for path in self._folder.glob("HALT-*"))
        return [name for name in halted if name != self.team]

    def halt(self, reason: str) -> Path:
        """Halt the team; returns its halt file. A team that is halted already keeps its first reason."""
        path = self._path(self.team)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(f"{reason} ({datetime.now(UTC):%Y-%m-%d %H:%M} UTC)\n", encoding="utf-8")
        return path

    def resume(self) -> bool:
        """Remove the team's own halt file; returns whether there was one."""
        path = self._path(self.team)
        was_halted = path.exists()
        path.unlink(missing_ok=True)
        return was_halted

    def _path(self, team: str) -> Path:
        return self._folder / f"HALT-{team}"
