#!/usr/bin/env bash
# If a DICOM time series has unequal distances between slices, dcm2niix writes one constant spacing
# without a warning. For the same slices at a single time point it warns and fails.
#
# Versions: dcm2niix 1.0.20260724, pydicom 3.0.2, nibabel 5.4.2, numpy 2.4.6 (PyPI).
# Method: write MR images of four slices at 0, 10, 20 and 50 mm, once with one time point and once
#   with four (cine, with trigger times and temporal positions), and convert both to NIfTI.
# Observation: with one time point, dcm2niix warns that the distance varies and exits with 1. With
#   four, it exits with 0, does not mention distances and states 10 mm throughout, so that the last
#   slice is 20 mm from where it belongs.
# Conclusion: check the positions of slices before converting a time series.
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


POSITIONS = [0, 10, 20, 50]
seen = {}
for frames in (1, 4):
    status, messages, made = converted(f"frames-{frames}", POSITIONS, frames, 40)
    warned = "distance" in messages
    values = np.asarray(made.dataobj)[0, 0].reshape(4, -1)[:, 0].tolist()
    stated = [float(z) for z in made.affine[2, 2] * np.arange(4) + made.affine[2, 3]]
    print(f"time points {frames}: exit status {status}, warned {warned}, shape {made.shape}")
    print(f"  slices {values} stated at {stated} mm, acquired at {POSITIONS} mm")
    seen[frames] = status, warned, values, stated
good = seen[1][:2] == (1, True) and seen[4] == (0, False, [1, 2, 3, 4], [0.0, 10.0, 20.0, 30.0])
sys.exit(0 if good else "the observation has changed")
PY
env/bin/python convert.py
