"""The machine of a run, and how busy it was."""

import dataclasses
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "calib_jax",
    "jax",
    "jaxlib",
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "netcal",
    "probmetrics",
    "torch-uncertainty",
    "cleanlab",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine of a run.

    Attributes:
      processor: model name.
      cores: number that this process may use.
      memory: bytes.
      system: operating system and Python.
      versions: versions of installed packages, by name.
      absent: packages that are not installed.
      flags: XLA flags from the environment.
      load: average number of running processes, before and after; empty if unknown.
      steal: share of the time that the host gave to other machines; None if unknown.
    """

    processor: str
    cores: int
    memory: int | None
    system: str
    versions: Mapping[str, str]
    absent: Sequence[str]
    flags: str
    load: Sequence[float]
    steal: float | None


class Watch:
    """Records the load of the machine from now on."""

    def __init__(self) -> None:
        self._load, self._times = _load(), _times()

    def finish(self) -> Machine:
        """The machine, and its load since the start."""
        versions, absent = {}, []
        for package in _PACKAGES:
            try:
                versions[package] = version(package)
            except PackageNotFoundError:
                absent.append(package)
        before, after = self._times, _times()
        steal = None
        if len(before) > 7 and len(after) > 7:
            # Guest times, from the ninth on, are already part of the others.
            passed = sum(after[:8]) - sum(before[:8])
            steal = (after[7] - before[7]) / passed if passed else 0.0
        return Machine(
            processor=_processor(),
            cores=_cores(),
            memory=_memory(),
            system=f"{platform.system()}, Python {platform.python_version()}",
            versions=versions,
            absent=absent,
            flags=os.environ.get("XLA_FLAGS", ""),
            load=(*self._load, *_load()),
            steal=steal,
        )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _processor() -> str:
    fields: dict[str, str] = {}
    for line in _lines("/proc/cpuinfo"):
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or platform.processor() or platform.machine()
    wide = "avx512f" in fields.get("flags", "").split()
    return f"{name} with AVX-512" if wide else name


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int | None:
    lines = _lines("/proc/meminfo")
    found = (line.split()[1] for line in lines if line.startswith("MemTotal:"))
    kilobytes = next(found, None)
    return None if kilobytes is None else int(kilobytes) * 1024


def _load() -> tuple[float, ...]:
    try:
        return os.getloadavg()[:1]
    except (AttributeError, OSError):
        return ()


def _times() -> list[int]:
    """Ticks of user, nice, system, idle, iowait, irq, softirq, steal, ... time."""
    lines = _lines("/proc/stat")
    return [int(field) for field in lines[0].split()[1:]] if lines else []
