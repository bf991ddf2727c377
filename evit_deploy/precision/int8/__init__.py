# SPDX-License-Identifier: Apache-2.0
"""INT8 within the typed FP16 graph: where Q/DQ stand, calibration, sensitivity and search."""
