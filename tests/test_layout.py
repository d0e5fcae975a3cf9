"""The house's rules that an import can break: what may include, import or own what."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dimvida"
NATIVE_SOURCES = sorted(p for p in (ROOT / "csrc").rglob("*") if p.suffix in {".h", ".cpp", ".cu", ".cuh"})

# What each package may import besides itself and the modules beside it, which every package may use (tested below).
ALLOWED = {
    "data": set(),
    "models": set(),
    "diffusion": set(),
    "ops": {"diffusion"},
    "sampling": {"diffusion", "ops", "models", "data"},
    "generation": {"results", "sampling", "diffusion", "ops", "models", "data"},
    "evaluation": {"results", "sampling", "diffusion", "models", "data"},
    "training": {"results", "sampling", "diffusion", "ops", "models", "data"},
    "classification": {"training", "results", "sampling", "diffusion", "models", "data"},
    "bench": {"training", "generation", "evaluation", "results", "sampling", "diffusion", "ops", "models", "data"},
    "results": set(),
    "report": {"results", "data"},
    "reproduction": {"training", "results", "data"},
    "cli": {
        "bench", "generation", "evaluation", "classification", "training", "report", "results", "reproduction",
        "sampling", "diffusion", "ops", "models", "data",
    },
}  # fmt: skip


# Tests that mirror no single module: of what several do together, or of what is beside the package.
CROSSING = {
    "bench": {"bench_encoders", "bench_ops", "bench_step"},  # what pytest-benchmark times
    "models": {"another_network"},  # as docs/architecture.md says how to add one
    "ops": {"cuda_on_host", "residual_ops"},
    "": {"bundled", "checkpoint_scripts", "examples", "journeys", "layout", "packaging", "scripts"},
}


def imports_of(source: str, package: str) -> list[str]:
    """Dotted names of everything a module imports, at any depth, type-checking imports included."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, base] if base else parent)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names


def module_imports(path: Path) -> list[str]:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return imports_of(path.read_text(), package)


def test_imports_are_found_wherever_they_are():
    source = "import a.b\ndef f():\n    from c import d\n    from . import e\n    from ..g import h\n"
    assert imports_of(source, "dimvida.ops") == [
        "a.b", "c", "c.d", "dimvida.ops", "dimvida.ops.e", "dimvida.g", "dimvida.g.h",
    ]  # fmt: skip


def packages() -> list[str]:
    return sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists())


def test_every_package_has_a_rule():
    assert set(packages()) == set(ALLOWED)


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_point_the_right_way(package):
    offenders = []
    for path in (PACKAGE / package).rglob("*.py"):
        for name in module_imports(path):
            parts = name.split(".")
            if parts[0] != "dimvida" or len(parts) < 2 or parts[1] not in ALLOWED or parts[1] == package:
                continue
            if parts[1] not in ALLOWED[package]:
                offenders.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not offenders


@pytest.mark.parametrize("name", ["errors", "files", "interruption", "records", "remote", "torchrun"])
def test_what_every_package_may_use_uses_no_package(name):
    used = {part for dotted in module_imports(PACKAGE / f"{name}.py") for part in dotted.split(".")[1:2]}
    assert not used & set(ALLOWED)


def test_no_class_name_is_used_twice():
    homes: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def test_what_is_said_of_an_argument_is_more_than_two_words():
    """They say nothing to whoever does not read the code beside them, unless they are a type with its shape."""
    said = [
        (path.stem, node.name, *entry)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.ClassDef, ast.FunctionDef))
        for entry in re.findall(r"^    ([\w*, ]+): (.+)$", ast.get_docstring(node) or "", re.MULTILINE)
    ]
    assert len(said) > 1500
    assert [entry for entry in said if len(entry[-1].split()) < 3 and "[" not in entry[-1]] == []


def test_every_module_is_named_in_the_documentation():
    text = (ROOT / "docs/architecture.md").read_text().partition("## Directions")[0]
    paths = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "formats"]  # these are found by their names
    stems = {path.stem for path in paths if not path.stem.startswith("_")}
    assert sorted(stem for stem in stems if not re.search(rf"(?<!\w){stem}(?!\w)", text)) == []


def test_files_that_pages_name_are_there():
    files = [
        str(path) for folder in ("dimvida", "csrc", "cmake", "scripts", "tests") for path in (ROOT / folder).rglob("*")
    ]
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    named = [
        (page.name, name)
        for page in pages
        for name in re.findall(r"`([\w./-]+\.(?:py|h|cpp|cuh?|cmake|toml))`", page.read_text())
    ]
    assert len(named) > 50
    strays = [(page, name) for page, name in named if not any(path.endswith(f"/{name}") for path in files)]
    assert [(page, name) for page, name in strays if not (ROOT / name).exists()] == []


PROGRAMS = [path for path in (ROOT / "scripts").iterdir() if path.is_file() and path.suffix != ".txt"]


def test_no_source_is_longer_than_300_lines():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *NATIVE_SOURCES, *PROGRAMS]
    }
    assert {name: length for name, length in lengths.items() if length > 300} == {}


def body_lines(function: ast.FunctionDef) -> int:
    """Lines of a function without its signature and documentation."""
    begins = function.body[1 if ast.get_docstring(function) and len(function.body) > 1 else 0]
    return function.body[-1].end_lineno - begins.lineno + 1


def test_functions_of_commands_are_a_page_at_most():
    lengths = {
        f"{path.stem}.{node.name}": body_lines(node)
        for path in (PACKAGE / "cli").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert lengths["generate.generate"] > 30  # the functions are found
    assert {name: length for name, length in lengths.items() if length > 60} == {}


def test_no_command_packs_its_lines_to_be_a_page():
    packed = [
        path.name for path in (PACKAGE / "cli").rglob("*.py") if re.search(r"fmt:\s*(skip|off)", path.read_text())
    ]
    assert packed == []


def test_an_op_is_written_in_three_places():
    """As docs/architecture.md says: its family in Python, its header, and its kernels; lists are made of these."""
    families = {path.name: path.read_text() for path in (PACKAGE / "ops").glob("*.py")}
    headers = {path.name: path.read_text() for path in (ROOT / "csrc/core").glob("*.h")}
    declared = re.findall(r"^DIMVIDA_(CPU_)?KERNEL\((\w+), ", "\n".join(headers.values()), re.MULTILINE)
    assert len(declared) > 10
    for cpu_only, kernel in declared:
        public = rf"^def {kernel}_?\("
        assert sum(bool(re.search(public, text, re.MULTILINE)) for text in families.values()) == 1, kernel
        named = re.compile(rf"(?<!\w){kernel}_?(?!\w)")
        code = [path for path in NATIVE_SOURCES if named.search(re.sub(r"//.*|#include.*", "", path.read_text()))]
        assert [path.parent.name for path in code] == ["core", "cpu", *([] if cpu_only else ["cuda"])], code
        assert not named.search(families["__init__.py"]), kernel


def test_only_ops_imports_the_native_module():
    importers = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if any(part == "_native" for name in module_imports(path) for part in name.split("."))
    }
    assert importers == {"ops"}


def test_native_sources_are_found():
    assert {p.parent.name for p in NATIVE_SOURCES} >= {"core", "cpu", "cuda", "bindings"}


@pytest.mark.parametrize("path", NATIVE_SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_native_sources_include_no_torch_header(path):
    for name in re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE):
        assert not name.startswith(("torch/", "ATen/", "c10/", "caffe2/")), name


@pytest.mark.parametrize(
    "path", [p for p in NATIVE_SOURCES if p.parent.name in ("core", "cpu")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_shared_maths_and_cpu_kernels_know_neither_cuda_nor_python(path):
    for name in re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE):
        assert not re.match(r"cuda|pybind11|Python|bindings", name), name


@pytest.mark.parametrize(
    "path", [p for p in NATIVE_SOURCES if p.parent.name == "cuda"], ids=lambda p: str(p.relative_to(ROOT))
)
def test_launchers_neither_wait_nor_allocate_nor_print_nor_exit(path):
    forbidden = r"\b(cuda\w*Synchronize|cuda(Malloc|Free|HostAlloc)\w*|printf|std::c(out|err)|exit|abort)\b"
    assert not re.search(forbidden, path.read_text())


@pytest.mark.parametrize("name", ["setup.py", "CMakeLists.txt", "cmake", "pyproject.toml"])
def test_nothing_is_built_for_the_machine_at_hand(name):
    target = ROOT / name
    files = [target] if target.is_file() else sorted(target.rglob("*.cmake"))
    for file in files:
        assert not re.search(r"-march=native|-mtune=native|-ffast-math|use_fast_math", file.read_text())


def mirrored(folder: Path) -> set[str]:
    """What tests in a folder of ``tests`` may be called by: modules, kernels for ops, scripts for the root."""
    names = {path.stem for path in (PACKAGE / folder).iterdir()} if (PACKAGE / folder).is_dir() else set()
    if folder == Path("ops"):
        names |= {path.stem for path in NATIVE_SOURCES}
    if folder == Path():
        names |= {path.stem for path in (ROOT / "scripts").iterdir()}
    return names | CROSSING.get("" if folder == Path() else str(folder), set())


def test_tests_are_called_by_the_module_that_they_mirror():
    strays = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests")
        if folder.name in ("gpu", "cuda_on_host") or (PACKAGE / folder).with_suffix(".py").exists():
            continue  # what only a GPU has, or needs none; a folder of one module's tests
        name = path.stem.removeprefix("test_")
        if not any(name == other or name.startswith(f"{other}_") for other in mirrored(folder)):
            strays.append(str(path.relative_to(ROOT)))
    assert strays == []


def is_once(name: str, text: str) -> bool:
    return len(re.findall(rf"\b{name}\b", text)) == 1


def test_helpers_of_tests_are_what_several_folders_use():
    """What the tests of one folder share is in its conftest.py."""
    helpers = {path.stem: path.read_text() for path in (ROOT / "tests/helpers").glob("*.py")}
    assert len(helpers) <= 5
    users: dict[tuple[str, str], set[str]] = {}
    for path in (ROOT / "tests").rglob("*.py"):
        folder = path.relative_to(ROOT / "tests").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers."):
                for alias in node.names:
                    users.setdefault((node.module.removeprefix("helpers."), alias.name), set()).add(folder)
    alone = {name for (module, name), folders in users.items() if len(folders) == 1 and is_once(name, helpers[module])}
    assert alone == {"send_hashes"}  # which another process imports
