"""`mlops live --replay`: runs the replay and shows its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from mlops_cli.cli.output import print_json, print_table, result_console, say, show
from mlops_cli.cli.progress import ConsoleProgress
from mlops_cli.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from mlops_cli.config.paths import Project
    from mlops_cli.live.replay.replay import LiveReplay

MOST_SHOWN = 40
MEGABYTE = 1e6


def replay(project: Project, wanted: LiveReplay, *, as_json: bool, verbose: bool) -> None:
    """Run the passes that are missing, write the report, and show it."""
    from mlops_cli import live_wiring
    from mlops_cli.live.replay.replay import replay_live
    from mlops_cli.live.replay.report import write_report
    from mlops_cli.live.replay.result import replay_result

    try:
        with ConsoleProgress(verbose) as progress:
            replayed = replay_live(project, wanted, live_wiring.replay_tools(project), progress)
            progress.start("report", 0)
            result = replay_result(replayed)
            folder = write_report(replayed, result)
    except KeyboardInterrupt:
        say("stopped: the passes that have ended are kept; run the same command again to go on from there")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        print_json(result)
    else:
        _show(result)
        show(f"\nReport, forecasts, and every decision and fill: {folder.relative_to(project.root)}/")
    home = replayed.home
    size, place = home.bytes_on_disk() / MEGABYTE, home.project.root.relative_to(project.root)
    say(f"the replay's own project takes {size:,.0f} MB, and may be removed: {place}/")
    say(f"look into it as into any project, for example: mlops models list --project {place}")


def _show(result: Mapping[str, Any]) -> None:
    replayed = result["replay"]
    models = "1 model" if replayed["models"] == 1 else f"{replayed['models']} models"
    show(
        f"{replayed['passes']} passes, from the close of {replayed['first']} to that of {replayed['last']}, of {models}"
    )
    _show_record(result)
    _show_health(result["health"])
    _show_sessions(result)
    _show_competition(result["competition"])


def _show_record(result: Mapping[str, Any]) -> None:
    """The track record, and its gap to a replay."""
    from mlops_cli.simulation.result_lines import result_lines
    from mlops_cli.simulation.result_table import result_table

    counts, summary = result["journal"]["counts"], result["journal"]["summary"]
    console = result_console()
    if summary is not None:
        console.print(result_table(summary, console.width))
    show(f"Journal: {counts['issued']} forecasts issued, {counts['settled']} settled, {counts['waiting']} waiting")
    for line in result_lines(summary) if summary is not None else []:
        console.print(line, soft_wrap=True)
    if result["gap"] is not None:
        causes = ", ".join(f"{count} {cause}" for cause, count in result["gap"]["causes"].items())
        show(f"Gap between the journal and its replay: {causes}")


def _show_health(health: Mapping[str, Any]) -> None:
    states = ", ".join(f"{count} {state}" for state, count in health["states"].items())
    fleet = health["fleet"]
    reason = f" ({fleet['reason']})" if fleet["reason"] else ""
    show(f"Health after the last pass: {states or 'no model is judged'}; the fleet is {fleet['state']}{reason}")


def _show_sessions(result: Mapping[str, Any]) -> None:
    """The passes in which something happened to the models."""
    names = ("trained", "promoted", "rolled_back", "health_changes")
    eventful = [row for row in result["sessions"] if any(row[name] for name in names)]
    if not eventful:
        show("No model was retrained, and no state of health changed.")
        return
    rows = [(row["session"], row["issued"], *(row[name] or "" for name in names)) for row in eventful[:MOST_SHOWN]]
    print_table(("PASS AFTER", "ISSUED", "TRAINED", "PROMOTED", "ROLLED BACK", "HEALTH CHANGES"), rows)
    if len(eventful) > MOST_SHOWN:
        show(f"and {len(eventful) - MOST_SHOWN} passes more, see sessions.csv and events.csv of the report")


def _show_competition(summary: Mapping[str, Any] | None) -> None:
    from mlops_cli.trading.results.competition_report import competition_lines, competition_table

    if summary is None:
        show("No team traded.")
        return
    console = result_console()
    console.print(competition_table(summary))
    for line in competition_lines(summary):
        console.print(line, soft_wrap=True)
