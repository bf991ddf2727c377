# SPDX-License-Identifier: Apache-2.0
"""Artifacts that explain themselves: the manifest, its schema, and folders written whole or not at all."""

from evit_deploy.manifest.model import (
    ITSELF,
    SCHEMA_VERSION,
    Agreement,
    Budget,
    EngineInfo,
    FileInfo,
    FrameAgreement,
    GraphInfo,
    Manifest,
    ModelInfo,
    Preprocess,
    TensorInfo,
    WeightsInfo,
)
from evit_deploy.manifest.store import (
    content_key,
    read_artifact,
    read_existing,
    read_manifest,
    replace_file,
    sha256_of,
    write_artifact,
)

__all__ = [
    "ITSELF",
    "SCHEMA_VERSION",
    "Agreement",
    "Budget",
    "EngineInfo",
    "FileInfo",
    "FrameAgreement",
    "GraphInfo",
    "Manifest",
    "ModelInfo",
    "Preprocess",
    "TensorInfo",
    "WeightsInfo",
    "content_key",
    "read_artifact",
    "read_existing",
    "read_manifest",
    "replace_file",
    "sha256_of",
    "write_artifact",
]
