# SPDX-License-Identifier: Apache-2.0
"""What all commands share: the workspace, tables, and the words for sizes."""

from __future__ import annotations

import contextlib
import ctypes
import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evit_deploy.errors import UsageError

if TYPE_CHECKING:
    from evit_deploy.manifest import Agreement, Bundle, Manifest
    from evit_deploy.precision.locate import LayerError
    from evit_deploy.precision.ranges import TensorRange

Workspace = Annotated[
    Path,
    typer.Option("--workspace", envvar="EVIT_WORKSPACE", help="Folder that holds export/, engines/ and profiles/."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
HERE = Path()


def parse_resolution(text: str | None) -> tuple[int, int] | None:
    """Read "HxW".

    Raises:
        UsageError: Something else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text.lower())
    if not match:
        raise UsageError(f"'{text}' is no resolution", expected="HEIGHTxWIDTH, such as 512x1024")
    return int(match[1]), int(match[2])


def parse_batch(text: str) -> tuple[int, int]:
    """Read "N" or "A..B".

    Raises:
        UsageError: Something else.
    """
    match = re.fullmatch(r"([0-9]{1,5})(?:\.\.([0-9]{1,5}))?", text)
    if not match:
        raise UsageError(f"'{text}' is no batch", expected="a number such as 1, or a range such as 1..8")
    return int(match[1]), int(match[2] or match[1])


def plain_name(text: str) -> str:
    """Check a name for a folder in the workspace.

    Raises:
        UsageError: A path, or a hidden name.
    """
    if not re.fullmatch(r"[^./\\\x00][^/\\\x00]*", text):
        raise UsageError(f"'{text}' is no name of a folder", expected="a name without slashes or a leading dot")
    return text


def artifact_folder(workspace: Path, room: str, name: str) -> Path:
    """Where a name or path given on the command line points to.

    A path that exists is taken as it is; a plain name stands for a folder in the workspace, and a model's other name
    for the model.

    Raises:
        UsageError: There is nothing of that name; the message lists the nearest.
    """
    from evit_deploy.models import canonical_name

    path = Path(name)
    for candidate in (path, workspace / room / name, workspace / room / canonical_name(name)):
        if name and candidate.is_dir():
            return candidate
    there = sorted(entry.parent.name for entry in (workspace / room).glob("[!.]*/manifest.json"))
    near = difflib.get_close_matches(path.name, there, n=3, cutoff=0.3) or there[:5]
    raise UsageError(
        f"there is no '{name}' in {workspace / room}",
        found=f"{', '.join(near)} there" if near else "nothing there yet",
        expected="a folder written by evit-deploy export or build",
        fix="evit-deploy export MODEL, then evit-deploy build MODEL --target cpu",
    )


def print_json(data: Any) -> None:
    """Print JSON to standard output."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a plain table; the first column and text are flush left, numbers flush right."""
    widths = [max(len(row[index]) for row in [headers, *rows]) for index in range(len(headers))]
    right = [all(_is_number(row[index]) for row in rows) for index in range(len(headers))]
    for row in (headers, ["-" * width for width in widths], *rows):
        cells = [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)]
        typer.echo("  ".join(cells).rstrip())


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell in ("", "-", "inf", "nan")


def agreement_table(agreement: Agreement) -> None:
    """Print how every frame compares, and the worst case; what no frame shows has no column."""
    from evit_deploy.agreement import worst

    rows = [
        {
            "frame": row.frame,
            "relative L2": _number(row.relative_l2, ".1e"),
            "max error": _number(row.max_error, ".1e"),
            "cosine": _number(row.cosine, ".6f"),
            "classes equal": _number(row.class_agreement, ".4%"),
            "mIoU": _number(row.miou, ".5f"),
            "margin σ": _number(row.conceded_margin, ".1e"),
            "confidence": _number(row.confidence_error, ".1e"),
            "mask IoU": _number(row.mask_iou, ".5f"),
            "score off by": _number(row.score_error, ".1e"),
        }
        for row in (*agreement.frames, worst(agreement.frames))
    ]
    shown = [name for name in rows[0] if any(row[name] != "-" for row in rows)]
    print_table(shown, [[row[name] for name in shown] for row in rows])


def range_table(ranges: Sequence[TensorRange], count: int = 15) -> None:
    """Print the tensors with the least FP16 headroom, and whether all of them fit."""
    from evit_deploy.precision.ranges import tightest

    rows = tightest(ranges)
    headers = ["tensor", "operator", "largest", "smallest", "headroom", "below 2^-14"]
    cells = [
        (
            row.name,
            row.op,
            f"{row.largest:.3g}",
            f"{row.smallest:.1e}",
            f"{row.headroom:.3g}",
            f"{row.below_normal:.2%}",
        )
        for row in rows[:count]
    ]
    typer.echo("\nFP16 headroom (65504 / largest value) on the reference frames, least first:\n")
    print_table(headers, cells)
    outside = [row for row in rows if not row.fits]
    if outside:
        typer.echo(f"\n{len(outside)} of {len(rows)} tensors leave FP16 (65504), {outside[0].name} first of all")
    elif rows:
        typer.echo(f"\nall {len(rows)} tensors fit FP16; least headroom {rows[0].headroom:.3g} at {rows[0].name}")


def layer_table(layers: Sequence[LayerError], limit: float, count: int = 15) -> None:
    """Print the tensors that rounding changes most, and the first one beyond a limit of relative L2."""
    from evit_deploy.precision.locate import first_broken, worst

    headers = ["tensor", "operator", "relative L2", "largest", "headroom", "not finite"]
    cells = [
        (row.name, row.op, f"{row.relative_l2:.1e}", f"{row.largest:.3g}", f"{row.headroom:.3g}", str(row.nonfinite))
        for row in worst(layers, count)
    ]
    typer.echo("\nWhat FP16 changes on the reference frames, emulated on the CPU, most first:\n")
    print_table(headers, cells)
    first = first_broken(layers, limit)
    if first is None:
        typer.echo(f"\nno tensor is beyond relative L2 {limit:.0e} or not finite")
        return
    typer.echo("\nerrors of inner tensors may carry no weight or cancel: what counts is the comparison above", nl=False)
    amount = f"{first.nonfinite} values not finite" if first.nonfinite else f"relative L2 {first.relative_l2:.1e}"
    typer.echo(f"\nfirst beyond relative L2 {limit:.0e}: {first.name} ({first.op}), {amount}, ", nl=False)
    typer.echo(f"largest value {first.largest:.3g}, headroom {first.headroom:.3g}")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def warn(manifest: Manifest | Bundle) -> None:
    """Repeat the warnings that an artifact carries."""
    for text in manifest.warnings:
        typer.secho(f"warning: {text}", fg="yellow", err=True)


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors instead of handing it back after every layer.

    PyTorch asks for 100 MB per layer at 1024×2048; paging that in anew each time takes a third of its time and more on
    a virtual machine (3.1 s against 2.0 s for b1-seg). Nothing happens where there is no glibc.
    """
    m_trim_threshold, m_mmap_max = -1, -4
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
