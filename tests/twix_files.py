"""Siemens twix files for tests: measurements of single readouts.

They are laid out as software VB or VD writes them.
"""

import struct

import numpy as np

COUNTERS = (
    *("Lin", "Ave", "Sli", "Par", "Eco", "Phs", "Rep", "Set", "Seg"),
    *("Ida", "Idb", "Idc", "Idd", "Ide"),
)
START = [(name, "<u4") for name in ("length", "uid", "scan", "time", "trigger")]
BODY = [
    ("mask", "<u8"),
    ("samples", "<u2"),
    ("coils", "<u2"),
    ("counters", [(name, "<u2") for name in COUNTERS]),
    ("cut", "<u2", 2),
    ("column", "<u2"),
    ("coil", "<u2"),
    ("offcentre", "<f4"),
    ("since", "<u4"),
    ("line", "<u2"),
    ("partition", "<u2"),
]
PLACE = [("position", "<f4", 3), ("quaternion", "<f4", 4)]
VD = np.dtype([*START, ("table", "u1", 20), *BODY, *PLACE, ("rest", "u1", 64)])
VB = np.dtype([*START, *BODY, ("ice", "u1", 16), *PLACE, ("rest", "u1", 4)])
END, FEEDBACK, NAVIGATOR, REFERENCE, REFERENCE_AND_IMAGE, REVERSE, NOISE = (
    1 << bit for bit in (0, 1, 21, 22, 23, 24, 25)
)
PATIENT = "Doe^Jane"
# Transversal, phase encoding to the back, readout to the right: the quaternion of a file of a
# scanner.
QUATERNION = (0.70710678, 0.0, 0.0, 0.70710678)
LINES = {
    "tSequenceFileName": '"%SiemensSeq%\\trufi"',
    "sProtConsistencyInfo.flNominalB0": 1.494,
    "sRXSPEC.alDwellTime[0]": 5000,
    "sSliceArray.asSlice[0].dThickness": 8,
    "sSliceArray.asSlice[0].dPhaseFOV": 160,
    "sSliceArray.asSlice[0].dReadoutFOV": 120,
    "sKSpace.lBaseResolution": 6,
    "sKSpace.lPhaseEncodingLines": 8,
    "sKSpace.ucTrajectory": "0x1",
    "sPhysioImaging.lSignal1": "0x2",
}
PARAMETERS = {"flReadoutOSFactor": "<Precision> 6 2.0", "NImageLins": "8", "NImageCols": "6"}


def protocol(lines=(), parameters=()):
    """The text of a protocol, with some lines or parameters changed; None removes one."""
    changed, more = LINES | dict(lines), PARAMETERS | dict(parameters)
    texts = [f'<ParamString."tPatientName"> {{ "{PATIENT}" }}']
    texts += [f'<ParamDouble."{name}"> {{ {value} }}' for name, value in more.items()]
    texts += ["### ASCCONV BEGIN ###", f'tPatientName = "{PATIENT}"']
    texts += [f"{name}\t = \t{value}" for name, value in changed.items() if value is not None]
    return "\n".join([*texts, "### ASCCONV END ###\n"]).encode("latin1")


def row(samples, mask=0, line=4, column=None, cut=(0, 0), vb=False, **facts):
    """One readout: samples (coil, n) complex. `line` and `column` are the centre of k-space."""
    header = np.zeros(1, VB if vb else VD)
    coils, n = samples.shape
    block = np.zeros((coils, (128 if vb else 32) + 8 * n), "u1")
    header["length"] = (0 if vb else 192) + block.size
    header["mask"], header["samples"], header["coils"], header["cut"] = mask, n, coils, cut
    header["line"], header["column"] = line, n // 2 if column is None else column
    header["quaternion"] = QUATERNION
    for name, value in facts.items():
        (header["counters"] if name in COUNTERS else header)[name] = value
    if vb:
        block[:, :128] = header.view("u1")
    block[:, -8 * n :] = np.ascontiguousarray(samples, "<c8").view("u1").reshape(coils, -1)
    return (b"" if vb else header.tobytes()) + block.tobytes()


def measurement(rows, text=None, vb=False, end=True):
    """The bytes of a protocol and readouts."""
    text = protocol() if text is None else text
    name = b"MeasYaps\0"
    text = text.ljust(12000 if vb else len(text))
    length = -(-(8 + len(name) + 4 + len(text)) // 32) * 32
    head = struct.pack("<II", length, 1) + name + struct.pack("<I", len(text)) + text
    tail = np.zeros(1, VB if vb else VD)
    tail["mask"], tail["length"] = END, tail.itemsize
    return head.ljust(length, b"\0") + b"".join(rows) + (tail.tobytes() if end else b"")


def write(path, *measurements, vb=False):
    """A file of measurements, the bytes of each given."""
    if vb:
        path.write_bytes(measurements[0])
        return path
    head, offset = struct.pack("<II", 0, len(measurements)), 10240
    for number, content in enumerate(measurements):
        name = PATIENT.encode().ljust(64, b"\0") + b"scan".ljust(64, b"\0")
        head += struct.pack("<IIQQ", number, number, offset, len(content)) + name
        offset += len(content)
    path.write_bytes(head.ljust(10240, b"\0") + b"".join(measurements))
    return path
