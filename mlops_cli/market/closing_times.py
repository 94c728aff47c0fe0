"""Prints the sessions of an exchange, for programs that must not load pandas and the calendars themselves.

`python -m mlops_cli.market.closing_times XNYS` prints a JSON list of pairs: the day, and when it closes in seconds
since 1970. They take 60 MB and two seconds to load; a server with many workers needs neither.
"""

from __future__ import annotations

import json
import sys

from mlops_cli.errors import MlopsError
from mlops_cli.market.sessions import opening_hours


def main() -> None:
    """Print the sessions of the exchange that is named, or an error, and then exit with its code."""
    try:
        hours = opening_hours(sys.argv[1])
    except MlopsError as error:
        sys.stderr.write(str(error))
        sys.exit(error.exit_code)
    json.dump([(session.day.isoformat(), int(session.closes.timestamp())) for session in hours], sys.stdout)


if __name__ == "__main__":
    main()
