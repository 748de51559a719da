#!/usr/bin/env bash
# dcm2niix states the repetition time as the time step of a cardiac cine, although the files state
# the time between frames.
#
# Versions: dcm2niix 1.0.20260724, pydicom 3.0.2, nibabel 5.4.2, numpy 2.4.6 (PyPI).
# Method: write MR images of a single-slice cine with four frames, a repetition time of 3 ms and
#   40 ms between frames (temporal resolution, temporal positions and trigger times), and convert
#   them to NIfTI. Repeat with a repetition time of 40 ms.
# Observation: the time step is 0.003 s in the first case and 0.04 s in the second, without a
#   warning about time. That follows the convention for functional MRI, where one repetition is one
#   volume; in a cine, many repetitions make a frame.
# Conclusion: set the time step of a converted cine from its trigger times.
#
# Requirements: bash, python3 with venv. All files are written to a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet dcm2niix==1.0.20260724 pydicom==3.0.2 nibabel==5.4.2 numpy==2.4.6

cat > convert.py <<'PY'
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR = "1.2.840.10008.5.1.4.1.1.4"


def image(uids, number, position, frame, frames, repetition_ms):
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = MR
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = uids
    made.PatientName = "Anonymous"
    made.PatientID = made.PatientBirthDate = made.PatientSex = ""
    made.StudyDate = made.StudyTime = made.StudyID = made.AccessionNumber = ""
    made.ReferringPhysicianName = made.PositionReferenceIndicator = made.Laterality = ""
    made.ImageType = ["DERIVED", "PRIMARY", "OTHER"]
    made.Modality, made.Manufacturer, made.ProtocolName = "MR", "test", "cine"
    made.PatientPosition = "HFS"
    made.SeriesNumber = made.AcquisitionNumber = 1
    made.InstanceNumber = number
    made.ScanningSequence, made.SequenceVariant, made.ScanOptions = "GR", "SS", "CG"
    made.MRAcquisitionType = "2D"
    made.EchoTime, made.RepetitionTime, made.EchoTrainLength = 1, repetition_ms, 1
    made.TriggerTime = 40 * frame
    if frames > 1:
        made.TemporalPositionIdentifier, made.NumberOfTemporalPositions = frame + 1, frames
        made.TemporalResolution = 40
    made.SliceThickness, made.PixelSpacing = 8, [1.5, 1.5]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.ImagePositionPatient = [-20, -30, position]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = 6, 8
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.PixelData = np.full((6, 8), number, "<u2").tobytes()
    return made


def converted(name, positions, frames, repetition_ms):
    source, target = Path(name), Path(f"{name}-nifti")
    source.mkdir()
    target.mkdir()
    uids = [generate_uid() for _ in range(3)]
    places = [(frame, position) for frame in range(frames) for position in positions]
    for number, (frame, position) in enumerate(places, 1):
        made = image(uids, number, position, frame, frames, repetition_ms)
        made.save_as(source / f"{number}.dcm", enforce_file_format=True)

    command = ["env/bin/dcm2niix", "-z", "n", "-b", "n", "-f", "made", "-o", target, source]
    ended = subprocess.run(command, capture_output=True, text=True)
    return ended.returncode, ended.stdout + ended.stderr, nibabel.load(target / "made.nii")


steps = []
for repetition_ms in (3, 40):
    status, messages, made = converted(f"tr-{repetition_ms}", [0], 4, repetition_ms)
    steps.append(round(float(made.header["pixdim"][4]), 6))
    notes = [line for line in messages.splitlines() if "Warning" in line]
    print(f"repetition time {repetition_ms} ms, frames 40 ms apart: time step {steps[-1]} s")
    print(f"  exit status {status}, shape {made.shape}, {notes}")
    timed = any("time" in note.lower() or "TR" in note for note in notes)
    if status or made.shape != (8, 6, 1, 4) or timed:
        sys.exit("the observation has changed")
sys.exit(0 if steps == [0.003, 0.04] else "the observation has changed")
PY
env/bin/python convert.py
