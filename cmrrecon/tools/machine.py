"""Memory and cores of the machine that the process runs on."""

import os
import resource
import sys
from pathlib import Path

# Files that contain the memory limit of a container or of a cluster job.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def peak_memory_mb() -> int:
    """Return the peak resident memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (
        1024 if sys.platform != "darwin" else 1024 * 1024
    )


def machine_memory() -> int:
    """Return the bytes of main memory that this process may use, container limits included."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, LIMITS):
        text = path.read_text().strip() if path.is_file() else ""
        found += [int(text)] if text.isdigit() else []
    return min(found)


def available_cores() -> int:
    """Return the number of cores this process may use, which is all if the system sets no limit."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def available_memory() -> int:
    """Return the bytes of main memory that are free now, within the limit of the container."""
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if meminfo.is_file() else []
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return min([*free, machine_memory()])
