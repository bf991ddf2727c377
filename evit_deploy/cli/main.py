# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy``: the application, and how its errors look."""

from __future__ import annotations

import os
import sys
import traceback

from evit_deploy.errors import EvitError, UnavailableError

# PyTorch's OpenMP threads spin while they wait; beside any other busy process that makes small models 50 times
# slower. Must be set before PyTorch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main() -> None:
    """Run the command line and exit with 0, 1 (a check failed), 2 (wrong usage) or 3 (not possible here)."""
    try:
        import typer  # noqa: F401
    except ImportError:
        print("evit-deploy: the command line needs typer and rich: pip install 'evit-deploy[cli]'", file=sys.stderr)
        sys.exit(UnavailableError.exit_code)
    from evit_deploy.cli.app import app, state

    try:
        app()
    except EvitError as error:
        if state.debug:
            traceback.print_exc()
        sys.stdout.flush()
        print(f"evit-deploy: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if state.debug:
            traceback.print_exc()
        print(
            f"evit-deploy: this is a bug: {type(error).__name__}: {error}\n"
            "  fix:      run again as 'evit-deploy --debug …' and report the traceback",
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
