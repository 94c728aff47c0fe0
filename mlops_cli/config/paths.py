"""Every path in the house."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlops_cli.errors import ConfigError


@dataclass(frozen=True)
class Project:
    """A project folder (absolute); all other paths hang off it."""

    root: Path

    @classmethod
    def at(cls, folder: Path) -> Project:
        """Open an existing project.

        Raises:
            ConfigError: `folder` holds no params.yaml.
        """
        root = folder.resolve()
        if not (root / "params.yaml").is_file():
            raise ConfigError(
                f"{root} is no mlops project: it has no params.yaml",
                "go to your project's folder, pass --project DIR, or start one with: mlops init DIR",
            )
        return cls(root)

    @property
    def params(self) -> Path:
        """Which collection, which period."""
        return self.root / "params.yaml"

    @property
    def pipeline(self) -> Path:
        """The DVC pipeline."""
        return self.root / "dvc.yaml"

    @property
    def lock(self) -> Path:
        """What DVC made last."""
        return self.root / "dvc.lock"

    @property
    def configs(self) -> Path:
        """Model configs."""
        return self.root / "configs"

    @property
    def base(self) -> Path:
        """Defaults shared by every model; may be absent."""
        return self.configs / "base.yaml"

    @property
    def env_file(self) -> Path:
        """Secrets and endpoints; may be absent."""
        return self.root / ".env"

    @property
    def state(self) -> Path:
        """Locks and other things that are no result; never in git."""
        return self.root / ".mlops"

    @property
    def ledgers(self) -> Path:
        """Folder of `<team>.db`, what each team has traded; halts lie beside them. Never to be removed."""
        return self.state / "ledger"

    def ledger(self, team: str) -> Path:
        """A team's ledger."""
        return self.ledgers / f"{team}.db"

    @property
    def tracking_database(self) -> Path:
        """Where MLflow writes by default."""
        return self.root / "mlruns.db"

    def prices(self, branch: str) -> Path:
        """Folder of `<TICKER>.parquet` price tables and their provenance."""
        return self.root / "data" / "prices" / branch

    def features(self, branch: str) -> Path:
        """Folder of `<model>.parquet` feature tables."""
        return self.root / "data" / "features" / branch

    @property
    def model_root(self) -> Path:
        """Folder of the branches' folders of model folders, and of their earlier versions."""
        return self.root / "models"

    def models(self, branch: str) -> Path:
        """Folder of model folders."""
        return self.model_root / branch

    def staging(self, branch: str) -> Path:
        """Folder in which models are built: on the disk of the model folders, so that installing is a rename."""
        return self.model_root / ".staging" / branch

    @property
    def walk_forward(self) -> Path:
        """Folder of `<branch>/<model>/<date>/`: models that `simulate` trained as time went on; may be removed."""
        return self.state / "walk-forward"

    def evaluation(self, branch: str) -> Path:
        """Folder of a branch's held-out forecasts and metrics."""
        return self.root / "simulation" / "evaluation" / branch

    def scenario(self, name: str) -> Path:
        """A scenario's YAML."""
        return self.root / "simulation" / f"{name}.yaml"

    def report(self, scenario: str) -> Path:
        """Folder of a scenario's report."""
        return self.root / "simulation" / "reports" / scenario
