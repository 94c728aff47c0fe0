"""Figures as a table, as JSON, and as the generated parts of docs/benchmarks.md."""

from __future__ import annotations

import math
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

LIBRARIES = ("ludwig", "torch", "onnxruntime", "dvc", "mlflow", "pandas", "numpy")
COLUMNS = ("what", "measured", "expected", "ratio")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: was measured.
        value: in `unit`; NaN if it could not be measured, and then `what` gives the reason.
        unit: s, MB, ... or empty for a plain number.
        expected: the target, or the estimate made before measuring.
        met: whether the target was met; None without a target.
        ratio: of two figures of the same run.
        ratio_of: which two.
        digits: significant digits of the value.
    """

    what: str
    value: float
    unit: str
    expected: str = ""
    met: bool | None = None
    ratio: float | None = None
    ratio_of: str = ""
    digits: int = 3

    def cells(self) -> tuple[str, str, str, str]:
        """Texts of its cells, in the order of `COLUMNS`."""
        verdict = "" if self.met is None else ": met" if self.met else ": missed"
        ratio = "" if self.ratio is None else f"{_rounded(self.ratio)} x {self.ratio_of}".rstrip()
        value = "-" if math.isnan(self.value) else f"{_rounded(self.value, self.digits)} {self.unit}".rstrip()
        return self.what, value, f"{self.expected}{verdict}", ratio


@dataclass
class Section:
    """The figures of one part of the benchmark.

    Attributes:
        name: as in `--only`.
        rows: of the table.
        raw: every single run, for the JSON.
        seconds: wall clock that measuring took; 0 where it is not known.
    """

    name: str
    rows: list[Row] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def machine() -> dict[str, Any]:
    """The hardware and the versions that were measured; without names or paths of the machine."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES},
        "commit": _commit(),
    }


def caption(facts: dict[str, Any]) -> str:
    """The measured machine and versions as a sentence."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    return (
        f"Measured {facts['date']} at commit {facts['commit']} on {facts['cores']} core(s) of {facts['cpu']}, "
        f"{facts['memory_gb']} GB, {facts['system']}, load average {facts['load_before']} before the start; "
        f"Python {facts['python']}, {versions}."
    )


def print_table(sections: Sequence[Section], facts: dict[str, Any]) -> None:
    """Print the rows of every section, and the machine below."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    for section in sections:
        table = Table(*COLUMNS, title=_title(section), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for row in section.rows:
            table.add_row(*row.cells())
        console.print(table)
    console.print(caption(facts), soft_wrap=True)


def as_json(sections: Sequence[Section], facts: dict[str, Any], quick: bool) -> dict[str, Any]:
    """All figures as a JSON document."""
    figures = {
        part.name: {"rows": [asdict(row) for row in part.rows], "runs": part.raw, "seconds": part.seconds}
        for part in sections
    }
    return {"quick": quick, "machine": facts, "sections": figures}


def write_docs(path: Path, sections: Sequence[Section], facts: dict[str, Any]) -> None:
    """Replace the generated part of each section in `path`, between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`.

    Raises:
        ValueError: the markers of a section are missing.
    """
    text = path.read_text(encoding="utf-8")
    for section in sections:
        begin, end = f"<!-- bench:{section.name} -->", f"<!-- /bench:{section.name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        took = f" Measuring took {section.seconds:.0f} s." if section.seconds else ""
        block = "\n".join([begin, "", *_markdown(section), "", caption(facts) + took, "", end])
        blocks = pattern.findall(text)
        if len(blocks) != 1:
            raise ValueError(f"{path}: expected {begin} ... {end} once, was there {len(blocks)} times")
        text = text.replace(blocks[0], block)
    path.write_text(text, encoding="utf-8")


def _title(section: Section) -> str:
    return f"{section.name}: measured in {section.seconds:.0f} s" if section.seconds else section.name


def _markdown(section: Section) -> list[str]:
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|---:|---|---|"]
    for row in section.rows:
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row.cells())} |")
    return lines


def _rounded(value: float, significant: int = 3) -> str:
    """A number with so many significant digits, and an exponent only for very small numbers.

    >>> [_rounded(v) for v in (0, 0.01234, 3.14159, 27.96, 1234.5, 1.2e-8)]
    ['0', '0.0123', '3.14', '28.0', '1234', '1.2e-08']
    """
    if value == 0:
        return "0"
    digits = significant - 1 - math.floor(math.log10(abs(value)))
    return f"{value:.{significant - 1}g}" if digits > significant + 3 else f"{value:.{max(digits, 0)}f}"


def _cpu() -> str:
    try:
        model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        model = None
    return " ".join(model.group(1).split()) if model else platform.processor() or "unknown processor"


def _commit() -> str:
    """The commit that was measured, with + if files of the package differ from it."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/mlops_cli")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")
