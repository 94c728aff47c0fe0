"""Entry point of `mlops` and `python -m mlops_cli`."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from mlops_cli.cli.app import app

    app()


if __name__ == "__main__":
    main()
