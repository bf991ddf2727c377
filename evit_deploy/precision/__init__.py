# SPDX-License-Identifier: Apache-2.0
"""ONNX to typed ONNX, and the means to know what a typed graph computes."""
