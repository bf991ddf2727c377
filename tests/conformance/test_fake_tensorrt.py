# SPDX-License-Identifier: Apache-2.0
"""The stand-in for TensorRT has nothing that a version of the real bindings lacks."""

from __future__ import annotations

import inspect

import pytest

from tests.conformance.bindings import TENSORRT
from tests.engines.fake_tensorrt import World, make_tensorrt

FAKE = {name: value for name, value in vars(make_tensorrt(World())).items() if inspect.isclass(value)}


def public(description):
    """Names that a class defines or declares itself."""
    names = {*vars(description), *getattr(description, "__annotations__", {})}
    return sorted(name for name in names if not name.startswith("_"))


@pytest.mark.parametrize("version", TENSORRT)
@pytest.mark.parametrize("name", FAKE)
def test_every_member_is_real(name, version, tensorrt):
    for member in public(FAKE[name]):
        real = tensorrt[version].find(name, (member,))
        assert real is not None, f"{name}.{member} is not in TensorRT {version}"
        value = vars(FAKE[name]).get(member)
        if inspect.isfunction(value):
            own = list(inspect.signature(value).parameters)[1:]
            forms = [[parameter for parameter, _ in form["parameters"]] for form in real["overloads"]]
            assert own in forms, f"{name}.{member} takes {forms} in TensorRT {version}"
