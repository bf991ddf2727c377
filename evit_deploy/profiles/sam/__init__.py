# SPDX-License-Identifier: Apache-2.0
"""Measured records of segment-anything engines: an image encoder and mask decoders, each part and all together."""

from __future__ import annotations
