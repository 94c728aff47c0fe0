"""The kill switch: halt files, and the loss limits that create one. Orders already sent are still tracked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from mlops_cli.trading.contract.types import AccountState, Rules

ALL_TEAMS = "all"


@dataclass(frozen=True)
class HaltFiles:
    """Files `<folder>/HALT-<team>` and `<folder>/HALT-all`, which a person may also make or remove with the shell."""

    folder: Path
    team: str

    def reason(self) -> str | None:
        """Why the team is halted; None where it is not."""
        for name in (ALL_TEAMS, self.team):
            path = self._path(name)
            try:
                return path.read_text(encoding="utf-8", errors="replace").strip() or f"{path.name} is there"
            except FileNotFoundError:
                continue
            except OSError as error:
                return f"{path.name} cannot be read ({error.strerror})"  # an unreadable halt file halts too
        return None

    def resume_commands(self) -> str:
        """The commands that resume the team; empty where no file halts it."""
        names = [name for name in dict.fromkeys((ALL_TEAMS, self.team)) if self._path(name).exists()]
        return " && ".join(f"mlops paper-trade resume --team {name}" for name in names)

    @property
    def is_halted_itself(self) -> bool:
        """Whether the team has a halt file of its own."""
        return self._path(self.team).exists()

    def others(self) -> list[str]:
        """Other names (teams, or `all`) that have a halt file of their own."""
        halted = sorted(path.name.removeprefix("HALT-") for path in self.folder.glob("HALT-*"))
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
        return self.folder / f"HALT-{team}"


def daily_loss(account: AccountState) -> Decimal:
    """Loss since the previous close, as a fraction of the equity then; 0 for a gain or if there was no equity."""
    return drawdown(account.equity, account.last_equity)


def drawdown(equity: Decimal, peak: Decimal) -> Decimal:
    """Loss since the highest equity, as a fraction of it; 0 at or above the peak."""
    if peak <= 0:
        return Decimal(0)
    return max(Decimal(0), 1 - equity / peak)


def risk_breach(account: AccountState, peak: Decimal, rules: Rules) -> str | None:
    """Why the team must be halted, or None. Reaching a limit is a breach; `peak`: highest equity up to now, in USD."""
    if account.equity <= 0:
        return f"equity is {account.equity:.2f}"
    lost = daily_loss(account)
    if lost >= Decimal(str(rules.daily_loss_limit)):
        return (
            f"lost {100 * lost:.2f} % since the previous close, daily_loss_limit is {100 * rules.daily_loss_limit:g} %"
        )
    down = drawdown(account.equity, max(peak, account.equity))
    if down >= Decimal(str(rules.max_drawdown)):
        return f"{100 * down:.2f} % below the highest equity {peak:.2f}, max_drawdown is {100 * rules.max_drawdown:g} %"
    return None
