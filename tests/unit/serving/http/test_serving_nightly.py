"""What /health says of the nightly pass, and the counts that the pass reads from a server."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest

from mlops_cli.serving.http.counters import Counters
from mlops_cli.serving.http.nightly import nightly_facts
from mlops_cli.serving.http.worker_files import WorkerFiles, report_counts, write_report

NOW = datetime(2024, 1, 6, 9, 25, tzinfo=UTC)
LAST = {
    "began": "2024-01-05T21:25:00+00:00",
    "finished": "2024-01-05T21:26:00+00:00",
    "session": "2024-01-05",
    "ok": True,
    "latest": "2024-01-05T21:25:00+00:00",
}


class NoMeasures:
    """The part of a data plane that `publish` needs."""

    def measures(self) -> dict[str, float]:
        return {}


class TestFacts:
    def test_before_the_first_pass(self, tmp_path):
        assert nightly_facts(tmp_path / "none", NOW) == {"last_pass": None, "fleet": None}

    def test_the_age_of_the_last_pass_and_the_state_of_the_fleet(self, tmp_path):
        fleet = {"session": "2024-01-05", "state": "watch", "since": None, "reason": "", "models": {"healthy": 3}}
        (tmp_path / "last-pass.json").write_text(json.dumps(LAST))
        (tmp_path / "fleet.json").write_text(json.dumps(fleet))
        assert nightly_facts(tmp_path, NOW) == {
            "last_pass": {
                "session": "2024-01-05",
                "finished": "2024-01-05T21:26:00+00:00",
                "ok": True,
                "age_hours": 12.0,
            },
            "fleet": fleet,
        }

    @pytest.mark.parametrize("text", ["", "[1]", "{}", '{"began": 7}', '{"began": "2024-01-05"}'])
    def test_damaged_files_are_none(self, tmp_path, text):
        (tmp_path / "last-pass.json").write_text(text)
        (tmp_path / "fleet.json").write_text("{")
        assert nightly_facts(tmp_path, NOW) == {"last_pass": None, "fleet": None}


class TestReport:
    @pytest.fixture
    def files(self, tmp_path) -> WorkerFiles:
        notes = tmp_path / "notes"
        notes.mkdir()
        for worker, errors in enumerate((3, 4)):
            counters = Counters()
            counters.statuses.update({"200": 10, "500": errors})
            WorkerFiles(notes, worker).publish(counters, NoMeasures())
        return WorkerFiles(notes, 0)

    def test_it_has_the_answers_of_all_workers(self, files, tmp_path):
        write_report(files, tmp_path / "servers" / "me.json")
        assert json.loads((tmp_path / "servers" / "me.json").read_text())["statuses"] == {"200": 20, "500": 7}

    def test_a_server_that_answered_nothing_writes_nothing(self, tmp_path):
        write_report(WorkerFiles(tmp_path), tmp_path / "me.json")
        assert not (tmp_path / "me.json").exists()

    def test_a_folder_that_cannot_be_written_stops_no_server(self, files, tmp_path):
        (tmp_path / "servers").write_text("a file")
        write_report(files, tmp_path / "servers" / "me.json")

    def test_the_last_counts_are_written_when_the_server_ends(self, files, tmp_path):
        async def ended() -> None:
            task = asyncio.create_task(report_counts(files, tmp_path / "me.json"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(ended())
        assert json.loads((tmp_path / "me.json").read_text())["statuses"]["500"] == 7
