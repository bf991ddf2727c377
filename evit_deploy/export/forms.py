# SPDX-License-Identifier: Apache-2.0
"""The forms of exported graphs: part of the key of everything that is made from one, readable without PyTorch."""

FORM = 3
"""Raised whenever the exported graph changes, so that exports of an earlier form are written again."""

SAM_FORM = 1
"""Raised whenever a graph of Segment Anything changes, so that exports of an earlier form are written again."""

PLAIN_FORM = 1
"""Raised whenever a graph of `evit_deploy.export.plain` changes, so that plans that were kept are made again."""
