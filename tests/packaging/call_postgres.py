"""Extra `postgres`: the package that the queue of jobs needs is there, and says when a server is away."""

from __future__ import annotations

from mlops_cli.errors import ServiceError
from mlops_cli.live.jobs.postgres_database import PostgresDatabase


def main() -> None:
    import psycopg

    try:
        PostgresDatabase("postgresql://nobody@127.0.0.1:1/nothing")
    except ServiceError as error:
        print(f"psycopg {psycopg.__version__}: {error.message}")
    else:
        raise AssertionError("a server answered on port 1")


if __name__ == "__main__":
    main()
