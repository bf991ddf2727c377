# SPDX-License-Identifier: Apache-2.0
"""The two graphs of Segment Anything: encoder and mask decoder as they are exported."""
