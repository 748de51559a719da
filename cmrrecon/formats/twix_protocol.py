"""The protocol in a Siemens twix file: the few numbers that say how k-space was encoded.

The text holds the patient's name and much else. Only the values named here are taken from it, and
all of them are numbers but the names of the sequence and of coil elements.
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
# `name = value` lines of the measurement protocol, and parameters `<ParamLong."name"> { values }`
# elsewhere.
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
LONGEST_READOUT, CLOCK = 1e5, 10.0  # us: of a line, and what times are rounded to
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
    """What is used of the protocol.

    Attributes
    ----------
    values : name -> its numbers, as in `LINES` and `PARAMETERS`; what is absent or zero is not
        there
    dwell_us : time between samples of each contrast
    sequence : file name of the pulse sequence
    coils : names of the coil elements, in the order in which their samples are stored; empty if not
        known
    """

    values: dict[str, tuple[float, ...]]
    dwell_us: dict[int, float]
    sequence: str | None
    coils: tuple[str, ...]

    def number(self, name: str, otherwise: float = 0.0) -> float:
        """The first number of a name."""
        return self.values.get(name, (otherwise,))[0]

    @property
    def gated(self) -> bool:
        """Whether a physiological signal triggered the scan or was recorded with it."""
        return self.number("sPhysioImaging.lSignal1", 1) > 1

    @property
    def oversampling(self) -> tuple[float, float]:
        """How much wider than the field of view is encoded, (y, x); 1 is not at all."""
        return (
            max(1.0, 1 + self.number("sKSpace.dPhaseOversamplingForDialog")),
            max(1.0, self.number("flReadoutOSFactor", 1)),
        )

    @property
    def encoded_mm(self) -> tuple[float, float, float] | None:
        """The field of view (y, x, slice) of the encoded images; None where the protocol does not
        say."""
        y, x, z = (
            self.number(f"{SLICE}.{name}") for name in ("dPhaseFOV", "dReadoutFOV", "dThickness")
        )
        over_y, over_x = self.oversampling
        return (y * over_y, x * over_x, z) if min(y, x, z) > 0 else None


def read_protocol(document: bytes) -> Protocol:
    """The protocol in the text of a measurement; what is missing or no number is left out."""
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
    """Names of coil elements, by the number of the receiver that each is connected to."""
    connected = [(_number(each.get(RECEIVER, "")), each.get(ELEMENT_NAME, "")) for each in elements]
    return tuple(name for _, name in sorted(connected) if name)


def _number(text: str) -> float:
    """A decimal or hexadecimal number; 0 for anything else and for what is not finite."""
    try:
        value = float(int(text, 16)) if text.lower().startswith("0x") else float(text)
    except (ValueError, OverflowError):
        return 0.0
    return value if math.isfinite(value) else 0.0


def _parameter(document: bytes, name: str) -> tuple[float, ...]:
    """The numbers of a parameter, where it first has any."""
    wanted, place = f'."{name}">'.encode(), 0
    while (place := document.find(wanted, place)) >= 0:
        place += len(wanted)
        found = PARAMETER.match(document, place)
        words = PRECISION.sub(b"", found[1]).split() if found else []
        if words and any(numbers := tuple(_number(word.decode("latin1")) for word in words)):
            return numbers
    return ()


def acquisition(protocol: Protocol, path: Path) -> Acquisition:
    """What the protocol and the name of the file tell of the scan."""
    facts = vars(parse_name(path)) | {
        "field_strength": protocol.number("sProtConsistencyInfo.flNominalB0") or None,
        "sequence": protocol.sequence,
    }
    return Acquisition(**facts)


def ramp(protocol: Protocol, path: Path) -> Ramp | None:
    """How the readout gradient of echo-planar lines was sampled; None if it was constant.

    Raises
    ------
    InputError : `gradient-unknown`, it was neither constant nor a trapezoid, or its times make no
        sense
    """
    shape = protocol.number("alRegridMode", CONSTANT)
    if shape == CONSTANT:
        return None
    up, flat, down, delay, duration = (protocol.values.get(name, (0.0,))[0] for name in RAMP)
    inside = min(up, flat, down, delay) >= 0 < duration < LONGEST_READOUT

    if shape != TRAPEZOID or not inside or delay + duration > up + flat + down + CLOCK:
        raise InputError(
            "gradient-unknown",
            f"{path} was read with a gradient of shape {shape:g} over {duration:g} us",
            "Lines read back and forth need a constant or a trapezoidal gradient that lasts as long",
            "Convert the file to ISMRMRD with siemens_to_ismrmrd, or reconstruct it on the scanner",
        )
    return Ramp(up, flat, down, delay, duration)


def encoding(
    protocol: Protocol, needed: tuple[int, int], centre: int | None, echo_planar: bool, path: Path
) -> Encoding:
    """How k-space was encoded.

    Parameters
    ----------
    protocol : what the text says
    needed : (y, x), the smallest matrix that holds the readouts, which counts where the protocol
        says less
    centre : the line counter at the centre of k-space
    echo_planar : whether lines were read back and forth
    path : for messages

    Raises
    ------
    InputError : `header-damaged`, a matrix out of all proportion; `trajectory-missing`, k-space is
        not Cartesian; `slices-simultaneous`, slices were excited together
    """
    _require_cartesian_slices(protocol, path)
    matrix, (over_y, over_x) = _matrix(protocol, needed), protocol.oversampling

    if max(matrix) >= LARGEST:
        raise InputError(
            "header-damaged",
            f"{path} has an encoded matrix of {matrix[0]} x {matrix[1]} (y, x)",
            f"Both must be less than {LARGEST}",
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
    kind = TRAJECTORIES.get(
        int(protocol.number("sKSpace.ucTrajectory", CARTESIAN)), "another kind of"
    )
    if kind != TRAJECTORIES[CARTESIAN]:
        raise InputError(
            "trajectory-missing",
            f"{path} holds {kind} k-space",
            "Twix files do not say where such samples lie, only Cartesian ones are read",
            "Convert it to ISMRMRD with its trajectory, by siemens_to_ismrmrd",
        )

    together = protocol.number("sSliceAcceleration.lMultiBandFactor", 1)
    if together > 1:
        raise InputError(
            "slices-simultaneous",
            f"{path} was measured with {together:g} slices at a time",
            "Slices must be excited one by one",
            "Reconstruct it on the scanner",
        )


def _matrix(protocol: Protocol, needed: tuple[int, int]) -> tuple[int, int]:
    """The encoded matrix (y, x): that of the protocol where it holds all readouts."""
    lines = protocol.number("iPEFTLength") or protocol.number("sKSpace.lPhaseEncodingLines")
    if protocol.number("sKSpace.uc2DInterpolation"):
        lines /= 2
    columns = protocol.number("sKSpace.lBaseResolution") * protocol.oversampling[1]
    return max(round(lines), needed[0]), max(round(columns), needed[1])
