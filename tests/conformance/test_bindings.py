# SPDX-License-Identifier: Apache-2.0
"""Everything that the project uses of NVIDIA's bindings is there, in every version that it is for."""

from __future__ import annotations

import re

import pytest

from tests.conformance.bindings import TENSORRT, run_in, unpack
from tests.conformance.usage import FILES, PACKAGE, Thing, Usage, Use, collect, collect_text


def accepts(member, call):
    """Whether one of a function's forms takes these arguments; what has no known form takes any."""
    forms = member.get("overloads", ()) or member.get("members", {}).get("__init__", {}).get("overloads", ())
    if call is None or not forms:
        return True
    positional, keywords = call
    for form in forms:
        names = [name for name, _ in form["parameters"]]
        given = {*names[:positional], *keywords}
        needed = {name for name, optional in form["parameters"] if not optional}
        if positional <= len(names) and set(keywords) <= set(names[positional:]) and needed <= given:
            return True
    return False


def fits(member, use):
    """Whether a member can be used so."""
    if use.overrides is not None:
        return overridden(member, dict(use.overrides))
    if use.unpacked is not None:
        told = [form["results"] for form in member.get("overloads", ()) if form.get("results")]
        return not told or use.unpacked in told
    kind = member.get("kind")
    if use.written:
        return kind == "property" and member["writable"]
    if use.called and kind in ("property", "value"):
        return False
    return accepts(member, use.call)


def overridden(description, own):
    """Whether a class defines every method of its base, with as many parameters; more of its own do no harm."""
    methods = {name: member["overloads"] for name, member in description["members"].items()
               if member["kind"] == "function" and not name.startswith("_")}  # fmt: skip
    return bool(methods) and all(
        own.get(name) in {len(form["parameters"]) for form in forms} for name, forms in methods.items()
    )


def present(surface, thing):
    return surface.find(thing.owner, thing.path) is not None


def excused(thing, guards, surfaces):
    """Whether a member that some versions lack is used only where it is there.

    It is if a name that the same function asks for tells so: wherever that is there, this is (used behind the
    question), or wherever that is not, this is (used instead).
    """
    behind = any(all(present(s, thing) for s in surfaces if present(s, guard)) for guard in guards)
    instead = any(all(present(s, thing) for s in surfaces if not present(s, guard)) for guard in guards)
    return (behind or instead) and any(present(s, thing) for s in surfaces)


def faults(usages, module, surfaces):
    """What does not conform, in words."""
    for usage in usages:
        for use in usage.uses:
            if use.thing.module != module:
                continue
            known = surfaces(usage)
            lacking = [s.name for s in known if not present(s, use.thing)]
            if lacking and not excused(use.thing, usage.guards.get(use.function, ()), known):
                yield f"{use.place}: {use.thing} is not in {', '.join(lacking)}"
            for surface in known:
                member = surface.find(use.thing.owner, use.thing.path)
                if member is not None and not fits(member, use):
                    yield f"{use.place}: {use.thing} of {surface.name} is not used as {use}: {member}"


@pytest.fixture(scope="module")
def usages(tensorrt, tensorrt_rtx):
    return collect({**tensorrt_rtx.returns, **tensorrt["10.3.0"].returns})


def test_all_that_is_used_can_be_followed(usages):
    assert not [problem for usage in usages for problem in usage.problems]
    files = {usage.path for usage in usages}
    assert {"engines/timing_cache.py", "engines/build_monitor.py"} <= files
    texts = {str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in FILES}
    assert {path for path, text in texts.items() if re.search(r"\b(trt|cudart)\.\w", text)} <= files


def test_tensorrt_has_what_is_used(usages, tensorrt, tensorrt_rtx):
    """Files that serve one library only are held against that one."""

    def surfaces(usage):
        own = [tensorrt_rtx] if "tensorrt" not in usage.libraries or len(usage.libraries) == 2 else []
        return own + ([] if usage.libraries == {"tensorrt_rtx"} else list(tensorrt.values()))

    used = {str(use.thing) for usage in usages for use in usage.uses if use.thing.module == "trt"}
    assert len(used) > 60
    assert {"Builder.build_serialized_network", "IBuilderConfig.set_timing_cache", "trt.IProgressMonitor"} <= used
    assert not list(faults(usages, "trt", surfaces))


def test_cuda_has_what_is_used(usages, cuda):
    module, surfaces = cuda
    used = {str(use.thing) for usage in usages for use in usage.uses if use.thing.module == module}
    assert used
    assert not list(faults(usages, module, lambda usage: list(surfaces.values())))


@pytest.mark.parametrize("version", TENSORRT)
def test_a_library_that_cannot_start_raises_what_is_caught(tensorrt, wheels, version):
    """Libraries that give no builder are what a machine without a driver looks like to the real bindings."""
    code = (
        "import sys; sys.path.insert(0, '.'); import tensorrt_bindings as trt\n"
        "from evit_deploy.engines.typed_network import _new_builder, strongly_typed, can_type_strongly\n"
        "from evit_deploy.errors import UnavailableError\n"
        "assert can_type_strongly(trt) and strongly_typed(trt) in (1, 2), strongly_typed(trt)\n"
        "try: _new_builder(trt, 'TensorRT X')\n"
        "except UnavailableError as error: print(error.what)\n"
    )
    unpacked = unpack(TENSORRT[version], wheels)
    assert run_in(unpacked, wheels, ["-c", code]) == "TensorRT X cannot start on this machine\n"


@pytest.mark.parametrize(
    ("path", "written", "mistaken"),
    [
        ("engines/tensorrt.py", "set_memory_pool_limit", "set_workspace_limit"),
        ("engines/tensorrt.py", "MemoryPoolType.WORKSPACE", "MemoryPoolType.WORKSPACES"),
        ("engines/tensorrt.py", "largest, largest)", "largest, largest, largest)"),
        ("engines/timing_cache.py", "ignore_mismatch=False", "ignore=False"),
        ("engines/build_monitor.py", "def step_complete", "def steps_complete"),
        ("engines/build_monitor.py", "phase_finish(self, phase_name: str)", "phase_finish(self)"),
        ("engines/typed_network.py", '"builder_optimization_level")', '"optimization_level")'),
        ("engines/tensorrt_rtx.py", "num_compute_capabilities", "compute_capabilities"),
        ("engines/tensorrt.py", "engine.num_io_tensors)", "engine.num_io_tensors())"),
        ("engines/tensorrt.py", "trt.LayerInformationFormat.JSON)", "trt.LayerInformationFormat.JSON())"),
        ("engines/tensorrt.py", "context.set_input_shape(name, shape)", "engine.num_layers, x = 3, name"),
        ("engines/tensorrt.py", "context.set_input_shape(name, shape)", "engine.num_io_tensors = 3"),
        ("engines/tensorrt.py", "context.set_input_shape(name, shape)", "engine.get_tensor_name += 3"),
        ("engines/tensorrt.py", 'hasattr(trt.MemoryPoolType, "TACTIC_DRAM")', "trt.MemoryPoolType.TACTIC_DRAMS"),
    ],
)
def test_a_mistake_is_found(path, written, mistaken, tensorrt, tensorrt_rtx):
    text = (PACKAGE / path).read_text(encoding="utf-8")
    assert written in text
    surfaces = [tensorrt_rtx] if "rtx" in path else list(tensorrt.values())
    returns = {**tensorrt_rtx.returns, **tensorrt["10.3.0"].returns}
    for content, wrong in ((text, False), (text.replace(written, mistaken), True)):
        usage = collect_text(content, path, returns)
        assert bool(list(faults([usage], "trt", lambda usage: surfaces))) is wrong


# The collector itself

RETURNS = {("", "Builder"): "Builder", ("Builder", "create_network"): "INetworkDefinition"}


def things(text):
    return {str(use.thing) for use in collect_text(text, "x.py", RETURNS).uses}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import tensorrt as trt\nx = trt.BuilderFlag.TF32", {"trt.BuilderFlag.TF32"}),
        ("def f(trt: Any):\n builder = trt.Builder(0)\n builder.error = 2", {"trt.Builder", "Builder.error"}),
        ("def f(config: Any):\n config.flags", {"IBuilderConfig.flags"}),
        ("def f(config: Other):\n config.flags", set()),
        ("def f(trt):\n kinds = trt.Kind\n return kinds.ONE", {"trt.Kind", "trt.Kind.ONE"}),
        ("class A:\n def f(self):\n  return self._engine.name, self._trt.Dims", {"ICudaEngine.name", "trt.Dims"}),
        ("def f(cudart):\n a, b = cudart.cudaMalloc(3)", {"cudart.cudaMalloc"}),
        ("def f(trt):\n class L(trt.ILogger):\n  def log(self, a, b): ...", {"trt.ILogger"}),
        ("def f(trt):\n return getattr(trt, 'X', None)", {"trt.X"}),
        ("async def f(config: Any, /):\n config.flags", {"IBuilderConfig.flags"}),
        ("f = lambda config: config.flags", {"IBuilderConfig.flags"}),
        ("def f(trt):\n with trt.Builder(0) as builder:\n  builder.x()", {"trt.Builder", "Builder.x"}),
        ("import cuda.bindings.runtime as cudart\ncudart.cudaMalloc(1)", {"cudart.cudaMalloc"}),
        ("def f():\n from cuda.bindings import driver\n driver.cuInit(0)", {"driver.cuInit"}),
    ],
)  # fmt: skip
def test_what_is_found(text, found):
    assert things(text) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def f(trt, log):\n thing = trt.Builder(log)", "'thing' holds a Builder"),
        ("def f(builder: Any):\n graph = builder.create_network(0)", "'graph' holds a INetworkDefinition"),
        ("def f(trt, name):\n return hasattr(trt, name)", "a name that varies"),
        ("def f(builder: Any):\n for n in [builder.create_network(i) for i in x]: pass", "'n' holds a INetwork"),
        ("from tensorrt import Builder", "'tensorrt.Builder' is imported as 'Builder'"),
        ("import tensorrt", "'tensorrt' is imported as 'tensorrt'"),
        ("def f():\n import tensorrt_rtx as rtx", "'tensorrt_rtx' is imported as 'rtx'"),
        ("import tensorrt_bindings as trt", "'tensorrt_bindings' is imported"),
        ("def f():\n from cuda.bindings import runtime", "'cuda.bindings.runtime' is imported as 'runtime'"),
        ("from cuda.bindings.runtime import cudaMalloc", "'cuda.bindings.runtime.cudaMalloc' is imported"),
        ("from cuda import cudart", "'cuda.cudart' is imported"),
        ("import cuda.bindings.driver", "'cuda.bindings.driver' is imported as"),
        ("trt = importlib.import_module('tensorrt')", "'tensorrt' is imported by a call"),
    ],
)
def test_what_cannot_be_followed_is_a_problem(text, words):
    usage = collect_text("import tensorrt as trt\n" + text, "x.py", RETURNS)
    assert any(words in problem for problem in usage.problems)


class _Surfaces:
    """Two versions: the old one lacks `new`, the new one lacks `old`."""

    def __init__(self, *names):
        self.name, self.names = "+".join(names), names

    def find(self, owner, path):
        form = {"parameters": [["a", False], ["b", True]]}
        return {"overloads": [form]} if path[-1] in self.names else None


@pytest.mark.parametrize(
    ("use", "guards", "count"),
    [
        ("both", (), 0),
        ("new", (), 1),
        ("new", ("new",), 0),
        ("old", ("new",), 0),
        ("none", ("new",), 1),
        ("newest", ("new",), 1),
    ],
)
def test_guards(use, guards, count):
    surfaces = [_Surfaces("both", "old"), _Surfaces("both", "new"), _Surfaces("both", "new", "newest")]
    usage = Usage("x.py", uses=[Use(Thing("trt", (use,)), "x.py:1", "f")])
    usage.guards["f"] = {Thing("trt", (guard,)) for guard in guards}
    assert len(list(faults([usage], "trt", lambda usage: surfaces))) == count


@pytest.mark.parametrize(
    ("call", "good"),
    [((1, ()), True), ((2, ()), True), ((1, ("b",)), True), ((0, ("a",)), True), ((0, ()), False), ((3, ()), False),
     ((1, ("c",)), False), ((1, ("a",)), False)],
)  # fmt: skip
def test_arguments(call, good):
    usage = Usage("x.py", uses=[Use(Thing("trt", ("both",)), "x.py:1", "f", call)])
    assert (not list(faults([usage], "trt", lambda usage: [_Surfaces("both")]))) is good
