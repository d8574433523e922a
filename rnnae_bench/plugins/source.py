"""Reading Python modules without running them: what a class is made from, and what would fail on import.

``list`` and ``show`` describe every plugin this way, so that neither costs the import of torch.
"""

import ast
import inspect
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import resolve_name
from pathlib import Path


@dataclass(frozen=True)
class Parameter:
    """One argument of a constructor, as written in the source."""

    name: str
    """Its name; dotted (``optimization.clip``) for a field of an argument that is a dataclass."""
    type: str
    """Its annotation; a type alias is shown as what it stands for, ``Annotated[int, ...]`` as ``int``."""
    default: str | None
    """Its default as Python source; None where a value must be given."""
    description: str
    """What the class's docstring says of it under ``Args:``."""


@dataclass(frozen=True)
class ClassSource:
    """What the source of a class says of it."""

    path: Path
    line: int
    description: str
    """The docstring without its ``Args:``."""
    parameters: tuple[Parameter, ...] | None
    """The constructor's arguments; None where another module defines the constructor."""

    bibtex: tuple[str, ...] = ()
    """The literal class attribute of that name: keys of BibTeX entries."""

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.description.partition("\n")[0]


def read_class(module: str, name: str) -> ClassSource | None:
    """Describe the class that ``module:name`` names, following re-exports to where it is defined.

    None where the source doesn't show it: it can't be found or parsed, is not Python, or is made at run time.
    """
    try:
        where, definition = _follow(_open(module), name) or (None, None)
        if where is None or not isinstance(definition, ast.ClassDef):
            return None
        description, _ = _docstring(definition)
        keys = _literal(definition, "bibtex")
        cited = tuple(map(str, keys)) if isinstance(keys, tuple | list) else ()
        return ClassSource(where.path, definition.lineno, description, _parameters(where, definition), cited)
    except (SyntaxError, ImportError, RecursionError):
        return None


def defect(module: str, name: str) -> str | None:
    """Why importing `name` from `module` is bound to fail, as far as the source tells; None where it tells nothing.

    Looked for: a module that can't be found, a syntax error, a package that is imported unconditionally and not
    installed, and a name that the module never binds.
    """
    parts = module.split(".")
    source = None
    for depth in range(1, len(parts) + 1):
        path = ".".join(parts[:depth])
        if locate(path) is None:
            return f"there is no module '{path}'"
        try:
            source = _open(path)
        except SyntaxError as error:
            return f"syntax error in {error.filename}:{error.lineno}: {error.msg}"
        if source is None:
            continue
        for line, package in source.requirements():
            if locate(package) is None:
                return f"it needs the package '{package}', which is not installed ({source.path}:{line})"
    if source and not {name, "*", "__getattr__"} & source.bindings.keys():
        return f"{source.path} defines no '{name}'"
    return None


def locate(module: str) -> ModuleSpec | None:
    """Find a module as ``import`` would, without running the packages it lies in; None where there is none."""
    package, _, tail = module.rpartition(".")
    if not package:
        return next(filter(None, (finder.find_spec(module, None) for finder in sys.meta_path)), None)
    parent = locate(package)
    if parent is None or parent.submodule_search_locations is None:
        return None
    # By its last part alone: the path finder asks sys.modules for the parent of a dotted namespace package.
    return PathFinder.find_spec(tail, list(parent.submodule_search_locations))


@dataclass(frozen=True)
class _Source:
    """A module's syntax tree and what it binds at its top level."""

    package: str
    path: Path
    tree: ast.Module
    bindings: dict[str, ast.AST]

    def requirements(self) -> Iterator[tuple[int, str]]:
        """Line and top-level package of each absolute import that always runs."""
        for node in self.tree.body:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.lineno, node.module.partition(".")[0]


def _open(module: str) -> _Source | None:
    """The module's source; None where it has none. Raises SyntaxError."""
    spec = locate(module)
    if spec is None or not spec.has_location or not str(spec.origin).endswith(".py"):
        return None
    path = Path(str(spec.origin))
    if not path.is_file():
        return None
    is_package = spec.submodule_search_locations is not None
    tree = _parse(path)
    return _Source(module if is_package else module.rpartition(".")[0], path, tree, dict(_bindings(tree)))


@lru_cache(maxsize=256)
def _parse(path: Path) -> ast.Module:
    with warnings.catch_warnings(action="ignore"):  # the reader is not the author
        return ast.parse(path.read_bytes(), filename=str(path))


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """The names that running the node binds in its own scope, each with the statement that binds it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield child.name, child
        elif isinstance(child, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name.partition(".")[0], child) for alias in child.names)
        elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield child.id, node
        else:
            yield from _bindings(child)


def _follow(source: _Source | None, name: str) -> tuple[_Source, ast.AST] | None:
    """The statement that defines the name and where it stands, through ``from module import name``."""
    passed = set()
    while source is not None and name in source.bindings and (source.path, name) not in passed:
        passed.add((source.path, name))
        node = source.bindings[name]
        if not isinstance(node, ast.ImportFrom):
            return source, node
        module = resolve_name("." * node.level + (node.module or ""), source.package)
        if module.partition(".")[0] in sys.stdlib_module_names:
            return None
        name = next(alias.name for alias in node.names if name == (alias.asname or alias.name))
        source = _open(module)
    return None


def _parameters(
    source: _Source, definition: ast.ClassDef, within: tuple[ast.AST, ...] = ()
) -> tuple[Parameter, ...] | None:
    """The constructor's arguments.

    Args:
        source: The module.
        definition: The class.
        within: The classes whose fields are being listed, which are not listed again within themselves.
    """
    constructed = _constructed(source, definition)
    if constructed is None:
        return None
    described = {**_docstring(constructed)[1], **_docstring(definition)[1]}
    parameters: list[Parameter] = []
    for name, annotation, default in _arguments(constructed):
        text = "" if annotation is None else _text(_bare(annotation))
        meaning = _follow(source, text)
        inner = (*within, definition)
        fields = _fields(*meaning, text, default, inner) if meaning and meaning[1] not in inner else None
        if fields is not None:
            parameters += (replace(field, name=f"{name}.{field.name}") for field in fields)
            continue
        alias = getattr(meaning[1], "value", None) if meaning else None
        if isinstance(alias, ast.expr):
            text = ast.unparse(alias)
        value = None if default is None else ast.unparse(default)
        parameters.append(Parameter(name, text, value, described.get(name, "")))
    return tuple(parameters)


def _constructed(
    source: _Source, definition: ast.ClassDef, below: tuple[ast.ClassDef, ...] = ()
) -> ast.ClassDef | None:
    """The class, or the base in the same module, that has the constructor."""
    if _is_dataclass(definition) or _constructor(definition):
        return definition
    for base in definition.bases:
        parent = source.bindings.get(_text(base))
        # A name that is bound twice, as by ``class GRU(GRU)``, stands for another class above than below.
        if not isinstance(parent, ast.ClassDef) or parent in (definition, *below):
            return None
        found = _constructed(source, parent, (definition, *below))
        if found or parent.bases:
            return found
    return None


def _literal(definition: ast.ClassDef, name: str) -> object:
    """The value of a class attribute that is written as a literal; None where there is no such attribute."""
    for node in definition.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = getattr(node, "value", None)
        if value is not None and any(isinstance(one, ast.Name) and one.id == name for one in targets):
            try:
                return ast.literal_eval(value)
            except ValueError:
                return None
    return None


def _constructor(definition: ast.ClassDef) -> ast.FunctionDef | None:
    functions = (node for node in definition.body if isinstance(node, ast.FunctionDef))
    return next((function for function in functions if function.name == "__init__"), None)


def _arguments(definition: ast.ClassDef) -> Iterator[tuple[str, ast.expr | None, ast.expr | None]]:
    """Name, annotation and default of every argument by name, in order, without self."""
    function = _constructor(definition)
    if function is None:
        for node in definition.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node.target.id, node.annotation, node.value
        return
    positional = [*function.args.posonlyargs, *function.args.args]
    required = len(positional) - len(function.args.defaults)
    defaults = [*[None] * required, *function.args.defaults, *function.args.kw_defaults]
    for argument, default in list(zip([*positional, *function.args.kwonlyargs], defaults, strict=True))[1:]:
        yield argument.arg, argument.annotation, default


def _fields(
    source: _Source, definition: ast.AST, name: str, default: ast.expr | None, within: tuple[ast.AST, ...]
) -> tuple[Parameter, ...] | None:
    """The fields of a dataclass, with the defaults that a call of it changes; None for anything else."""
    if not isinstance(definition, ast.ClassDef) or not _is_dataclass(definition):
        return None
    fields = _parameters(source, definition, within) or ()
    if default is None:
        return fields
    if not isinstance(default, ast.Call) or _text(default.func) != name:
        return None
    given = dict(zip((field.name for field in fields), default.args, strict=False))
    given |= {keyword.arg: keyword.value for keyword in default.keywords if keyword.arg}
    return tuple(
        replace(field, default=ast.unparse(given[field.name])) if field.name in given else field for field in fields
    )


def _is_dataclass(definition: ast.ClassDef) -> bool:
    calls = (node.func if isinstance(node, ast.Call) else node for node in definition.decorator_list)
    return any(_text(node).rpartition(".")[2] == "dataclass" for node in calls)


def _bare(annotation: ast.expr) -> ast.expr:
    """The type itself where it is ``Annotated`` with more."""
    if (
        isinstance(annotation, ast.Subscript)
        and isinstance(annotation.slice, ast.Tuple)
        and _text(annotation.value).rpartition(".")[2] == "Annotated"
    ):
        return annotation.slice.elts[0]
    return annotation


def _text(node: ast.expr) -> str:
    """An expression's source; of an annotation in quotes, what the quotes hold."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)


def _docstring(definition: ast.ClassDef) -> tuple[str, dict[str, str]]:
    """The docstring without its ``Args:`` section, and that section by argument."""
    text = inspect.cleandoc(ast.get_docstring(definition) or "")
    before, _, section = text.partition("\nArgs:\n")
    indented = re.match(r"(?:[ \t].*\n?|\n)*", section)
    end = indented.end() if indented else 0
    block = inspect.cleandoc("\n" + section[:end])
    entries = re.split(r"^(\w+)(?: *\([^)\n]*\))?:\s*", block, flags=re.MULTILINE)[1:]
    arguments = {name: " ".join(said.split()) for name, said in zip(entries[::2], entries[1::2], strict=True)}
    return f"{before.rstrip()}\n\n{section[end:]}".strip(), arguments
