# SPDX-License-Identifier: Apache-2.0
"""A system's root that another user can look into, and that user."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@pytest.fixture
def root() -> Iterator[Path]:
    """An empty root of a system; pytest's own folders are closed to other users."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def as_user() -> Callable[[], AbstractContextManager[None]]:
    """Be a user without rights for a while; root may read everything."""

    @contextmanager
    def become() -> Iterator[None]:
        before = os.geteuid()
        if before == 0:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(before)

    return become
