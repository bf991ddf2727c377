# SPDX-License-Identifier: Apache-2.0
"""Which compiler is taken, and what is said when none can be."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

import pytest

from evit_deploy.engines import COMPILERS, choose_arch, choose_compiler, get_compiler
from evit_deploy.engines import compiler as compiler_module
from evit_deploy.engines import onnxruntime as ort_compiler
from evit_deploy.engines import openvino as ov_compiler
from evit_deploy.engines.compiler import obstacles, require_precision
from evit_deploy.errors import UnavailableError, UsageError
from evit_deploy.runtime.backends import BACKENDS
from evit_deploy.targets import TARGETS
from evit_deploy.targets.device import Device
from tests.conftest import require

CPU = TARGETS["cpu"]
GPUS = [name for name, spec in TARGETS.items() if spec.attention]
ON_DEVICE = [name for name in GPUS if "tensorrt" in TARGETS[name].compilers]


@pytest.fixture
def no_gpu_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with neither TensorRT."""
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU with BF16 instructions, whatever this one has."""
    monkeypatch.setattr(ov_compiler, "_capabilities", lambda: ["FP32", "BF16", "INT8"])


@pytest.mark.parametrize("name", COMPILERS)
def test_every_compiler_fits_the_seam(name: str) -> None:
    if name == "tensorrt":
        pytest.importorskip(name)  # comes with the device, not from a package index
    require(name)
    compiler = get_compiler(name)
    assert compiler.name == name
    assert compiler.backend in BACKENDS
    assert isinstance(compiler.keeps_plan, bool)
    assert all(re.fullmatch(r"sm[0-9]+", arch) for arch in compiler.archs())
    assert compiler.extra in metadata.metadata("evit-deploy").get_all("Provides-Extra")
    assert compiler.version() == metadata.version(name)


def test_every_compiler_of_a_target_exists_and_every_compiler_serves_one() -> None:
    assert {name for spec in TARGETS.values() for name in spec.compilers} == set(COMPILERS)


@pytest.mark.parametrize("name", ["", "tensorflow", "OpenVINO"])
def test_an_unknown_compiler_names_the_known_ones(name: str) -> None:
    for ask in (get_compiler, lambda name: choose_compiler(CPU, "fp32", name)):
        with pytest.raises(UsageError, match=f"no compiler '{name}'") as caught:
            ask(name)
        assert caught.value.expected == f"one of {', '.join(COMPILERS)}"
        assert caught.value.exit_code == 2


def test_the_first_compiler_of_the_target_is_taken() -> None:
    assert choose_compiler(CPU, "fp32").name == CPU.compilers[0] == "openvino"


@pytest.mark.parametrize("name", CPU.compilers)
def test_a_named_compiler_is_taken(name: str) -> None:
    assert choose_compiler(CPU, "fp32", name).name == name


def test_the_next_compiler_is_taken_where_the_first_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ov_compiler.OpenVinoCompiler, "version", lambda self: None)
    assert choose_compiler(CPU, "fp32").name == "onnxruntime"


@pytest.mark.parametrize("name", CPU.compilers)
def test_a_named_compiler_that_is_not_installed_names_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(get_compiler(name)), "version", lambda self: None)
    with pytest.raises(UnavailableError, match="no compiler on this machine builds fp32 for cpu") as caught:
        choose_compiler(CPU, "fp32", name)
    assert f"{name} is not installed (pip install 'evit-deploy[{name}]')" in str(caught.value.found)
    assert caught.value.exit_code == 3


def test_without_any_compiler_every_one_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CPU.compilers:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnavailableError) as caught:
        choose_compiler(CPU, "fp32")
    for name in CPU.compilers:
        assert f"evit-deploy[{name}]" in str(caught.value)


@pytest.mark.parametrize("name", GPUS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_without_its_compiler_a_gpu_is_lowered_for(name: str, precision: str, no_gpu_compilers: None) -> None:
    assert choose_compiler(TARGETS[name], precision) is None
    assert choose_arch(None, TARGETS[name], None) is None


@pytest.mark.parametrize("name", GPUS)
@pytest.mark.parametrize("choice", ["named", "required"])
def test_a_compiler_that_must_be_here_and_is_not(name: str, choice: str, no_gpu_compilers: None) -> None:
    spec = TARGETS[name]
    with pytest.raises(UnavailableError, match=f"no compiler on this machine builds fp16 for {name}") as caught:
        choose_compiler(spec, "fp16", spec.compilers[0] if choice == "named" else None, required=choice == "required")
    assert caught.value.found == "; ".join(obstacles(spec, "fp16"))
    assert spec.compilers[0] in str(caught.value.found)
    assert "--remote USER@HOST" in str(caught.value.fix)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", GPUS)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_no_other_compiler_builds_for_it(name: str, compiler: str) -> None:
    if compiler in TARGETS[name].compilers:
        return
    with pytest.raises(UsageError, match=f"{compiler} does not build for {name}") as caught:
        choose_compiler(TARGETS[name], "fp32", compiler)
    assert caught.value.expected == f"one of {', '.join(TARGETS[name].compilers)}"


@pytest.mark.parametrize("name", ON_DEVICE)
def test_a_device_that_compiles_for_itself_has_no_architecture_to_choose(name: str) -> None:
    with pytest.raises(UsageError, match=f"no architecture to choose for {name}") as caught:
        choose_arch(None, TARGETS[name], "sm87")
    assert caught.value.found == "--arch sm87"
    assert caught.value.fix == "leave --arch out"


@pytest.mark.parametrize("name", ON_DEVICE)
def test_bf16_is_refused_for_gpus(name: str) -> None:
    with pytest.raises(UsageError, match=f"bf16 is not built for {name}") as caught:
        choose_compiler(TARGETS[name], "bf16")
    assert "not offered on GPUs" in str(caught.value.found)
    assert caught.value.expected == "--fp32 or --fp16 or --int8"
    assert caught.value.fix == "--fp16 is the fast choice"
    assert caught.value.exit_code == 2


@pytest.mark.usefixtures("no_gpu_compilers")
@pytest.mark.parametrize("name", ON_DEVICE)
def test_every_tensorrt_is_given_int8(name: str) -> None:
    assert choose_compiler(TARGETS[name], "int8") is None, "lowered, for its device to compile"


def test_the_measured_reason_against_int8_on_rtx_is_told() -> None:
    """Without TensorRT-RTX too: this is no question of what is installed."""
    with pytest.raises(UsageError, match="int8 is not built for rtx") as caught:
        require_precision(TARGETS["rtx"], "int8")
    found = str(caught.value.found)
    for fact in ("write FP32 and fuse nothing", "125 kernels", "0.48 GB", "193 to 201", "0.95 to 1.28 GB", "512x1024"):
        assert fact in found


@pytest.mark.usefixtures("bf16")
def test_bf16_goes_to_openvino() -> None:
    assert choose_compiler(CPU, "bf16").name == "openvino"


def test_onnxruntime_builds_fp32_only() -> None:
    with pytest.raises(UnavailableError) as caught:
        choose_compiler(CPU, "bf16", "onnxruntime")
    assert caught.value.found == "onnxruntime: its CPU provider computes in FP32, not in BF16"


@pytest.mark.parametrize(
    ("precision", "reason"), [("fp16", "behind the user's back"), ("int8", "what INT8 gains on a CPU")]
)
@pytest.mark.parametrize("name", [None, *COMPILERS])
def test_fp16_and_int8_are_refused_for_the_cpu(precision: str, reason: str, name: str | None) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        choose_compiler(CPU, precision, name)
    assert "--fp32 or --bf16" in str(caught.value)


@pytest.mark.parametrize("name", CPU.compilers)
def test_a_cpu_has_no_architecture_to_choose(name: str) -> None:
    compiler = get_compiler(name)
    assert compiler.archs() == ()
    assert choose_arch(compiler, CPU, None) is None
    with pytest.raises(UsageError, match="no architecture to choose for cpu") as caught:
        choose_arch(compiler, CPU, "sm86")
    assert caught.value.found == "--arch sm86"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_missing_tensorrt_names_its_extra(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(UnavailableError, match=re.escape("pip install 'evit-deploy[rtx]'")):
        choose_compiler(TARGETS["rtx"], precision, required=True)
    assert choose_compiler(TARGETS["rtx"], precision) is None


def test_choosing_and_building_for_a_cpu_need_no_onnx() -> None:
    code = (
        "import sys; sys.modules['onnx'] = sys.modules['torch'] = None\n"
        "from evit_deploy.engines import build_engine, choose_compiler\n"
        "from evit_deploy.engines import doctor, plan\n"
        "from evit_deploy.targets import TARGETS\n"
        "print(choose_compiler(TARGETS['cpu'], 'fp32').name, choose_compiler(TARGETS['orin'], 'fp16'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["openvino", "None"], done.stderr


@pytest.mark.parametrize("error", [ImportError("libfoo.so"), OSError("bad ELF"), RuntimeError("half installed")])
def test_a_broken_package_counts_as_missing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> object:
        raise error

    monkeypatch.setattr(compiler_module.importlib, "import_module", broken)
    assert compiler_module.imported_version("openvino") is None


def test_a_cpu_without_bf16_is_refused_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ov_compiler, "_capabilities", lambda: ["FP32", "INT8"])
    with pytest.raises(UnavailableError) as caught:
        choose_compiler(CPU, "bf16")
    assert "openvino: this CPU has no BF16 instructions" in str(caught.value.found)
    assert "onnxruntime: its CPU provider computes in FP32" in str(caught.value.found)


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize(
    ("precision", "openvino", "onnxruntime"),
    [("fp32", True, True), ("bf16", True, False), ("fp16", False, False), ("int8", False, False)],
)
def test_obstacles(precision: str, openvino: bool, onnxruntime: bool) -> None:
    assert (ov_compiler.COMPILER.obstacle(precision, CPU) is None) == openvino
    assert (ort_compiler.COMPILER.obstacle(precision, CPU) is None) == onnxruntime


def test_another_machine_compiles_for_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler_module, "gpu_compute_capability", lambda: "8.6")
    assert choose_arch(None, TARGETS["rtx"], None) is None
    assert choose_arch(None, TARGETS["rtx"], "8.9") == "sm89"


@pytest.mark.parametrize("text", ["", "../x", "sm", "8", "ampere"])
def test_what_is_no_architecture_never_becomes_a_name(text: str) -> None:
    with pytest.raises(UsageError, match="is no architecture"):
        choose_arch(None, TARGETS["rtx"], text)


def test_on_the_target_itself_the_compiler_is_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, no_gpu_compilers: None
) -> None:
    orin = Device("Orin", "8.7", 16, 64.0, True, "12.6")
    monkeypatch.setattr(compiler_module, "this_device", lambda: orin)
    with pytest.raises(UnavailableError) as caught:
        choose_compiler(TARGETS["orin"], "fp16", required=True)
    assert str(caught.value.found).startswith("tensorrt is not installed (")
    assert "--remote" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportError("libnvinfer.so.10: cannot open shared object file"), "does not import: libnvinfer.so.10: cannot"),
        (
            ModuleNotFoundError("No module named 'numpy.x'", name="numpy.x"),
            "does not import: No module named 'numpy.x'",
        ),
        (ModuleNotFoundError("No module named 'tensorrt'", name="tensorrt"), "not installed"),
    ],
)
def test_why_a_module_does_not_import(error: Exception, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> object:
        raise error

    monkeypatch.setattr(compiler_module.importlib, "import_module", broken)
    assert str(compiler_module.import_problem("tensorrt")).startswith(words)


def test_what_imports_has_no_problem() -> None:
    assert compiler_module.import_problem("json") is None
