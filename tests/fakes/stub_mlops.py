"""A stand-in for the `mlops` program in pipelines: makes small result folders as the stages do, in no time.

For tests of dvc.yaml and of git branches with the real dvc, which care about files, not about forecasts.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

SCRIPT = r"""#!/bin/sh
set -e
stage=$1; shift; branch=
while [ $# -gt 0 ]; do [ "$1" = --branch ] && branch=$2; shift; done
[ "$branch" != @dvc ] || branch=${DVC_STAGE#*@}
echo "$stage $branch" >> "$STUB_LOG"
case $stage in
  ingest) mkdir -p "data/prices/$branch"; cat configs/*/*.yaml > "data/prices/$branch/A.txt";;
  featurize) mkdir -p "data/features/$branch"; cp "data/prices/$branch/A.txt" "data/features/$branch/m.txt";;
  train)
    mkdir -p "models/$branch/m"; echo begun > "models/$branch/m/begun"
    [ -z "$STUB_HANG" ] || { echo $$ > "$STUB_HANG"; sleep 600; }
    cat "data/features/$branch/m.txt" params.yaml > "models/$branch/m/weights";;
  evaluate)
    mkdir -p "simulation/evaluation/$branch"; echo '{"mae": 1.5}' > "simulation/evaluation/$branch/metrics.json"
    echo '{}' > "simulation/evaluation/$branch/models.json"
    cp "models/$branch/m/weights" "simulation/evaluation/$branch/forecasts.parquet";;
  simulate)
    folder=simulation/reports/$(sed -n 's/^  scenario: //p' params.yaml); mkdir -p "$folder/plots"
    echo '{"mae": 2}' | tee "$folder/summary.json" > "$folder/metrics.json"
    printf 'day,error\n1,2\n' > "$folder/plots/error.csv"
    cat models/*/m/weights > "$folder/forecasts.parquet" 2> /dev/null || true;;
  serve) cat models/*/m/weights > serving.json 2> /dev/null || true;;
esac
"""


def stub_environment(folder: Path) -> dict[str, str]:
    """Write the stand-in into `folder`; an environment in which it is `mlops`, beside the real dvc."""
    folder.mkdir(parents=True)
    program = folder / "mlops"
    program.write_text(SCRIPT)
    program.chmod(0o755)
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "STUB_LOG": str(folder / "log"),
        "DVC_SITE_CACHE_DIR": str(folder / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(folder / "global"),
    }
