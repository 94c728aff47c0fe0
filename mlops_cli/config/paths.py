"""The paths of a project's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlops_cli.errors import ConfigError
from mlops_cli.system.files import others_may_read


@dataclass(frozen=True)
class Project:
    """A project folder (absolute path), and the paths of everything in it."""

    root: Path

    @classmethod
    def at(cls, folder: Path) -> Project:
        """Open an existing project; a `ConfigError` if `folder` contains no params.yaml."""
        root = folder.resolve()
        if not (root / "params.yaml").is_file():
            raise ConfigError(
                f"{root} is not an mlops project: it has no params.yaml",
                "go to your project's folder, pass --project DIR, or start one with: mlops init DIR",
            )
        return cls(root)

    @property
    def params(self) -> Path:
        """The settings of the project."""
        return self.root / "params.yaml"

    @property
    def pipeline(self) -> Path:
        """The DVC pipeline."""
        return self.root / "dvc.yaml"

    @property
    def lock(self) -> Path:
        """The outputs that DVC produced last, with their hashes."""
        return self.root / "dvc.lock"

    @property
    def configs(self) -> Path:
        """Folder of the model configs."""
        return self.root / "configs"

    @property
    def base(self) -> Path:
        """Defaults of all models; the file may be absent."""
        return self.configs / "base.yaml"

    @property
    def env_file(self) -> Path:
        """Secrets and endpoints; the file may be absent."""
        return self.root / ".env"

    @property
    def state(self) -> Path:
        """Folder of locks, ledgers and other files that are not results; git ignores it."""
        return self.root / ".mlops"

    @property
    def ledgers(self) -> Path:
        """Folder of the ledgers `<team>.db` and of the halts. It must never be deleted."""
        return self.state / "ledger"

    def ledger(self, team: str) -> Path:
        """The database of what a team has traded."""
        return self.ledgers / f"{team}.db"

    @property
    def live(self) -> Path:
        """Folder of what `mlops live` notes between its passes: health, passes, alerts that were told."""
        return self.state / "live"

    @property
    def journal(self) -> Path:
        """The database of every forecast that was issued. It must never be deleted."""
        return self.state / "journal.db"

    @property
    def jobs_database(self) -> Path:
        """The queue of trainings on request, unless it is kept in Postgres."""
        return self.state / "jobs.db"

    @property
    def requested(self) -> Path:
        """Folder of `<model>.json`: the configs of models that jobs asked for and no file of `configs` has."""
        return self.state / "requested"

    @property
    def tracking_database(self) -> Path:
        """The database that MLflow writes to by default."""
        return self.root / "mlruns.db"

    def exposed_files(self) -> list[Path]:
        """The files with secrets or trades that others on this machine may read or change, relative to the project."""
        databases = [self.journal, self.jobs_database, self.tracking_database]
        files = [self.env_file, *sorted(self.ledgers.glob("*.db*")), *databases]
        return [file.relative_to(self.root) for file in files if others_may_read(file)]

    def prices(self, branch: str) -> Path:
        """Folder of `<TICKER>.parquet` price tables and their provenance."""
        return self.root / "data" / "prices" / branch

    def features(self, branch: str) -> Path:
        """Folder of `<model>.parquet` feature tables."""
        return self.root / "data" / "features" / branch

    @property
    def model_root(self) -> Path:
        """Folder of `<branch>/<model>/` and of the earlier versions of the models."""
        return self.root / "models"

    def models(self, branch: str) -> Path:
        """Folder of a branch's model folders."""
        return self.model_root / branch

    def staging(self, branch: str) -> Path:
        """Folder in which models are built, on the same disk as `models`, so that a rename installs them."""
        return self.model_root / ".staging" / branch

    def live_staging(self, branch: str) -> Path:
        """Folder of live versions that are trained and not installed, on the same disk as `models`."""
        return self.model_root / ".staging" / f"{branch}.live"  # no branch has a dot in its name

    @property
    def walk_forward(self) -> Path:
        """Folder of `<branch>/<model>/<date>/`: models retrained by `mlops simulate`. It may be deleted."""
        return self.state / "walk-forward"

    def evaluation(self, branch: str) -> Path:
        """Folder of a branch's held-out forecasts and metrics."""
        return self.root / "simulation" / "evaluation" / branch

    def scenario(self, name: str) -> Path:
        """The YAML file of a scenario."""
        return self.root / "simulation" / f"{name}.yaml"

    def report(self, scenario: str) -> Path:
        """Folder of a scenario's report."""
        return self.root / "simulation" / "reports" / scenario
