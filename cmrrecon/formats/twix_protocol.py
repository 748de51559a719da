"""Reads from the protocol in a Siemens twix file how k-space was encoded.

The protocol also contains the patient's name and many other entries. Only the values listed here
are read. All of them are numbers, except the names of the sequence and of coil elements.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cmrrecon.data import Acquisition
from cmrrecon.formats.epi import Ramp
from cmrrecon.formats.names import parse_name
from cmrrecon.formats.readouts import Encoding
from cmrrecon.tools.errors import InputError

REMEDY = "Export the raw data from the scanner again"
LARGEST = 2**16  # lines or samples
# The measurement protocol has lines `name = value`; other parts have parameters `<ParamLong."name">
# { values }`.
LINE = re.compile(rb"^([\w.\[\]]{1,80})[ \t]*=[ \t]*(\S{1,120})", re.MULTILINE)
PARAMETER = re.compile(rb"[^{]{0,40}\{([^{}]{0,4000})\}")
PRECISION = re.compile(rb"<\w+>\s*\d+")
SLICE = "sSliceArray.asSlice[0]"
LINES = (
    f"{SLICE}.dThickness",
    f"{SLICE}.dPhaseFOV",
    f"{SLICE}.dReadoutFOV",
    "sKSpace.lBaseResolution",
    "sKSpace.lPhaseEncodingLines",
    "sKSpace.dPhaseOversamplingForDialog",
    "sKSpace.uc2DInterpolation",
    "sKSpace.ucTrajectory",
    "sPat.ucRefScanMode",
    "sSliceAcceleration.lMultiBandFactor",
    "sPhysioImaging.lSignal1",
    "sProtConsistencyInfo.flNominalB0",
)
RAMP = (
    "alRegridRampupTime",
    "alRegridFlattopTime",
    "alRegridRampdownTime",
    "alRegridDelaySamplesTime",
    "aflRegridADCDuration",
)
CONSTANT, TRAPEZOID = 1, 2  # shapes of a gradient
LONGEST_READOUT, CLOCK = 1e5, 10.0  # us; the scanner rounds times to multiples of CLOCK
PARAMETERS = (
    "flReadoutOSFactor",
    "iNoOfFourierLines",
    "iNoOfFourierColumns",
    "iPEFTLength",
    "NImageLins",
    "NImageCols",
    "alRegridMode",
    *RAMP,
)
RECEIVER, ELEMENT_NAME = "lADCChannelConnected", "sCoilElementID.tElement"
ELEMENT = re.compile(
    r"\w*CoilSelectMeas(?:\[0\])?(?:\.aRxCoilSelectData\[0\])?\.asList\[(\d{1,3})\]\."
    rf"({RECEIVER}|{re.escape(ELEMENT_NAME)})"
)
DWELL, SEQUENCE = "sRXSPEC.alDwellTime", "tSequenceFileName"
CARTESIAN = 1
TRAJECTORIES = {CARTESIAN: "Cartesian", 2: "radial", 4: "spiral", 8: "PROPELLER"}
CALIBRATIONS = {1: "other", 2: "embedded", 4: "separate", 16: "interleaved", 32: "interleaved"}
CALIBRATIONS |= {64: "interleaved"}


@dataclass(frozen=True)
class Protocol:
    """The part of the protocol that is used.

    Attributes
    ----------
    values : dict of str to tuple of float
        Numbers by name, as in `LINES` and `PARAMETERS`; missing and zero values are omitted.
    dwell_us : dict of int to float
        Time between samples in us, by contrast.
    sequence : str or None
        File name of the pulse sequence.
    coils : tuple of str
        Names of the coil elements, in the order in which their samples are stored; empty if not
        known.
    """

    values: dict[str, tuple[float, ...]]
    dwell_us: dict[int, float]
    sequence: str | None
    coils: tuple[str, ...]

    def number(self, name: str, otherwise: float = 0.0) -> float:
        """Return the first number stored under a name."""
        return self.values.get(name, (otherwise,))[0]

    @property
    def gated(self) -> bool:
        """Whether a physiological signal triggered the scan or was recorded with it."""
        return self.number("sPhysioImaging.lSignal1", 1) > 1

    @property
    def oversampling(self) -> tuple[float, float]:
        """Ratio (y, x) of the encoded field of view to the shown one; 1 without oversampling."""
        return (
            max(1.0, 1 + self.number("sKSpace.dPhaseOversamplingForDialog")),
            max(1.0, self.number("flReadoutOSFactor", 1)),
        )

    @property
    def encoded_mm(self) -> tuple[float, float, float] | None:
        """Field of view (y, x, slice) of the encoded images in mm; None if not known."""
        y, x, z = (
            self.number(f"{SLICE}.{name}") for name in ("dPhaseFOV", "dReadoutFOV", "dThickness")
        )
        over_y, over_x = self.oversampling
        return (y * over_y, x * over_x, z) if min(y, x, z) > 0 else None


def read_protocol(document: bytes) -> Protocol:
    """Read the protocol of a measurement, omitting missing and invalid values."""
    values: dict[str, tuple[float, ...]] = {}
    dwell: dict[int, float] = {}
    elements: dict[int, dict[str, str]] = {}
    sequence = None

    for found in LINE.finditer(document, max(0, document.find(b"MeasYaps\0"))):
        name, text = found[1].decode(), found[2].decode("latin1").strip('"')
        if name == SEQUENCE:
            sequence = sequence or re.split(r"[\\/]", text)[-1] or None
        elif name.startswith(DWELL) and (
            index := re.fullmatch(r"\[(\d{1,3})\]", name[len(DWELL) :])
        ):
            dwell.setdefault(int(index[1]), _number(text) / 1000)
        elif element := ELEMENT.fullmatch(name):
            elements.setdefault(int(element[1]), {}).setdefault(element[2], text)
        elif name in LINES and name not in values and _number(text):
            values[name] = (_number(text),)

    for name in PARAMETERS:
        numbers = _parameter(document, name)
        if numbers:
            values[name] = numbers

    return Protocol(values, dwell, sequence, _coils(elements.values()))


def _coils(elements: Iterable[dict[str, str]]) -> tuple[str, ...]:
    """Return the names of coil elements in the order of their receivers."""
    connected = [(_number(each.get(RECEIVER, "")), each.get(ELEMENT_NAME, "")) for each in elements]
    return tuple(name for _, name in sorted(connected) if name)


def _number(text: str) -> float:
    """Parse a decimal or hexadecimal number; return 0 if it is neither or not finite."""
    try:
        value = float(int(text, 16)) if text.lower().startswith("0x") else float(text)
    except (ValueError, OverflowError):
        return 0.0
    return value if math.isfinite(value) else 0.0


def _parameter(document: bytes, name: str) -> tuple[float, ...]:
    """Return the numbers of a parameter at its first occurrence that is not all zero."""
    wanted = f'."{name}">'.encode()
    place = 0
    while (place := document.find(wanted, place)) >= 0:
        place += len(wanted)
        found = PARAMETER.match(document, place)
        words = PRECISION.sub(b"", found[1]).split() if found else []
        if words and any(numbers := tuple(_number(word.decode("latin1")) for word in words)):
            return numbers
    return ()


def acquisition(protocol: Protocol, path: Path) -> Acquisition:
    """Return the facts about the scan in the protocol and the file name."""
    facts = vars(parse_name(path)) | {
        "field_strength": protocol.number("sProtConsistencyInfo.flNominalB0") or None,
        "sequence": protocol.sequence,
    }
    return Acquisition(**facts)


def ramp(protocol: Protocol, path: Path) -> Ramp | None:
    """Return the readout gradient of echo-planar lines; None if it was constant during sampling.

    Raises
    ------
    InputError
        If the gradient is neither constant nor a trapezoid, or if its times are inconsistent
        (`gradient-unknown`).
    """
    shape = protocol.number("alRegridMode", CONSTANT)
    if shape == CONSTANT:
        return None
    up, flat, down, delay, duration = (protocol.values.get(name, (0.0,))[0] for name in RAMP)
    inside = min(up, flat, down, delay) >= 0 < duration < LONGEST_READOUT

    if shape != TRAPEZOID or not inside or delay + duration > up + flat + down + CLOCK:
        raise InputError(
            "gradient-unknown",
            f"{path} has a readout gradient of shape {shape:g} over {duration:g} us",
            "Echo-planar lines need a constant or trapezoidal gradient over the whole readout",
            "Convert the file to ISMRMRD with siemens_to_ismrmrd, or reconstruct it on the scanner",
        )
    return Ramp(up, flat, down, delay, duration)


def encoding(
    protocol: Protocol, needed: tuple[int, int], centre: int | None, echo_planar: bool, path: Path
) -> Encoding:
    """Return the encoding of k-space.

    Parameters
    ----------
    protocol : Protocol
        The protocol of the measurement.
    needed : tuple of int
        (y, x), the smallest matrix that all readouts fit into; it replaces a smaller matrix in the
        protocol.
    centre : int or None
        Line counter at the centre of k-space; None for the middle of the matrix.
    echo_planar : bool
        Whether lines were measured in both directions.
    path : Path
        The file, for messages.

    Returns
    -------
    Encoding
        The encoding.

    Raises
    ------
    InputError
        If the matrix is too large (`header-damaged`), k-space is not Cartesian
        (`trajectory-missing`), or several slices were excited simultaneously
        (`slices-simultaneous`).
    """
    _require_cartesian_slices(protocol, path)
    matrix, (over_y, over_x) = _matrix(protocol, needed), protocol.oversampling

    if max(matrix) >= LARGEST:
        raise InputError(
            "header-damaged",
            f"{path} has an encoded matrix of {matrix[0]} x {matrix[1]} (y, x)",
            f"Both numbers must be less than {LARGEST}",
            REMEDY,
        )

    recon = (int(protocol.number("NImageLins")), int(protocol.number("NImageCols")))
    return Encoding(
        matrix,
        (round(matrix[0] / over_y), round(matrix[1] / over_x)),
        recon if all(0 < n < LARGEST for n in recon) else None,
        protocol.encoded_mm,
        centre,
        None,
        "epi" if echo_planar else "cartesian",
        CALIBRATIONS.get(int(protocol.number("sPat.ucRefScanMode")), ""),
    )


def _require_cartesian_slices(protocol: Protocol, path: Path) -> None:
    """Refuse non-Cartesian k-space and simultaneously excited slices."""
    kind = TRAJECTORIES.get(
        int(protocol.number("sKSpace.ucTrajectory", CARTESIAN)), "another kind of"
    )
    if kind != TRAJECTORIES[CARTESIAN]:
        raise InputError(
            "trajectory-missing",
            f"{path} contains {kind} k-space",
            "Twix files do not contain trajectories, so only Cartesian k-space can be read",
            "Convert it to ISMRMRD with its trajectory, using siemens_to_ismrmrd",
        )

    together = protocol.number("sSliceAcceleration.lMultiBandFactor", 1)
    if together > 1:
        raise InputError(
            "slices-simultaneous",
            f"{path} was measured with {together:g} simultaneously excited slices",
            "Slices must be excited one at a time",
            "Reconstruct it on the scanner",
        )


def _matrix(protocol: Protocol, needed: tuple[int, int]) -> tuple[int, int]:
    """Return the protocol's encoded matrix (y, x), enlarged so that all readouts fit."""
    lines = protocol.number("iPEFTLength") or protocol.number("sKSpace.lPhaseEncodingLines")
    if protocol.number("sKSpace.uc2DInterpolation"):
        lines /= 2
    columns = protocol.number("sKSpace.lBaseResolution") * protocol.oversampling[1]
    return max(round(lines), needed[0]), max(round(columns), needed[1])
