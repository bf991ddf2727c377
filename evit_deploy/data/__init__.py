# SPDX-License-Identifier: Apache-2.0
"""Frames and classes: image files, exact resizing, drawn street scenes, Cityscapes folders."""
