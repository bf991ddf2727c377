# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy agent``: the far side of ``build --remote``; not for people."""

from __future__ import annotations


def command() -> None:
    """Answer a host over standard input and output."""
    from evit_deploy.engines.remote.agent import serve

    serve()
