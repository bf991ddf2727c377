# SPDX-License-Identifier: Apache-2.0
"""Collects from the sources what the project uses of TensorRT's and CUDA's bindings.

It knows them by their names: the modules are called `trt`, `cudart` and `driver`, and objects after their class, see
`OBJECTS`. Which objects there are is followed through assignments, so that one of another name is found, too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "evit_deploy"
MODULES = {"trt": "trt", "cudart": "cudart", "driver": "driver"}
OBJECTS = {
    "builder": ("trt", "Builder"),
    "network": ("trt", "INetworkDefinition"),
    "network_input": ("trt", "ITensor"),
    "config": ("trt", "IBuilderConfig"),
    "profile": ("trt", "IOptimizationProfile"),
    "parser": ("trt", "OnnxParser"),
    "parser_error": ("trt", "ParserError"),
    "timing_cache": ("trt", "ITimingCache"),
    "stored": ("trt", "ITimingCache"),
    "runtime": ("trt", "Runtime"),
    "engine": ("trt", "ICudaEngine"),
    "context": ("trt", "IExecutionContext"),
    "inspector": ("trt", "EngineInspector"),
    "serialized": ("trt", "IHostMemory"),
    "monitor": ("trt", "IProgressMonitor"),
    "runtime_config": ("trt", "IRuntimeConfig"),
    "runtime_cache": ("trt", "IRuntimeCache"),
    "attributes": ("cudart", "cudaPointerAttributes"),
}
"""Names of variables, parameters and attributes, and the class of what they hold."""

HOLDERS = ("self", "typed", "plan")
"""Objects of ours that hold some of those as attributes."""

IMPORTS = {
    "tensorrt": "trt",
    "tensorrt_rtx": "trt",
    "cuda.bindings.runtime": "cudart",
    "cuda.bindings.driver": "driver",
}
"""Modules, and the one name that each has in the sources."""

_BINDINGS = re.compile(r"(tensorrt\w*|cuda)(\.|$)")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True)
class Thing:
    """What an expression stands for: a member of a module (`owner` empty), or an object, or objects, of a class."""

    module: str
    path: tuple[str, ...] = ()
    owner: str = ""
    many: bool = False

    def __str__(self) -> str:
        return ".".join(filter(None, (self.owner or self.module, *self.path)))


@dataclass(frozen=True)
class Use:
    """One use of a member.

    Attributes:
        thing: What is used.
        place: "file:line".
        function: Where guards count: the outermost function around it.
        call: Number of positional arguments and the names of others; None if it is not called, or with stars.
        called: Whether it is called, with whatever.
        written: Whether it is assigned to, or deleted.
        unpacked: Number of names its result is unpacked to.
        overrides: Methods of a class that derives from it, and their numbers of parameters.
    """

    thing: Thing
    place: str
    function: str
    call: tuple[int, tuple[str, ...]] | None = None
    called: bool = False
    written: bool = False
    unpacked: int | None = None
    overrides: tuple[tuple[str, int], ...] | None = None


@dataclass
class Usage:
    """Everything that one file uses.

    Attributes:
        path: The file, below the package.
        libraries: Which of "tensorrt" and "tensorrt_rtx" it imports; none or both: it serves both.
        uses: All uses.
        guards: What is asked for by `hasattr` or `getattr` with a default, by function.
        problems: What cannot be followed, in words.
    """

    path: str
    libraries: frozenset[str] = frozenset()
    uses: list[Use] = field(default_factory=list)
    guards: dict[str, set[Thing]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def collect(returns: dict[tuple[str, str], str]) -> list[Usage]:
    """What all files use.

    Args:
        returns: Class of what a method gives, by class and method.
    """
    found = [collect_text(path.read_text(encoding="utf-8"), str(path.relative_to(PACKAGE)), returns) for path in FILES]
    return [usage for usage in found if usage.uses or usage.problems]


FILES = sorted(PACKAGE.rglob("*.py"))


def collect_text(text: str, path: str, returns: dict[tuple[str, str], str]) -> Usage:
    """What one file uses."""
    tree = ast.parse(text)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr.lstrip("_") for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    usage = Usage(path, frozenset(_libraries(tree)))
    everywhere = bool(names & {"trt", "cudart"})
    for node in ast.walk(tree):
        usage.problems += [f"{path}:{node.lineno}: {text}" for text in _other_names(node)]
    for name, node in _functions(tree):
        _Function(usage, name, everywhere, returns).run(node)
    return usage


def _imports(node: ast.AST) -> Iterator[tuple[str, str]]:
    """What an import imports, with all its dots, and the name that it is bound to."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, alias.asname or alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        yield from ((f"{node.module}.{alias.name}", alias.asname or alias.name) for alias in node.names)


def _other_names(node: ast.AST) -> Iterator[str]:
    """Imports of bindings that cannot be followed, since what they are bound to is not a name that is known."""
    for imported, name in _imports(node):
        if _BINDINGS.match(imported) and IMPORTS.get(imported) != name:
            yield f"'{imported}' is imported as '{name}': import it as in IMPORTS"
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__"):
        literal = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        if isinstance(literal, str) and _BINDINGS.match(literal):
            yield f"'{literal}' is imported by a call: import it as in IMPORTS"


def _libraries(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in ("tensorrt", "tensorrt_rtx"))


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Outermost functions and methods, and what stands outside of them."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                yield f"{node.name}.{getattr(inner, 'name', '')}", inner
        else:
            yield getattr(node, "name", ""), node


class _Function(ast.NodeVisitor):
    """Follows one outermost function."""

    def __init__(self, usage: Usage, name: str, everywhere: bool, returns: dict[tuple[str, str], str]) -> None:
        self.usage, self.name, self.everywhere, self.returns = usage, name, everywhere, returns
        self.known: dict[str, Thing | None] = {}

    def run(self, node: ast.AST) -> None:
        for inner in ast.walk(node):
            if isinstance(inner, _FUNCTIONS):
                self._parameters(inner)
        for _ in range(2):  # a name may be used above its assignment
            for inner in ast.walk(node):
                self._assign(inner)
        self.visit(node)

    # What names stand for

    def _parameters(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        for parameter in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            annotation = ast.unparse(parameter.annotation) if parameter.annotation else ""
            if annotation not in ("Any", ""):
                self.known[parameter.arg] = None  # something of ours
            elif parameter.arg in MODULES:
                self.known[parameter.arg] = Thing(parameter.arg)
            elif parameter.arg in OBJECTS:
                self.known[parameter.arg] = _object(*OBJECTS[parameter.arg])

    def _assign(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._bind(target, node.value)
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            self._bind(node.target, node.value)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            self._bind(node.optional_vars, node.context_expr)
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
            thing = self.resolve(node.iter)
            if thing is not None and thing.many and isinstance(node.target, ast.Name):
                self._name(node.target.id, Thing(thing.module, owner=thing.owner), node.target)
        for imported, name in _imports(node):
            if IMPORTS.get(imported) == name:
                self.known[name] = Thing(name)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=False):
                self._bind(one, other)
        elif (thing := self.resolve(value)) is None:
            return
        elif isinstance(target, ast.Name):
            self._name(target.id, thing, target)
        elif isinstance(target, ast.Attribute) and self.resolve(target.value) is None:  # else it is a member of theirs
            self._name(target.attr.lstrip("_"), thing, target)

    def _name(self, name: str, thing: Thing, node: ast.expr) -> None:
        if thing.owner and not thing.path and not thing.many and OBJECTS.get(name) != (thing.module, thing.owner):
            problem = f"{self._place(node)}: '{name}' holds a {thing.owner}: name it as in OBJECTS, or add it there"
            if problem not in self.usage.problems:
                self.usage.problems.append(problem)
        if isinstance(node, ast.Name):
            self.known[name] = thing

    def resolve(self, node: ast.expr) -> Thing | None:
        """What an expression stands for, as far as it is known."""
        if isinstance(node, ast.Name):
            return self._resolve_name(node.id)
        if isinstance(node, ast.Attribute):
            return self._resolve_attribute(node)
        if isinstance(node, ast.Call):
            return self._resolve_call(node)
        if isinstance(node, (ast.GeneratorExp, ast.ListComp)):
            thing = self.resolve(node.elt)
            return (
                Thing(thing.module, owner=thing.owner, many=True) if thing and thing.owner and not thing.path else None
            )
        if isinstance(node, ast.IfExp):
            return self.resolve(node.body) or self.resolve(node.orelse)
        return None

    def _resolve_name(self, name: str) -> Thing | None:
        if name in self.known:
            return self.known[name]
        if self.everywhere and name in MODULES and name != "driver":
            return Thing(MODULES[name])
        return _object(*OBJECTS[name]) if self.everywhere and name in OBJECTS else None

    def _resolve_attribute(self, node: ast.Attribute) -> Thing | None:
        plain = node.attr.lstrip("_")
        if plain in ("trt", "cudart") or node.attr == "_driver":
            return Thing(plain)
        held = isinstance(node.value, ast.Name) and node.value.id in HOLDERS
        if self.everywhere and held and plain in OBJECTS:
            return _object(*OBJECTS[plain])
        base = self.resolve(node.value)
        if base is None or base.many or node.attr.startswith("__"):
            return None
        return Thing(base.module, (*base.path, node.attr), base.owner)

    def _resolve_call(self, node: ast.Call) -> Thing | None:
        if (asked := self._asked(node)) is not None:
            return asked
        function = self.resolve(node.func)
        if function is None or not function.path:
            return None
        if function.owner:
            owner = self.returns.get((function.owner, function.path[-1]), "")
            return _object(function.module, owner) if owner else None
        made = ("", function.path[0])
        return _object(function.module, function.path[0]) if function.module == "trt" and made in self.returns else None

    def _asked(self, node: ast.Call) -> Thing | None:
        """What `hasattr` or `getattr` asks for."""
        if not (isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "getattr") and len(node.args) >= 2):
            return None
        base = self.resolve(node.args[0])
        if base is None:
            return None
        if not (isinstance(node.args[1], ast.Constant) and isinstance(node.args[1].value, str)):
            self.usage.problems.append(f"{self._place(node)}: a member of {base} is asked for by a name that varies")
            return None
        return Thing(base.module, (*base.path, node.args[1].value), base.owner)

    # What is used

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._use(node)

    def visit_Call(self, node: ast.Call) -> None:
        if (asked := self._asked(node)) is not None:
            if node.func.id == "hasattr" or len(node.args) == 3:
                self.usage.guards.setdefault(self.name, set()).add(asked)
            self._add(Use(asked, self._place(node), self.name))
        stars = any(isinstance(arg, ast.Starred) for arg in node.args) or any(not word.arg for word in node.keywords)
        call = None if stars else (len(node.args), tuple(word.arg or "" for word in node.keywords))
        if isinstance(node.func, ast.Attribute):
            self._use(node.func, call, called=True)
        for inner in (*node.args, *(word.value for word in node.keywords)):
            self.visit(inner)
        if not isinstance(node.func, (ast.Attribute, ast.Name)):
            self.visit(node.func)

    def visit_Assign(self, node: ast.Assign) -> None:
        names = len(node.targets[0].elts) if isinstance(node.targets[0], ast.Tuple) else None
        if names is not None and isinstance(node.value, ast.Call):
            thing = self.resolve(node.value.func)
            if thing is not None and thing.path and thing.module in ("cudart", "driver"):
                self._add(Use(thing, self._place(node), self.name, unpacked=names))
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            thing = self.resolve(base)
            if thing is None or not thing.path:
                continue
            own = {
                method.name: len(method.args.args) - 1
                for method in node.body
                if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef))
            }
            self._add(Use(thing, self._place(node), self.name, overrides=tuple(own.items())))
        self.generic_visit(node)

    def _use(
        self, node: ast.Attribute, call: tuple[int, tuple[str, ...]] | None = None, *, called: bool = False
    ) -> None:
        thing = self.resolve(node)
        if thing is not None and thing.path:
            written = not isinstance(node.ctx, ast.Load)
            self._add(Use(thing, self._place(node), self.name, call, called, written))
        if thing is None or not thing.path or not isinstance(node.value, (ast.Name, ast.Attribute)):
            self.visit(node.value)

    def _add(self, use: Use) -> None:
        self.usage.uses.append(use)

    def _place(self, node: ast.AST) -> str:
        return f"{self.usage.path}:{getattr(node, 'lineno', 0)}"


def _object(module: str, owner: str) -> Thing:
    return Thing(module, owner=owner)
