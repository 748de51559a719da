"""Options that several commands share.

Every option can also be set with an environment variable CMRRECON_<OPTION>.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from cmrrecon.cli.choices import complete_devices


def option(*flags: str, help: str, **settings: Any) -> Any:
    """Create a Typer option that can also be set as CMRRECON_ plus its long name."""
    long = next(flag for flag in flags if flag.startswith("--"))
    name = long.split("/")[0].removeprefix("--").replace("-", "_").upper()
    return typer.Option(*flags, help=help, envvar=f"CMRRECON_{name}", show_envvar=False, **settings)


Inputs = Annotated[
    list[str],
    typer.Argument(
        help="Files, folders, quoted globs such as 'data/**/cine_sax.mat', or - for standard "
        "input.",
        show_default=False,
    ),
]
Output = Annotated[
    str | None,
    option(
        "--output",
        "-o",
        help="Output file, or - for standard output; the suffix sets the format.",
        show_default=False,
    ),
]
OutDir = Annotated[
    Path | None,
    option(
        "--out-dir",
        help="Folder for outputs; keeps the folder structure of the inputs.",
        show_default=False,
    ),
]
Axes = Annotated[
    str | None,
    option(
        "--axes",
        help="Axis order of non-standard files as h5py shows it, e.g. x,y,coil.",
        show_default=False,
    ),
]
Dataset = Annotated[
    str | None,
    option(
        "--dataset",
        help="HDF5 group to read from a raw data file with several data sets.",
        show_default="the first with image data",
    ),
]
Device = Annotated[
    str,
    option("--device", help="Device: auto, cpu, cuda or cuda:N.", autocompletion=complete_devices),
]
Shard = Annotated[
    str | None,
    option(
        "--shard",
        help="Process share i of n of the inputs; auto or auto/n in a job array.",
        metavar="I/N",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, option("--overwrite", help="Replace existing outputs.")]
FailFast = Annotated[bool, option("--fail-fast", help="Stop at the first input that fails.")]
DryRun = Annotated[bool, option("--dry-run", help="Show what would be done without doing it.")]
AllowPartial = Annotated[
    bool,
    option(
        "--allow-partial",
        help="Accept references that lack the edges of k-space "
        "(partial Fourier, low resolution, asymmetric echo).",
    ),
]
Workers = Annotated[
    int,
    option(
        "--workers",
        help="Number of scans to process in parallel, as far as memory allows.",
        metavar="N",
        min=1,
    ),
]
Verbose = Annotated[
    bool,
    option("--verbose", "-v", help="Also print trials, weights and other details of each scan."),
]
Quiet = Annotated[bool, option("--quiet", "-q", help="Print only results, warnings and errors.")]
Json = Annotated[bool, option("--json", help="Print one JSON line per result on standard output.")]
