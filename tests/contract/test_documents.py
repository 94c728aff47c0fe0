"""dvc.yaml, README, docs and the shipped templates against the program itself."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main
import yaml

from mlops_cli.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "mlops_cli" / "templates"
README = (ROOT / "README.md").read_text()
COMMANDS = typer.main.get_command(app)


def command(words: list[str]) -> tuple[object, list[str]]:
    """The command that these words call, and what is left of them: its options and arguments."""
    found, rest = COMMANDS, list(words)
    while rest and hasattr(found, "commands") and rest[0] in found.commands:
        found = found.commands[rest.pop(0)]
    return found, rest


def options(found: object) -> set[str]:
    return {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


def all_commands(found: object = COMMANDS, path: tuple[str, ...] = ()) -> list[str]:
    children = getattr(found, "commands", None)
    if children is None:
        return [" ".join(path)]
    own = [" ".join(path)] if path and getattr(found, "invoke_without_command", False) else []
    return own + [name for word, child in children.items() for name in all_commands(child, (*path, word))]


def stages() -> dict[str, dict]:
    described = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in described.items()}


@pytest.mark.parametrize("name", stages())
def test_every_stage_is_a_command_with_these_options(name: str) -> None:
    words = shlex.split(stages()[name]["cmd"].replace("${key}", "main"))
    assert words[0] == "mlops"
    found, rest = command(words[1:])
    assert found.name == name
    given = {word for word in rest if word.startswith("--")}
    assert given <= options(found)
    assert "--keep-going" in given


def test_the_readme_lists_every_command_and_no_other() -> None:
    table = re.search(r"## Commands\n(.*?)\n## ", README, re.S)
    assert table
    listed = re.findall(r"^\| `mlops ([a-z -]+?)(?: [A-Z\[<].*?)?`", table.group(1), re.M)
    assert sorted(listed) == sorted(all_commands())


def test_commands_shown_in_documents_exist() -> None:
    shown = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for line in re.findall(r"(?:^|`|&& |bin/)(mlops [^`\n#|]*)", path.read_text(), re.M):
            shown.append((path.name, line.strip()))
    assert len(shown) > 20
    for name, line in shown:
        words = line.replace("…", "").split()
        found, rest = command(words[1:])
        unknown = {word.split("=")[0] for word in rest if re.fullmatch(r"--[a-z-]+(=.*)?", word)} - options(found)
        assert not unknown, f"{name}: {line}"


def test_the_quick_start_is_exactly_two_commands() -> None:
    block = re.search(r"## Quick start.*?```bash\n(.*?)```", README, re.S)
    assert block
    lines = [line.split("#")[0].strip() for line in block.group(1).splitlines() if line.strip()]
    assert lines == ["make run", "make test"]


def test_the_readme_gives_every_exit_code() -> None:
    from mlops_cli import errors

    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    codes |= {2, *(cls.exit_code for cls in errors.MlopsError.__subclasses__())}  # 2: Typer's own, for usage errors
    table = re.search(r"## Exit codes\n(.*?)\n## ", README, re.S)
    assert table
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table.group(1), re.M)} == codes


def test_the_repository_is_a_project_as_init_writes_it() -> None:
    pairs = {ROOT / "dvc.yaml": TEMPLATES / "project" / "dvc.yaml", ROOT / "configs/base.yaml": TEMPLATES / "base.yaml"}
    for template in ("demo", "red-vs-blue", "many"):
        for path in sorted((TEMPLATES / template).rglob("*.yaml")):
            relative = path.relative_to(TEMPLATES / template)
            if relative.name != "params.yaml" or template == "demo":
                pairs[ROOT / relative] = path
    assert len(pairs) > 8
    for ours, template in pairs.items():
        assert ours.read_text() == template.read_text(), ours


def test_the_templates_comments_name_commands_that_exist() -> None:
    shown = [
        (path.name, line)
        for path in sorted(TEMPLATES.rglob("*"))
        if path.is_file()
        for line in re.findall(r"(?:with: |or: |use: |run: |`)(mlops [^`\n#\\]*)", path.read_text())
    ]
    assert len(shown) > 10
    for name, line in shown:
        words = re.split(r"\. |, | \| ", line.replace("TICKER", "AAA"))[0].split()
        found, rest = command(words[1:])
        assert not hasattr(found, "commands"), f"{name}: {line}"
        if rest:  # Click itself parses them: a missing option or a word too many is a usage error
            found.make_context(words[-1], list(rest)).close()


def test_cron_and_ci_says_how_two_runs_meet() -> None:
    from mlops_cli.pipeline.stages.stage import LOCK_WAIT_SECONDS

    text = (ROOT / "docs" / "cron-and-ci.md").read_text()
    assert "a second `mlops run` stops at once with exit code 8" in text
    assert f"waits up to {LOCK_WAIT_SECONDS} seconds for another stage" in text


def test_no_document_promises_a_missing_file() -> None:
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_cleaning_rule_is_documented() -> None:
    from mlops_cli.prices.cleaning import rules as cleaning

    def rules(text: str) -> list[str]:
        return re.findall(r"^\| `(\w+)` \|", text, re.M)

    documented = rules((ROOT / "docs" / "data-sources.md").read_text().split("## Cleaning rules")[1])
    assert documented == rules(cleaning.__doc__ or "")
    assert len(documented) > 10


def test_running_it_every_night_explains_every_step_in_order() -> None:
    from mlops_cli.live.passes.live_pass import STEPS

    text = (ROOT / "docs" / "live.md").read_text()
    table = re.search(r"\| step \| what it does.*?\n\n", text, re.S)
    assert table
    assert re.findall(r"^\| `(\w+)` \|", table.group(), re.M) == list(STEPS)
    printed = re.search(r"STEP +DONE +UNCHANGED +FAILED\n.*?\n(.*?)\n\n", text, re.S)
    assert printed
    assert [line.split()[0] for line in printed.group(1).splitlines()] == list(STEPS)
