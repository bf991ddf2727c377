# SPDX-License-Identifier: Apache-2.0
"""Releases of TensorRT through one code path, and TensorRT-RTX with its cache of kernels."""

from __future__ import annotations

import pytest

from evit_deploy.errors import UnavailableError
from evit_deploy.runtime.backends import tensorrt_rtx
from evit_deploy.runtime.cuda import api
from evit_deploy.runtime.cuda.plan import Plan
from tests.conftest import require
from tests.runtime.doubles.bench import Foreign, agree, frame, write_engine


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tensorrt_rtx.cache_folder()


@pytest.mark.parametrize(
    ("version", "rtx"), [("10.0.1", False), ("10.3.0", False), ("11.4.0.106", False), ("1.7.1.116", True)]
)
def test_releases(make_double, version, rtx):
    machine = make_double(version, rtx=rtx)
    with machine.load((1, 2)) as engine:
        assert engine.backend_version == version
        for batch in (1, 2, 1):
            assert agree(engine.infer({"image": frame(batch, batch)}), frame(batch, batch))
        image = Foreign(frame(7))
        assert agree(engine.infer({"image": image}), frame(7))
        image.free()
        assert engine.notes == ()


def test_kernels_are_compiled_once(make_double, cache):
    machine = make_double("1.7.1.116", rtx=True)
    for _ in range(2):
        machine.load().close()
        assert machine.world.calls["compiled kernels"] == 1
    assert len(list(cache.iterdir())) == 1
    assert cache.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"kernels of another GPU"])
def test_a_cache_that_does_not_fit_is_written_anew(make_double, cache, content):
    machine = make_double("1.7.1.116", rtx=True)
    machine.load().close()
    (file,) = cache.iterdir()
    file.write_bytes(content)
    with machine.load() as engine:
        assert agree(engine.infer({"image": frame(1)}), frame(1))
    assert file.read_bytes() == b"kernels of the double"


def test_no_place_for_a_cache(make_double, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with make_double("1.7.1.116", rtx=True).load() as engine:
        assert agree(engine.infer({"image": frame(1)}), frame(1))


def test_the_real_tensorrt_rtx_is_asked_and_its_words_are_kept(make_double, monkeypatch):
    """Its runtime and our logger, as far as a machine without a GPU goes."""
    require("tensorrt_rtx")
    import tensorrt_rtx as trt

    machine = make_double("1.7.1.116", rtx=True)
    version = str(trt.__version__).partition("-")[0]
    folder = machine.tmp / "nonsense"
    manifest = write_engine(folder, b"nonsense" * 100, version=version, backend="tensorrt_rtx")
    with pytest.raises(UnavailableError, match=rf"(?s)tensorrt_rtx {version} cannot load.*magicTag"):
        Plan(trt, api.open_device(0), folder, manifest)
