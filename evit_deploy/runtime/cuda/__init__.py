# SPDX-License-Identifier: Apache-2.0
"""Engines on NVIDIA GPUs: memory, streams, CUDA graphs and other libraries' device arrays. See docs/runtime.md.

Nothing here imports CUDA or TensorRT when it is loaded.
"""
