"""Does a source tree keep the rules of the house? Pure functions from a folder of Python files to violations in words.

Everything is read from the syntax tree; nothing is imported. Rooms are the folders and files directly under the
package; the package's own ``__init__`` is the door.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

DOOR = "(door)"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Import:
    """One import statement's target: a dotted name, where it stands, and when it runs."""

    target: str
    line: int
    is_late: bool  # inside a function
    is_typing: bool  # under TYPE_CHECKING: never runs


@dataclass(frozen=True)
class Source:
    """One file of a package."""

    module: str
    path: Path
    text: str
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        parts = self.module.split(".")
        return parts[1] if len(parts) > 1 else DOOR


def read_package(root: Path) -> dict[str, Source]:
    """The files of the package at ``root`` by module name."""
    sources = {}
    for path in sorted(root.rglob("*.py")):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, filename=str(path))
        base = module if is_package else module.rpartition(".")[0]
        sources[module] = Source(module, path, text, tree, tuple(_imports(tree, base)))
    return sources


def _imports(tree: ast.AST, base: str, is_late: bool = False, is_typing: bool = False) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, is_late, is_typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, base)
            yield from (Import(f"{origin}.{alias.name}", node.lineno, is_late, is_typing) for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.body:
                yield from _imports(ast.Module([child], []), base, is_late, True)
            for child in node.orelse:
                yield from _imports(ast.Module([child], []), base, is_late, is_typing)
        else:
            inside = is_late or isinstance(node, (*FUNCTIONS, ast.Lambda))
            yield from _imports(node, base, inside, is_typing)


def _origin(node: ast.ImportFrom, base: str) -> str:
    if not node.level:
        return node.module or ""
    parts = base.split(".")
    parts = parts[: len(parts) - (node.level - 1)]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _resolve(target: str, sources: Mapping[str, Source]) -> str | None:
    """The module of the package that a dotted name stands for; None if it lies outside."""
    while target not in sources:
        target, _, rest = target.rpartition(".")
        if not rest or not target:
            return None
    return target


def _where(source: Source, line: int = 0) -> str:
    return f"{source.module}:{line}" if line else source.module


def forbidden_edges(sources: Mapping[str, Source], table: Mapping[str, Iterable[str]]) -> list[str]:
    """Imports between rooms that the table does not allow, and rooms that it does not know."""
    found = [f"room {room!r} is not in the table" for room in sorted({s.room for s in sources.values()} - set(table))]
    for source in sources.values():
        for item in source.imports:
            target = _resolve(item.target, sources)
            if target is None:
                continue
            room = sources[target].room
            if room != source.room and room not in table.get(source.room, ()):
                found.append(f"{_where(source, item.line)}: {source.room} must not import {room} ({item.target})")
    return found


def _cycles(edges: Mapping[str, set[str]]) -> list[str]:
    """Groups of nodes that reach each other."""
    reach = {node: _reachable(node, edges) for node in edges}
    groups = {tuple(sorted(other for other in reach[node] if node in reach.get(other, ()))) for node in edges}
    return [f"cycle: {' <-> '.join(group)}" for group in sorted(groups) if len(group) > 1]


def _reachable(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        fresh = edges.get(todo.pop(), set()) - seen
        seen |= fresh
        todo.extend(fresh)
    return seen


def file_cycles(sources: Mapping[str, Source]) -> list[str]:
    """Files that import each other, directly or through others; what only type checkers see is left out."""
    edges: dict[str, set[str]] = {}
    for source in sources.values():
        targets = {_resolve(item.target, sources) for item in source.imports if not item.is_typing}
        edges[source.module] = {t for t in targets if t not in (None, source.module)}
    return _cycles(edges)


def room_cycles(sources: Mapping[str, Source]) -> list[str]:
    """Rooms that import each other, in types too; the door, which names them all, is left out."""
    edges: dict[str, set[str]] = {}
    for source in sources.values():
        targets = (_resolve(item.target, sources) for item in source.imports)
        rooms = {sources[target].room for target in targets if target is not None}
        edges.setdefault(source.room, set()).update(rooms - {source.room, DOOR})
    return _cycles(edges)


def late_imports(sources: Mapping[str, Source], allowed_rooms: Iterable[str] = ()) -> list[str]:
    """Imports inside functions, as statements or through importlib."""
    found = []
    for source in sources.values():
        if source.room in set(allowed_rooms):
            continue
        found += [
            f"{_where(source, item.line)}: late import of {item.target}" for item in source.imports if item.is_late
        ]
        found += [
            f"{_where(source, call.lineno)}: late import through {ast.unparse(call.func)}"
            for function in ast.walk(source.tree)
            if isinstance(function, FUNCTIONS)
            for call in _calls(function)
            if ast.unparse(call.func) in ("importlib.import_module", "import_module", "__import__")
        ]
    return found


def reaches(sources: Mapping[str, Source], rooms: Iterable[str], package: str, *, with_late: bool = True) -> list[str]:
    """Files of some rooms whose import loads an outside package, directly or through other files.

    Importing ``a.b.c`` runs ``a`` and ``a.b`` first, so each file also leads to the packages around it.
    """
    own, edges = _outside(sources, package, with_late)
    found = []
    for source in sources.values():
        if source.room not in set(rooms):
            continue
        guilty = sorted(name for name in {source.module, *_reachable(source.module, edges)} if name in own)
        found += [f"{source.module} loads {package} through {name}:{own[name]}" for name in guilty]
    return found


def _outside(
    sources: Mapping[str, Source], package: str, with_late: bool
) -> tuple[dict[str, int], dict[str, set[str]]]:
    """Which files import a package themselves (with the line), and which files load which."""
    own: dict[str, int] = {}
    edges: dict[str, set[str]] = {}
    for source in sources.values():
        around = source.module.split(".")
        edges[source.module] = {".".join(around[:length]) for length in range(1, len(around))}
        for item in source.imports:
            if item.is_typing or (item.is_late and not with_late):
                continue
            if item.target.split(".")[0] == package:
                own.setdefault(source.module, item.line)
            target = _resolve(item.target, sources)
            if target is not None:
                edges[source.module].add(target)
    return own, edges


def strangers(sources: Mapping[str, Source], owners: Mapping[str, Iterable[str]]) -> list[str]:
    """Imports of heavy packages outside the rooms that own them."""
    return [
        f"{_where(source, item.line)}: {item.target.split('.')[0]} belongs to {', '.join(sorted(homes)) or 'nobody'}"
        for source in sources.values()
        for item in source.imports
        if (homes := set(owners.get(item.target.split(".")[0], {source.room}))) is not None
        and source.room not in homes
        and not item.is_typing
    ]


def long_files(sources: Mapping[str, Source], limit: int = 400) -> list[str]:
    """Files over the budget of lines."""
    sizes = {source.module: source.text.count("\n") for source in sources.values()}
    return [f"{module}: {size} lines, at most {limit}" for module, size in sizes.items() if size > limit]


def prints(sources: Mapping[str, Source], allowed_rooms: Iterable[str] = ()) -> list[str]:
    """Calls of print where nobody may speak."""
    return [
        f"{_where(source, call.lineno)}: print"
        for source in sources.values()
        if source.room not in set(allowed_rooms)
        for call in _calls(source.tree)
        if isinstance(call.func, ast.Name) and call.func.id == "print"
    ]


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def thin_docstrings(sources: Mapping[str, Source], allowed_rooms: Iterable[str] = ()) -> list[str]:
    """Functions that a room shows to others and that do not say what they take (Args), or what they give (Returns).

    A room shows what its ``__init__`` imports; a room that is one file shows what has no underscore.
    """
    shown = {
        item.target
        for source in sources.values()
        if source.path.name == "__init__.py"
        for item in source.imports
        if item.target.startswith(f"{source.module}.")
    }
    found = []
    for source in sources.values():
        if source.room in set(allowed_rooms):
            continue
        is_room = source.module.count(".") == 1
        for node in source.tree.body:
            if not isinstance(node, FUNCTIONS) or node.name.startswith("_") or _is_overload(node):
                continue
            missing = _missing_sections(node)
            if missing and (is_room or f"{source.module}.{node.name}" in shown):
                found.append(f"{_where(source, node.lineno)} {node.name}: docstring lacks {', '.join(missing)}")
    return found


def _is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether this is the type of a function only: the function itself has the docstring."""
    return any(isinstance(part, ast.Name) and part.id == "overload" for part in node.decorator_list)


def _missing_sections(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    doc = ast.get_docstring(node) or ""
    takes = bool(node.args.posonlyargs or node.args.args or node.args.kwonlyargs or node.args.vararg)
    gives = node.returns is not None and ast.unparse(node.returns) not in ("None", "'None'")
    is_stream = any(isinstance(part, (ast.Yield, ast.YieldFrom)) for part in ast.walk(node))
    sections = {"Args": takes, "Yields" if is_stream else "Returns": gives and (takes or "\n" in doc)}
    return [name for name, needed in sections.items() if needed and f"{name}:" not in doc]
