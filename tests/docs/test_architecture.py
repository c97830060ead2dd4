"""The picture of the house is what the tree is."""

import ast
import re
import tomllib
from pathlib import Path

import refresher
from tests.docs.pages import README, ROOT, code, page, rows, section, spans

PACKAGE = Path(refresher.__file__).parent
TESTS = ROOT / "tests"
ARCHITECTURE = page("architecture.md")
ROWS = rows(section(ARCHITECTURE, "The picture"), "floor", "room", "holds", "modules")
EDIT = "edit the table in refresher/docs/architecture.md"


TESTED_ELSEWHERE = {
    # Declarations: nouns, protocols and messages, which their users' tests use.
    "jobs/context": "jobs/test_attempt",
    "jobs/environment": "jobs/test_job",
    "jobs/plan": "jobs/test_job",
    "model": "test_freshness",
    "offload/messages": "offload/test_workers",
    "protocols": "sources/test_contract",
    "store/kinds": "store/test_store",
    "store/protocols": "store/backends/test_backends",
    "version": "cli/test_commands",
    "web/schemas": "web/test_openapi",
    # Commands: a test types what a person types, and reads what is printed.
    "cli/demo/upstream": "cli/demo/test_demo",
    "cli/remote": "cli/test_status",
    "cli/report": "cli/test_trial",
    "cli/starter": "cli/test_commands",
    # The configuration: a file that is wrong and its problems stand side by side, by subject.
    "config/checks": "config/test_problems",
    "config/files": "config/test_loading",
    "config/interpolation": "config/test_references",
    "config/models": "config/test_types",
    "config/names": "config/test_problems",
    "config/paging": "config/test_problems",
    "config/relations": "config/test_inheritance",
    "config/schema_files": "config/test_problems",
    "config/tree": "config/test_lines",
    "config/url_parts": "config/test_secrets",
    "config/validation": "config/test_problems",
    # Steps of the way from bytes to content: held by what the whole way accepts and refuses.
    "fields/charsets": "pipeline/test_decode",
    "fields/structured": "fields/test_cache_status",
    "jobs/candidate": "jobs/test_attempt",
    "jobs/typed": "service/test_declared",
    "jsontext/text": "pipeline/test_decode",
    "pipeline/charsets": "pipeline/test_decode",
    "pipeline/formats/converted": "pipeline/formats/test_all",
    "pipeline/media": "pipeline/test_decode",
    "sources/exchange": "sources/test_http",
    "upstream/failures": "sources/test_http",
    "upstream/headers": "fields/test_rate_limits",
    # Processes, tasks and threads: held by those who start them.
    "offload/runner": "offload/test_workers",
    "offload/solo_task": "sources/test_callable",
    "offload/tasks": "offload/test_pool",
    "serve/logs": "e2e/test_serving",
    "serve/run": "e2e/test_serving",
    "serve/serve": "e2e/test_serving",
    "serve/spawn": "e2e/test_workers",
    "serve/worker": "e2e/test_workers",
    # Backends: all pass the same tests; a part is tested with the whole.
    "store/backends/memory": "store/backends/test_backends",
    "store/backends/redis_connections": "store/backends/test_redis",
    "store/backends/redis_scripts": "store/backends/test_redis",
    "store/backends/sqlite/schema": "store/backends/sqlite/test_file",
    "store/backends/sqlite/transaction": "store/backends/sqlite/test_writer",
    # Answers: asked for over HTTP, by path.
    "observers/exposition": "observers/test_metrics",
    "web/admin_routes": "web/test_router",
    "web/cors": "web/data/test_reads",
    "web/data/answers": "web/data/test_reads",
    "web/data/headers": "web/data/test_reads",
    "web/data/http1": "serve/test_protocol",
    "web/problems": "web/test_router",
    "web/routing": "web/test_router",
    "web/waiting": "web/test_refresh",
}
"""Modules without a test file of their name, and the one that tests them."""


def floors() -> list[set[str]]:
    """Rooms and modules at the root of the package, by floor, as import-linter has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = next(
        each["layers"]
        for each in project["tool"]["importlinter"]["contracts"]
        if each["type"] == "layers"
    )
    return [set(re.split(r"\s*[:|]\s*", layer)) for layer in layers]


def test_every_room_and_module_is_in_the_picture_and_nothing_else() -> None:
    drawn: dict[str, set[str]] = {}
    for row in ROWS:
        drawn.setdefault(row["room"].strip("`"), set()).update(spans(row["modules"]))
    tree: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        folder = file.parent.relative_to(PACKAGE).as_posix()
        tree.setdefault(folder if folder == "." else f"{folder}/", set()).add(file.stem)
    for room, modules in tree.items():
        assert drawn.get(room) == modules - {"__init__"}, f"{room}: {EDIT}"
    assert set(drawn) == set(tree), EDIT


def test_code_is_in_modules_that_the_picture_names() -> None:
    lazy = PACKAGE / "__init__.py"  # imports a public name when it is asked for
    for file in PACKAGE.rglob("__init__.py"):
        docstring, *rest = ast.parse(file.read_text()).body
        assert isinstance(docstring, ast.Expr), file
        for each in rest if file != lazy else ():
            exports = isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "__all__"
            assert exports or isinstance(each, ast.ImportFrom), f"{file}: {ast.unparse(each)}"


def test_every_module_has_tests_of_its_name_or_is_tested_elsewhere_for_a_reason() -> None:
    modules = {
        file.relative_to(PACKAGE).with_suffix("").as_posix()
        for file in PACKAGE.rglob("[!_]*.py")  # __init__ and __main__ have no code
    }
    tests = {
        file.relative_to(TESTS).with_suffix("").as_posix() for file in TESTS.rglob("test_*.py")
    }
    without = {each for each in modules if re.sub(r"([^/]+)$", r"test_\1", each) not in tests}
    assert without == set(TESTED_ELSEWHERE), "write tests, or edit TESTED_ELSEWHERE"
    assert tests.issuperset(TESTED_ELSEWHERE.values())


def test_the_floors_are_those_that_imports_are_held_to() -> None:
    drawn: dict[int, set[str]] = {}
    for row in ROWS:
        room = row["room"].strip("`").rstrip("/")
        names = spans(row["modules"]) if room == "." else {room.partition("/")[0]}
        drawn.setdefault(int(row["floor"]), set()).update(names)
    assert [drawn[floor] for floor in sorted(drawn)] == floors(), EDIT


def test_what_it_points_to_is_there() -> None:
    files = set(re.findall(r"(?<![\w./-])[a-z][\w/]*\.py\b", code(ARCHITECTURE)))
    folders = set(re.findall(r"(?<![\w./-])[a-z][\w/]*/(?![\w])", code(ARCHITECTURE)))
    assert files
    assert folders
    for name in files | folders:
        assert (PACKAGE / name).exists() or (ROOT / name).exists(), name


def test_every_kind_says_where_its_shared_tests_are() -> None:
    for heading in ("Add a source", "Add a format", "Add a store"):
        assert "tests/" in code(section(ARCHITECTURE, heading))


def test_the_picture_of_the_readme_is_the_same() -> None:
    drawn = re.findall(
        r"^(\d)  (\w+/?(?:  \w+/?)*)(?:   +\S.*)?$", README.read_text(), re.MULTILINE
    )
    assert [int(number) for number, _ in drawn] == list(range(1, len(floors()) + 1))
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    named = [{f"{name}/" if name in rooms else name for name in floor} for floor in floors()]
    assert [set(names.split()) for _, names in drawn] == named, "edit the picture in README.md"
