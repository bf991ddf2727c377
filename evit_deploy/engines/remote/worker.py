# SPDX-License-Identifier: Apache-2.0
"""The process of one build on a device; see `evit_deploy.engines.remote.job`."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import traceback
from pathlib import Path

from evit_deploy.engines.compilation import compile_engine
from evit_deploy.engines.remote.events import EventWriter
from evit_deploy.engines.remote.job import ENGINE, PROFILE
from evit_deploy.engines.remote.latency import profile_engine
from evit_deploy.engines.remote.protocol import error_to_json
from evit_deploy.errors import EvitError, UnavailableError, UsageError
from evit_deploy.manifest.store import replace_file


def work(folder: Path) -> None:
    """Do the build of a job's folder, in the process that was started for it."""
    options = json.loads((folder / "job.json").read_text())
    events = EventWriter(folder / "events")
    source = Path(options.pop("source"))
    try:
        manifest, written = compile_engine(source, folder / ENGINE, progress=events.progress, **options)
        if written or not (folder / PROFILE).exists():
            profile = profile_engine(folder / ENGINE, manifest, events.progress)
            replace_file(folder / PROFILE, json.dumps(profile, indent=2).encode())
        events.write("end", written=written)
    except KeyboardInterrupt:
        events.write("end", error=error_to_json(UsageError("the build was cancelled", fix="run the command again")))
    except EvitError as error:
        events.write("end", error=error_to_json(error))
    except Exception as error:
        traceback.print_exc()
        events.write("end", error=error_to_json(_unforeseen(error, folder / "log")))


def _unforeseen(error: Exception, log: Path) -> EvitError:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return UnavailableError("the disk is full", found=str(error), fix="free some space there")
    if isinstance(error, MemoryError):
        return UnavailableError("there is not enough memory", fix="end other programs there")
    return UnavailableError(
        "the build ended by an error that nobody foresaw",
        found=f"{type(error).__name__}: {error}",
        fix=f"report it with {log} of that device",
    )


def main() -> None:
    """Run as ``python -m evit_deploy.engines.remote.worker FOLDER``, with the folder's lock in an open file."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    work(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    # The lock is free at once: compilers may wait seconds for their threads, above all after a cancelled build.
    os._exit(0)


if __name__ == "__main__":
    main()
