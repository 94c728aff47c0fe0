"""The sizes that CONTRIBUTING.md promises, and documents against the files, targets and packages of the repository."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "mlops_cli"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = [path for path in sorted((ROOT / "tests").rglob("*.py")) if "bench" not in path.parts]
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

MODULE_LINES = 300
FUNCTION_LINES = 40
FOLDER_MODULES = 13
DECISION_WORDS = 350  # what one reads in little more than a minute


def packages(folder: Path = PACKAGE) -> Iterator[Path]:
    """Folders of Python modules; the templates of new projects are none."""
    if list(folder.glob("*.py")):
        yield folder
        for child in sorted(folder.iterdir()):
            if child.is_dir():
                yield from packages(child)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length of every function in a file, without decorators and docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                docstring = node.body[0]
                length -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
            yield f"{name(path)}:{node.lineno} {node.name}", length


def test_no_module_is_too_long() -> None:
    assert {name(path): lines(path) for path in MODULES if lines(path) > MODULE_LINES} == {}


def test_no_function_is_too_long() -> None:
    lengths = dict(function for path in MODULES for function in functions(path))
    assert len(lengths) > 1000
    assert {function: length for function, length in lengths.items() if length > FUNCTION_LINES} == {}


def test_no_folder_holds_too_many_modules() -> None:
    sizes = {name(folder): len({*folder.glob("*.py")} - {folder / "__init__.py"}) for folder in packages()}
    assert {folder: size for folder, size in sizes.items() if size > FOLDER_MODULES} == {}


def test_there_are_as_many_lines_of_tests_as_of_code() -> None:
    """Benchmarks do not count."""
    assert sum(map(lines, TESTS)) >= sum(map(lines, MODULES))


def test_a_package_imports_nothing_by_itself() -> None:
    """Importing a module must not load its neighbours: `mlops --help` stays fast (docs/decisions/0005)."""
    for folder in packages():
        tree = ast.parse((folder / "__init__.py").read_text())
        assert ast.get_docstring(tree), name(folder)
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        assert {getattr(node, "module", None) for node in imports} <= {"__future__"}, name(folder)


def test_unit_tests_lie_where_their_modules_lie() -> None:
    unit = ROOT / "tests" / "unit"
    folders = {path.parent.relative_to(unit) for path in unit.rglob("test_*.py")}
    assert {folder.as_posix() for folder in folders if not (PACKAGE / folder).is_dir()} == set()


def test_no_two_test_files_share_a_name() -> None:
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "__init__.py")
    assert [file for file, count in names.items() if count > 1] == []


def top_level_names(path: Path) -> set[str]:
    """Everything a module defines or imports outside functions and classes, under `if` and `try` too."""
    names: set[str] = set()
    left: list[ast.AST] = [ast.parse(path.read_text())]
    while left:
        node = left.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        left += ast.iter_child_nodes(node)
    return names


def test_tests_and_benchmarks_import_only_names_that_exist() -> None:
    """Imports inside functions too, which nothing else notices in benchmarks and in tests that are skipped here."""
    defined: dict[str, set[str]] = {}
    missing = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            if module.split(".")[0] not in ("mlops_cli", "tests"):
                continue
            base = ROOT.joinpath(*module.split("."))
            file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
            if module not in defined:
                defined[module] = top_level_names(file) if file.is_file() else set()
                defined[module] |= {child.stem for child in base.glob("*") if child.suffix in ("", ".py")}
            missing += [
                f"{name(path)}: {module}.{alias.name}" for alias in node.names if alias.name not in defined[module]
            ]
    assert missing == []


def test_the_readme_maps_every_package_and_no_other() -> None:
    """The map lists packages of the first level, and below each those of the second level (`name/` words)."""
    text = (ROOT / "README.md").read_text()
    block = text[text.index("\nmlops_cli/ ") :]
    mapped: dict[str, set[str]] = {}
    for line in block[: block.index("```")].splitlines()[2:]:
        entry = re.match(r"^( +)(\S+)/? +(.*)$", line)
        assert entry, line
        indent, word, rest = entry.groups()
        word = word.rstrip("/")
        if len(indent) == 4:
            parent = next(reversed(mapped))
            mapped[parent].add(word)
            mapped[f"{parent}/{word}"] = set()
            word = f"{parent}/{word}"
        else:
            mapped[word] = set()
        mapped[word] |= set(re.findall(r"\b([a-z]+)/(?=[ ;:,.)]|$)", rest))
    listed = {f"{parent}/{child}" for parent, children in mapped.items() for child in children} | {*mapped}
    listed -= {"wiring.py", "live_wiring.py", "errors.py"}
    assert listed == {folder.relative_to(PACKAGE).as_posix() for folder in packages()} - {"."}


def test_documents_name_only_files_that_exist() -> None:
    """Paths in backticks or code that start in a folder of the repository."""
    pattern = re.compile(r"(?<![\w/.])((?:mlops_cli|tests|docs|\.github|\.ci)/[\w./-]*[\w/])")
    shown = [(guide, path) for guide in GUIDES for path in pattern.findall(guide.read_text())]
    assert len(shown) > 20
    missing = [f"{name(guide)}: {path}" for guide, path in shown if not (ROOT / path).exists()]
    assert missing == []


def test_code_names_only_documents_that_exist() -> None:
    shown = [(path, page) for path in MODULES for page in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text())]
    assert shown
    assert [f"{name(path)}: {page}" for path, page in shown if not (ROOT / page).is_file()] == []


def test_documents_name_only_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))
    for path in [*GUIDES, ROOT / "CHANGELOG.md"]:
        shown = re.findall(r"(?:`|^)make ([a-z-]+)", path.read_text(), re.M)
        assert set(shown) <= targets, name(path)


def test_only_the_makefile_says_how_long_a_benchmark_takes() -> None:
    """A figure in two places once differed."""
    assert re.findall(r"^bench-\w+:.*\(some \d+ minutes\)$", MAKEFILE, re.M)
    for path in GUIDES:
        assert re.findall(r"make bench.*\d+ minutes", path.read_text()) == [], name(path)


def test_contributing_gives_the_sizes_that_are_enforced() -> None:
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    arguments = PYPROJECT["tool"]["ruff"]["lint"]["pylint"]["max-args"]
    complexity = PYPROJECT["tool"]["ruff"]["lint"]["mccabe"]["max-complexity"]
    for size in (
        f"at most {MODULE_LINES} lines",
        f"at most {FUNCTION_LINES} lines",
        f"at most {FOLDER_MODULES} modules",
        f"at most {arguments} arguments",
        f"complexity of at most {complexity}",
        f"at most {DECISION_WORDS} words",
    ):
        assert size in text, size


def test_contributing_lists_every_marker() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for marker in PYPROJECT["tool"]["pytest"]["ini_options"]["markers"]:
        assert f"`{marker.split(':')[0]}`" in text


def test_ci_runs_every_check() -> None:
    calls = re.findall(r"^make ([a-z-]+)$", (ROOT / ".ci" / "run").read_text(), re.M)
    assert calls == ["lint", "run", "test", "test-package"]


def test_every_extra_is_called_in_ci() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    assert {extra for extra in extras if not (ROOT / "tests" / "packaging" / f"call_{extra}.py").is_file()} == set()


def test_every_extra_that_is_named_exists() -> None:
    named = {
        extra
        for path in [*GUIDES, *MODULES]
        for extra in re.findall(r"mlops-cli\[(\w+)\]", path.read_text(encoding="utf-8"))
    }
    assert named <= set(PYPROJECT["project"]["optional-dependencies"])


def locked() -> dict[str, Version]:
    found = re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.M)
    return {canonicalize_name(package): Version(version) for package, version in found}


def test_the_lock_satisfies_pyproject() -> None:
    versions = locked()
    texts = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["dependency-groups"]["dev"]]
    texts += [text for group in PYPROJECT["project"]["optional-dependencies"].values() for text in group]
    for requirement in map(Requirement, texts):
        assert versions[canonicalize_name(requirement.name)] in requirement.specifier, str(requirement)


def test_the_lock_leaves_room_for_botocore() -> None:
    """`dvc[s3]` can be installed beside the locked versions (docs/cron-and-ci.md); botocore allows dateutil 2 only."""
    assert locked()["python-dateutil"] < Version("3")


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda page: page.stem)
def test_a_decision_is_short(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {int(page.stem.split('-')[0])}. ")
    assert len(text.split()) <= DECISION_WORDS


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(page.stem.split("-")[0]) for page in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_changelog_keeps_its_form() -> None:
    """Sections of https://keepachangelog.com, each once per release and in its order."""
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    releases = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)[1:]
    assert releases
    for release in releases:
        sections = re.findall(r"^### (\w+)$", release, re.M)
        assert sections == [kind for kind in kinds if kind in sections], release.splitlines()[0]


def test_folders_say_what_they_hold() -> None:
    for folder in ("configs", "data", "models", "simulation", "tests"):
        assert 3 <= lines(ROOT / folder / "README.md") <= 10, folder


def test_the_folders_of_a_new_project_say_the_same() -> None:
    template = PACKAGE / "templates" / "project"
    pages = sorted(template.rglob("README.md"))
    assert len(pages) == 7
    for page in pages:
        assert page.read_text() == (ROOT / page.relative_to(template)).read_text(), page.relative_to(template)
