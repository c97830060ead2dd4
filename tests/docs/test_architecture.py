"""The picture of the house is what the tree is."""

import ast
import re
import tomllib
from pathlib import Path

import refresher
from tests.docs.pages import README, ROOT, code, page, rows, section, spans

PACKAGE = Path(refresher.__file__).parent
ARCHITECTURE = page("architecture.md")
ROWS = rows(section(ARCHITECTURE, "The picture"), "floor", "room", "holds", "modules")
EDIT = "edit the table in refresher/docs/architecture.md"


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
