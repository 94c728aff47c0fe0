# Only the server, about 0.6 GB: no torch, no Ludwig, no DVC. It serves the models of a mounted project, see compose.yaml.
# By tag, not by digest: a new build shall have the security updates of Debian and Python.
FROM python:3.12-slim

WORKDIR /build
COPY requirements-uv.lock requirements.lock pyproject.toml README.md ./
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-uv.lock
# The packages that `mlops serve`, `mlops export` and `mlops models` import, in the locked versions. uv compares each of
# them, and what they need in turn, with the hashes of requirements.lock.
RUN uv pip install --system --no-cache --compile-bytecode --verify-hashes --constraint requirements.lock \
    exchange-calendars fastapi filelock hatchling httptools numpy onnx onnxruntime orjson pandas \
    prometheus-client psutil pyarrow pydantic pydantic-settings python-dotenv pyyaml rich ruamel.yaml scipy statsmodels \
    ta-lib typer uvicorn uvloop watchfiles
COPY mlops_cli mlops_cli
RUN uv pip install --system --no-cache --compile-bytecode --no-deps --no-build-isolation .

# The server does not run as root and may write only its own files.
RUN useradd --uid 10001 --create-home mlops && mkdir -p /project/.mlops && chown -R mlops /project
USER mlops
WORKDIR /project
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/v2/health/ready', timeout=2)"]
ENTRYPOINT ["mlops"]
CMD ["serve", "--host", "0.0.0.0"]
