"""The options that several commands share.

Every option can also be set as CMRRECON_<OPTION> in the environment.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from cmrrecon.cli.choices import complete_devices


def option(*flags: str, help: str, **settings: Any) -> Any:
    """A Typer option whose environment variable is CMRRECON_ and its long name."""
    long = next(flag for flag in flags if flag.startswith("--"))
    name = long.split("/")[0].removeprefix("--").replace("-", "_").upper()
    return typer.Option(*flags, help=help, envvar=f"CMRRECON_{name}", show_envvar=False, **settings)


Inputs = Annotated[
    list[str],
    typer.Argument(
        help="Files, folders, quoted globs like 'data/**/cine_sax.mat', or - for standard input.",
        show_default=False,
    ),
]
Output = Annotated[
    str | None,
    option(
        "--output",
        "-o",
        help="Output file; its suffix sets the format; - writes to standard output.",
        show_default=False,
    ),
]
OutDir = Annotated[
    Path | None,
    option(
        "--out-dir", help="Folder for outputs; keeps the tree of input folders.", show_default=False
    ),
]
Axes = Annotated[
    str | None,
    option(
        "--axes",
        help="Axis order of unusual files, as h5py shows it, e.g. x,y,coil.",
        show_default=False,
    ),
]
Dataset = Annotated[
    str | None,
    option(
        "--dataset",
        help="Data set (HDF5 group) to read from a raw data file with several.",
        show_default="the first with image data",
    ),
]
Device = Annotated[
    str,
    option("--device", help="auto, cpu, cuda or cuda:N.", autocompletion=complete_devices),
]
Shard = Annotated[
    str | None,
    option(
        "--shard",
        help="Do part i of n: i/n; auto or auto/n in a job array.",
        metavar="I/N",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, option("--overwrite", help="Make existing outputs again.")]
FailFast = Annotated[bool, option("--fail-fast", help="Stop at the first input that fails.")]
DryRun = Annotated[bool, option("--dry-run", help="Print what would be done, and do nothing.")]
AllowPartial = Annotated[
    bool,
    option(
        "--allow-partial",
        help="Accept references without the edges of k-space "
        "(partial Fourier, low resolution, asymmetric echo).",
    ),
]
Workers = Annotated[
    int,
    option(
        "--workers",
        help="Processes that work side by side, as far as memory allows.",
        metavar="N",
        min=1,
    ),
]
Verbose = Annotated[
    bool,
    option("--verbose", "-v", help="Print trials, weights and other details of each scan."),
]
Quiet = Annotated[bool, option("--quiet", "-q", help="Print only warnings and errors.")]
Json = Annotated[bool, option("--json", help="Print one JSON line a result on standard output.")]
