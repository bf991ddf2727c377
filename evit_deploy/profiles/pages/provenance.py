# SPDX-License-Identifier: Apache-2.0
"""What an engine was made from and by whom, in words."""

from __future__ import annotations

from evit_deploy.manifest import EngineInfo, Manifest


def engine_info(manifest: Manifest) -> EngineInfo:
    """The part of a manifest that only engines have."""
    assert manifest.engine is not None
    return manifest.engine


def compiler(manifest: Manifest) -> str:
    """Compiler and version."""
    engine = engine_info(manifest)
    return f"{engine.compiler} {engine.compiler_version}"


def made(manifest: Manifest) -> str:
    """Who compiled an engine, and on what."""
    processor = engine_info(manifest).machine.get("processor") or "an unnamed processor"
    return f"compiled by {compiler(manifest)} on {processor}"


def tags(engine: str, manifest: Manifest) -> tuple[str, ...]:
    """What tells an engine from others, in a word each."""
    precision = engine_info(manifest).precision.upper()
    return engine, precision, compiler(manifest), f"{manifest.weights.source} weights"


def provenance(manifest: Manifest) -> dict[str, str]:
    """What the engine was made from, in words."""
    graph, weights, engine = manifest.graph, manifest.weights, engine_info(manifest)
    low, high = graph.batch
    made_with = (f"{name} {version}" for name, version in manifest.environment.items())
    return {
        "weights": f"{weights.source}, {weights.location}",
        "weights SHA-256": weights.sha256,
        "graph": f"{graph.file}, opset {graph.opset}, {graph.precision.upper()}",
        "graph SHA-256": manifest.files[graph.file].sha256,
        "resolution": f"{graph.resolution[0]} × {graph.resolution[1]} pixels (height × width)",
        "batch": str(low) if low == high else f"{low} to {high}",
        "input and output": f"{graph.input} in, {graph.output} out",
        "compiled by": f"{compiler(manifest)}, {engine.precision.upper()}, for {engine.target}",
        "compiled on": ", ".join(value for value in engine.machine.values() if value),
        "exported with": ", ".join(made_with),
        "engine created": f"{manifest.created}, evit-deploy {manifest.tool}",
        "engine key": manifest.key,
    }
