#!/usr/bin/env bash
# Build the wheel and use it as a user would, each time in a clean environment with the versions of requirements.lock:
#   - the wheel alone: `mlops init d --template demo && cd d && mlops run` trains and judges the demo;
#   - the wheel with each of its extras: the extra is imported and called;
#   - the wheel with dvc[s3], which docs/cron-and-ci.md tells people to install: the same.
# It needs the package index, and uv and Python as `make setup` installs them. Run it with: make test-package
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
UV=${UV:-$ROOT/.tools/bin/uv}
PYTHON=${PYTHON:-$ROOT/.venv/bin/python}
CALLS=$ROOT/tests/packaging
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
unset PYTHONPATH VIRTUAL_ENV # nothing of the checkout may be importable
export DVC_NO_ANALYTICS=1
cd "$WORK"

step() { echo "[$(date +%T)] $*"; }

# install NAME REQUIREMENT...: make the environment NAME from the requirements, in the locked versions
install() {
    local name=$1
    shift
    "$UV" venv --quiet --python "$PYTHON" "$WORK/$name"
    "$UV" pip install --quiet --python "$WORK/$name/bin/python" --constraint "$ROOT/requirements.lock" "$@"
    "$UV" pip check --quiet --python "$WORK/$name/bin/python"
}

step "build the wheel"
"$UV" build --quiet --wheel --python "$PYTHON" --build-constraints "$ROOT/requirements.lock" --out-dir "$WORK/dist" "$ROOT"
WHEEL=$(echo "$WORK"/dist/mlops_cli-*.whl)

step "wheel alone: init, run"
install plain "$WHEEL"
plain/bin/mlops init d --template demo
(cd d && ../plain/bin/mlops run)
test -s d/simulation/reports/*/metrics.json
rm -rf plain d

EXTRAS='import sys, tomllib; print(*tomllib.load(sys.stdin.buffer)["project"]["optional-dependencies"])'
for extra in $("$PYTHON" -c "$EXTRAS" <"$ROOT/pyproject.toml"); do
    step "wheel[$extra]"
    test -f "$CALLS/call_$extra.py" || { echo "write tests/packaging/call_$extra.py: it calls the extra once" >&2; exit 1; }
    install "$extra" "mlops-cli[$extra] @ file://$WHEEL"
    "$extra/bin/python" "$CALLS/call_$extra.py"
    rm -rf "$extra"
done

step "wheel and dvc[s3]"
install dvc_s3 "$WHEEL" "dvc[s3]"
dvc_s3/bin/python "$CALLS/call_dvc_s3.py"

step "all of it works"
