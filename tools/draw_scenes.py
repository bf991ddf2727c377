# SPDX-License-Identifier: Apache-2.0
"""Draw labelled street scenes into a folder of Cityscapes' own format.

``python tools/draw_scenes.py FOLDER --split val --count 100 --size 512x1024 [--first-seed 0]``
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from evit_deploy.cli.common import parse_resolution
from evit_deploy.data.cityscapes import write_dataset


def main() -> None:
    """Draw the scenes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--size", default="512x1024")
    parser.add_argument("--first-seed", type=int, default=0)
    arguments = parser.parse_args()
    height, width = parse_resolution(arguments.size) or (512, 1024)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.count)
    write_dataset(arguments.folder, arguments.split, tqdm(seeds, unit="scene"), height, width)


if __name__ == "__main__":
    main()
