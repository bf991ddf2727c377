# SPDX-License-Identifier: Apache-2.0
"""Machines that this one is not: power monitors as trees of files, in the forms of several releases."""

from __future__ import annotations

from pathlib import Path


def write(root: Path, folder: str, files: dict[str, object]) -> Path:
    """Write small files below a folder of the tree."""
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (place / name).write_text(f"{content}\n", encoding="ascii")
    return place


def _channels(*rails: tuple[str, int, int]) -> dict[str, object]:
    """An INA3221's files: label, mV and mA of each channel, and what it has besides."""
    files: dict[str, object] = {"name": "ina3221", "in7_label": "sum of shunt voltages", "in7_input": 360}
    for number, (label, millivolts, milliamperes) in enumerate(rails, start=1):
        files |= {
            f"in{number}_label": label,
            f"in{number}_input": millivolts,
            f"curr{number}_input": milliamperes,
            f"curr{number}_crit": 32000,
            f"in{number + 3}_input": 280,
        }
    return files


def agx_orin(root: Path) -> Path:
    """JetPack 6: two monitors, no input rail, and a fan's driver between them."""
    write(root, "sys/class/hwmon/hwmon2", {"name": "pwmfan", "pwm1": 54})
    write(
        root,
        "sys/class/hwmon/hwmon3",
        _channels(("VDD_GPU_SOC", 19000, 1500), ("VDD_CPU_CV", 19000, 200), ("VIN_SYS_5V0", 5000, 1200)),
    )
    second = _channels(("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 5000, 300), ("NC", 0, 0))
    return write(root, "sys/class/hwmon/hwmon4", second)


def orin_nano(root: Path) -> Path:
    """JetPack 5 and later: the first channel is the module's input."""
    channels = _channels(("VDD_IN", 5000, 2400), ("VDD_CPU_GPU_CV", 5000, 1100), ("VDD_SOC", 5000, 400))
    return write(root, "sys/class/hwmon/hwmon1", channels)


def thor(root: Path) -> Path:
    """JetPack 7: an INA238 in front of everything, and another one that nobody named."""
    channels = _channels(("VDD_GPU", 12000, 1500), ("VDD_CPU_SOC_MSS", 12000, 700), ("VIN_SYS_5V0", 5000, 1500))
    write(root, "sys/class/hwmon/hwmon5", channels)
    write(root, "sys/class/hwmon/hwmon7", {"name": "ina238", "power1_input": 3_000_000, "in1_input": 5000})
    return write(root, "sys/class/hwmon/hwmon6", {"name": "ina238", "label": "VIN", "power1_input": 41_500_000})


def xavier_nx(root: Path) -> Path:
    """JetPack 4: an iio device."""
    files = {
        "name": "ina3221x",
        "rail_name_0": "VDD_IN", "in_power0_input": 4800,
        "rail_name_1": "VDD_CPU_GPU_CV", "in_power1_input": 1600,
        "rail_name_2": "NC", "in_power2_input": 0,
    }  # fmt: skip
    return write(root, "sys/bus/iio/devices/iio:device0", files)


def rapl(root: Path) -> Path:
    """Two packages with memory, a laptop's psys, and the first package once more by another road."""
    zones = {
        "intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1", "intel-rapl:1:0": "core", "intel-rapl:1:1": "dram",
        "intel-rapl:2": "psys", "intel-rapl-mmio:0": "package-0",
    }  # fmt: skip
    write(root, "sys/class/powercap/intel-rapl", {"enabled": 1})
    for zone, name in zones.items():
        files = {"name": name, "energy_uj": 1_000_000, "max_energy_range_uj": 262_143_328_850}
        write(root, f"sys/class/powercap/{zone}", files)
    return root / "sys/class/powercap"


def heat(root: Path, **zones: int) -> None:
    """Thermal zones, in thousandths of a degree."""
    for number, (name, value) in enumerate(zones.items()):
        write(root, f"sys/class/thermal/thermal_zone{number}", {"type": f"{name}-thermal", "temp": value})
