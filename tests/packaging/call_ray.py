"""Extra `ray`: start a cluster on this machine as `training.executor: ray` does, and run a function on it."""

from __future__ import annotations

from mlops_cli.training.cluster.ray_cluster import connected


def main() -> None:
    with connected(None, workers=1):
        import ray

        def package_file() -> str:
            import mlops_cli

            return mlops_cli.__file__

        path = ray.get(ray.remote(package_file).remote(), timeout=120)
    assert path.endswith("mlops_cli/__init__.py"), path
    print(f"ray {ray.__version__}: a task imported {path}")


if __name__ == "__main__":
    main()
