"""Rules about where code is placed and what it may import, as functions of a source tree.

Each returns the violations as sentences, none where the rule holds. `root` is the repository's
root, or that of a small tree that violates the rule.
"""

import ast
import collections
import dataclasses
import fnmatch
import functools
import pathlib
from collections.abc import Iterator

# Every top-level folder or module with code of ours -> what else of ours it may import.
MAY_IMPORT = {
    "ttnn_emulator": set(),
    "ttnn_verify": {"ttnn_emulator"},
    "model": set(),
    "models": {"model"},
    "eval": {"ttnn_emulator", "ttnn_verify"},
    "scripts": {"eval", "ttnn_emulator", "ttnn_verify"},
    "examples": set(),
    "benchmarks": {"eval", "model", "models", "ttnn_emulator", "ttnn_verify"},
    "tests": {"eval", "examples", "model", "models", "scripts", "ttnn_emulator", "ttnn_verify"},
    "conftest": {"tests", "ttnn_verify"},
}
WITHOUT_CODE = {"assets", "baselines", "docs"}

# Folder -> packages that nothing in it may import, in addition to what MAY_IMPORT excludes.
FOREIGN = {"ttnn_emulator/arithmetic": {"ttnn", "transformers"}}
# Folders that import nothing else of their own package.
APART = ("ttnn_emulator/arithmetic",)

SOURCE = ("ttnn_emulator", "ttnn_verify", "model")  # packages, each a namespace of file names
MOST_MODULES = 12  # of a folder of source


@dataclasses.dataclass(frozen=True)
class Import:
    """A file, relative to the root, imports `name`, dotted and absolute."""

    file: pathlib.Path
    name: str

    @property
    def sentence(self) -> str:
        return f"{self.file} imports {self.name}"

    def is_of(self, package: str) -> bool:
        return self.name == package or self.name.startswith(f"{package}.")


def sources(root: pathlib.Path, *folders: str) -> list[pathlib.Path]:
    """The Python files of the folders, all files where none is named; none that git ignores."""
    roots = [root / folder for folder in folders] if folders else _top_level(root)
    files = [file for path in roots for file in ([path] if path.is_file() else path.rglob("*.py"))]
    return sorted(file for file in files if file.suffix == ".py")


def _top_level(root):
    ignore = root / ".gitignore"
    patterns = ignore.read_text().split() if ignore.exists() else []
    patterns = [pattern.strip("/") for pattern in patterns]
    return sorted(
        path
        for path in root.iterdir()
        if not path.name.startswith((".", "__"))
        and not any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)
    )


@functools.cache
def tree(file: pathlib.Path) -> ast.Module:
    """A file parsed, once."""
    return ast.parse(file.read_text())


def imports(root: pathlib.Path, file: pathlib.Path) -> Iterator[Import]:
    """A file's imports: relative ones resolved, pytest_plugins and import_module included."""
    relative = file.relative_to(root)
    for node in ast.walk(tree(file)):
        for name in _names(node, relative.parent.parts):
            yield Import(relative, name)


def _names(node, package):
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else ()
        base = ".".join((*base, *filter(None, [node.module])))
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call):
        called = getattr(node.func, "attr", _id(node.func))
        if called in ("import_module", "__import__"):
            yield from _strings(node.args)
    elif isinstance(node, ast.Assign) and "pytest_plugins" in map(_id, node.targets):
        yield from _strings(getattr(node.value, "elts", [node.value]))


def _id(node):
    return getattr(node, "id", None)


def _strings(nodes):
    return [node.value for node in nodes if isinstance(getattr(node, "value", None), str)]


def write_tree(root: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
    """A tree of sources {path: text} to try the rules on; returns its root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


# --- who may import whom -------------------------------------------------------------------------


def unknown_folders(root: pathlib.Path) -> list[str]:
    """Top-level folders, and modules, that no rule is made for."""
    known = MAY_IMPORT.keys() | WITHOUT_CODE
    entries = [path for path in _top_level(root) if path.is_dir() or path.suffix == ".py"]
    wrong = [f"{path.name}: who may import it?" for path in entries if path.stem not in known]
    return wrong + [f"{file.relative_to(root)}: code" for file in sources(root, *WITHOUT_CODE)]


def wrong_arrows(root: pathlib.Path) -> list[str]:
    """Imports between top-level folders that `MAY_IMPORT` does not name."""
    return [
        imported.sentence
        for owner, allowed in MAY_IMPORT.items()
        for file in sources(root, *_existing(root, owner))
        for imported in imports(root, file)
        if any(imported.is_of(other) for other in MAY_IMPORT.keys() - allowed - {owner})
    ]


def _existing(root, owner):
    return [name for name in (owner, f"{owner}.py") if (root / name).exists()] or [f"no {owner}"]


def foreign_imports(root: pathlib.Path) -> list[str]:
    """Imports of libraries that are forbidden in a folder."""
    return [
        imported.sentence
        for folder, libraries in FOREIGN.items()
        for file in sources(root, folder)
        for imported in imports(root, file)
        if any(imported.is_of(library) for library in libraries)
    ]


def imports_of_neighbours(root: pathlib.Path) -> list[str]:
    """Imports from the rest of its package by a folder of `APART`."""
    return [
        imported.sentence
        for folder in APART
        for file in sources(root, folder)
        for imported in imports(root, file)
        if imported.is_of(folder.split("/")[0]) and not imported.is_of(folder.replace("/", "."))
    ]


# Functions whose arguments are parts of paths.
MAKES_PATHS = {"Path", "PurePath", "glob", "join", "joinpath", "open", "rglob", "with_name"}


def data_of_tests(root: pathlib.Path) -> list[str]:
    """Strings of a package that name a path in tests/; docstrings may."""
    return [
        f"{file.relative_to(root)}:{line} names {text!r}"
        for file in sources(root, *(name for name in SOURCE if (root / name).exists()))
        for line, text, joined in _literals(tree(file))
        if "tests" in text.split("/") and (text != "tests" or joined)
    ]


def _literals(tree):
    """(line, text, whether it becomes part of a path) of a module's strings, docstrings aside."""
    bare = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    joined = {
        side
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
        for side in (node.left, node.right)
    } | {
        argument
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _called(node.func) in MAKES_PATHS
        for argument in node.args
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in bare:
            yield node.lineno, node.value, node in joined


def _called(function):
    """The last name of a called expression, such as "joinpath"."""
    return getattr(function, "attr", getattr(function, "id", ""))


def imports_of_tests(root: pathlib.Path) -> list[str]:
    """Imports of a test module or a conftest by a module of tests/: both are pytest's alone."""
    return [
        imported.sentence
        for file in sources(root, "tests")
        for imported in imports(root, file)
        if imported.name.startswith("tests.")
        if any(
            part == "conftest" or part.startswith("test_") for part in _modules(root, imported.name)
        )
    ]


def _modules(root, name):
    """The parts of a dotted name that are folders or files; what follows is defined in them."""
    parts = name.split(".")
    for i, part in enumerate(parts):
        path = root.joinpath(*parts[: i + 1])
        if path.is_dir() or path.with_suffix(".py").exists():
            yield part


# --- names ---------------------------------------------------------------------------------------

MAY_REPEAT = {"__init__.py", "__main__.py", "conftest.py"}


def repeated_file_names(root: pathlib.Path) -> list[str]:
    """File names that occur twice within a package of source or within tests/."""
    wrong = []
    for folder in (*SOURCE, "tests"):
        places = collections.defaultdict(list)
        for file in sources(root, folder):
            if file.name not in MAY_REPEAT:
                places[file.name].append(str(file.relative_to(root)))
        wrong += [" and ".join(files) for files in places.values() if len(files) > 1]
    return wrong


def repeated_class_names(root: pathlib.Path) -> list[str]:
    """Public class names that occur twice over the packages of source."""
    places = collections.defaultdict(list)
    for file in sources(root, *SOURCE):
        for node in tree(file).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(file.relative_to(root)))
    return [f"{name}: {', '.join(at)}" for name, at in sorted(places.items()) if len(at) > 1]


# --- sizes ---------------------------------------------------------------------------------------


def crowded_folders(root: pathlib.Path) -> list[str]:
    """Folders of source with more than `MOST_MODULES` modules, `__init__` and `__main__` aside."""
    modules = [file for file in sources(root, *SOURCE) if file.name not in MAY_REPEAT]
    counts = collections.Counter(str(file.parent.relative_to(root)) for file in modules)
    return [f"{folder}: {n} modules" for folder, n in counts.items() if n > MOST_MODULES]


def complex_functions(root: pathlib.Path, folder: str, most: int) -> list[str]:
    """Functions of a folder above a cyclomatic complexity of `most`."""
    complexities = [(at, complexity(function)) for at, function in _functions(root, folder)]
    return [f"{at}: complexity {n}" for at, n in complexities if n > most]


def complexity(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Independent paths through a function: 1, and 1 more for each decision in it.

    As McCabe counted, compound conditions included: an `and` or `or`, a conditional expression and
    a loop or condition of a comprehension are decisions as an `if` is.
    """
    decisions = ast.If | ast.For | ast.While | ast.ExceptHandler | ast.IfExp | ast.match_case
    count = 1
    for node in ast.walk(function):
        if isinstance(node, decisions):
            count += 1
        elif isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            count += 1 + len(node.ifs)
    return count


def functions_of_many_arguments(
    root: pathlib.Path, most: int, excluded: tuple[str, ...] = ()
) -> list[str]:
    """Functions with more than `most` arguments, `self` aside, but in the excluded folders."""
    counts = [(at, arguments(function)) for at, function in _functions(root)]
    return [f"{at}: {n} arguments" for at, n in counts if n > most and not at.startswith(excluded)]


def arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many arguments a function has by name, `self` and `cls` aside."""
    named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in named)


def _functions(root, *folders):
    """(place, function) of all functions and methods of the folders."""
    for file in sources(root, *folders):
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{file.relative_to(root)}:{node.lineno} {node.name}", node


# --- what writes files ---------------------------------------------------------------------------

# Folders whose files may be written by `ttnn_verify.files.atomic` alone.
WRITES_ATOMICALLY = ("benchmarks", "eval.py", "model", "scripts", "ttnn_emulator", "ttnn_verify")
# The others that write, and why they may.
WRITES_ITSELF = {
    "ttnn_emulator/coverage/__main__.py": "a page of the repository, which version control keeps",
    "model/weight_cache.py": "model/ imports none of the others",
    "ttnn_emulator/fidelity/note.py": "pages of its own package, which version control keeps",
    "ttnn_emulator/machine/toolchain.py": "a folder of its own, new and of this process alone",
    "ttnn_verify/files/atomic.py": "it is what the others use",
}
WRITING_METHODS = {"save_file", "savez", "write_bytes", "write_text"}
WRITING_FUNCTIONS = {"json.dump", "np.save", "os.rename", "os.replace", "pickle.dump", "torch.save"}


def plain_writes(root: pathlib.Path) -> list[str]:
    """Calls that write a file otherwise than by `ttnn_verify.files.atomic`."""
    return [
        f"{file.relative_to(root)}:{call.lineno} calls {ast.unparse(call.func)}"
        for file in sources(root, *(name for name in WRITES_ATOMICALLY if (root / name).exists()))
        if str(file.relative_to(root)) not in WRITES_ITSELF
        for call in _plain_writes(tree(file))
    ]


def _plain_writes(module):
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    atomically = [call for call in calls if ast.unparse(call.func).startswith("atomic.write")]
    inside = {id(node) for call in atomically for node in ast.walk(call)}
    return [call for call in calls if id(call) not in inside and _writes(call)]


def _writes(call):
    function = ast.unparse(call.func)
    if function in WRITING_FUNCTIONS or _called(call.func) in WRITING_METHODS:
        return True
    if _called(call.func) not in ("open", "fdopen"):
        return False
    modes = [*call.args, *(k.value for k in call.keywords if k.arg == "mode")]
    return any(set(mode) & set("wax+") and set(mode) <= set("rwxabt+") for mode in _strings(modes))
