"""DICOM files of images, read back with pydicom."""

import copy
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from placed_images import X, Y, geometry, images_of, result_of, standard, turned
from refusals import refused

from cmrrecon import formats
from cmrrecon.formats import dicom, dicom_text
from cmrrecon.formats.export import Export

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
UIDS = (
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
)


def read(folder):
    """All instances of a folder, in the order of their numbers."""
    found = [pydicom.dcmread(path) for path in folder.iterdir()]
    return sorted(found, key=lambda instance: instance.InstanceNumber)


def saved(result, folder, **options):
    """The instances of a result saved as DICOM, or the one Enhanced MR file."""
    path, *_ = result.save(folder / "a.dcm", **options)
    return pydicom.dcmread(path) if options.get("enhanced") else read(path)


def test_there_is_one_instance_per_slice_and_frame(tmp_path):
    made = saved(standard(), tmp_path)
    assert len(made) == 6
    assert [one.InstanceNumber for one in made] == list(range(1, 7))
    assert [one.TemporalPositionIdentifier for one in made] == [1, 2] * 3
    assert [one.TriggerTime for one in made] == [12, 52] * 3
    first = made[0]
    assert first.SOPClassUID == pydicom.uid.MRImageStorage
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID
    assert list(first.ImageType) == ["DERIVED", "SECONDARY", "OTHER", "M"]
    assert (first.NumberOfTemporalPositions, first.TemporalResolution) == (2, 40)
    assert len({one.SOPInstanceUID for one in made}) == 6
    assert len({one.SeriesInstanceUID for one in made}) == 1


def test_pixels_are_at_their_place_in_the_patient(tmp_path):
    known = geometry(2, 3, turned())
    for number, one in enumerate(saved(result_of(known), tmp_path)):
        row, column = np.split(np.array(one.ImageOrientationPatient, float), 2)
        rows, columns = map(float, one.PixelSpacing)
        position = np.array(one.ImagePositionPatient, float)
        there = position + Y // 2 * rows * column + X // 2 * columns * row
        assert np.allclose(there, known.positions_mm[number // 2])
        assert np.allclose(row, known.directions[0][1])
        assert (rows, columns, one.SliceThickness) == (1.5, 2.0, 8.0)
        assert one.SpacingBetweenSlices == pytest.approx(8)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_values_are_kept_within_half_a_step(scale, tmp_path):
    known = geometry(2, 3, turned())
    images = [image * scale for image in images_of(known)]
    for number, one in enumerate(saved(result_of(known, images), tmp_path)):
        slope = float(one.RescaleSlope)
        values = one.pixel_array * slope + float(one.RescaleIntercept)
        expected = images[number // 2][number % 2].numpy()
        assert np.abs(values - expected).max() <= 0.501 * slope
        assert slope == pytest.approx(max(float(i.max()) for i in images) / 65535)


def test_an_image_of_zeros_can_be_written(tmp_path):
    made = saved(result_of(geometry(1, 1, turned()), [torch.zeros(1, Y, X)]), tmp_path)
    assert not made[0].pixel_array.any()


def test_the_phase_is_in_radians(tmp_path):
    images = [torch.randn(2, Y, X, dtype=torch.complex64) for _ in range(3)]
    made = result_of(geometry(2, 3, turned()), images)
    main, beside = made.save(tmp_path / "a.dcm", also="phase")
    assert beside == tmp_path / "a_phase.dcm"
    magnitude, phase = read(main)[0], read(beside)[0]
    slope, low = float(phase.RescaleSlope), float(phase.RescaleIntercept)
    values = phase.pixel_array * slope + low
    assert np.abs(values - images[0][0].angle().numpy()).max() <= 0.501 * slope
    assert list(phase.ImageType) == ["DERIVED", "SECONDARY", "PHASE MAP", "P"]
    assert phase.StudyInstanceUID == magnitude.StudyInstanceUID
    assert phase.SeriesInstanceUID != magnitude.SeriesInstanceUID
    assert phase.SOPInstanceUID != magnitude.SOPInstanceUID


def identifiers(result, folder, **options):
    made = saved(result, folder, **options)
    one = made if options.get("enhanced") else made[0]
    return {name: one[name].value for name in UIDS}


def test_identifiers_are_those_of_input_and_settings(tmp_path):
    first = identifiers(standard(), tmp_path / "0")
    assert identifiers(standard(), tmp_path / "1") == first
    assert all(re.fullmatch(r"2\.25\.[1-9]\d{0,38}", uid) for uid in first.values())

    known = geometry(2, 3, turned())
    changes = {
        "method": (result_of(known, method="sense", inputs=("a" * 64,)), {}),
        "enhanced": (standard(), {"enhanced": True}),
        "voxel": (standard(), {"voxel_mm": (1.5, 2.0, 8.0)}),
    }
    for name, (result, options) in changes.items():
        other = identifiers(result, tmp_path / name, **options)
        assert other["SOPInstanceUID"] != first["SOPInstanceUID"], name
        assert other["SeriesInstanceUID"] != first["SeriesInstanceUID"], name
        assert other["StudyInstanceUID"] == first["StudyInstanceUID"], name

    others = (
        identifiers(result_of(known, inputs=("b" * 64,)), tmp_path / "input"),
        identifiers(standard(), tmp_path / "patient", patient_id="P001"),
    )
    for other in others:
        assert not set(other.values()) & set(first.values())


def test_identifiers_without_files_are_those_of_the_images(tmp_path):
    known = geometry(2, 3, turned())
    first = identifiers(result_of(known), tmp_path / "a")
    assert identifiers(result_of(known), tmp_path / "b") == first
    other = [image + 1 for image in images_of(known)]
    changed = identifiers(result_of(known, other), tmp_path / "c")
    assert not set(changed.values()) & set(first.values())


@pytest.mark.parametrize("enhanced", [False, True])
def test_files_are_anonymous_unless_a_patient_is_named(enhanced, tmp_path):
    """No name of a file, which may be that of a patient, is in any byte."""
    known = geometry(2, 3, turned())
    private = {"subject": "JOHN", "base": "SMITH", "vendor": "HOSPITAL", "sequence": "SMITHS"}
    result = result_of(known, inputs=("a" * 64,), **private)
    result = replace(result, provenance={**result.provenance, "run": "SMITH", "more": "JOHN"})
    made = saved(result, tmp_path, enhanced=enhanced)
    one = made if enhanced else made[0]
    assert (one.PatientName, one.PatientID, one.PatientBirthDate) == ("Anonymous", "", "")
    assert one.PatientIdentityRemoved == "YES"
    files = [tmp_path / "a.dcm"] if enhanced else list((tmp_path / "a.dcm").iterdir())
    for path in files:
        content = path.read_bytes().upper()
        assert not any(word in content for word in (b"SMITH", b"JOHN", b"HOSPITAL"))

    named = saved(result, tmp_path / "named", enhanced=enhanced, patient_id="Käthe 1")
    one = named if enhanced else named[0]
    assert (one.PatientName, one.PatientID) == ("Käthe 1", "Käthe 1")
    assert "PatientIdentityRemoved" not in one


def test_purpose_and_settings_are_stated_within_the_lengths_of_their_type(tmp_path):
    result = standard()
    config = {**result.provenance["config"], "options": {"long": "x" * 20000, "path": "a\\b"}}
    long = replace(result, provenance={**result.provenance, "config": config})
    for made in (saved(result, tmp_path / "a")[0], saved(long, tmp_path / "b")[0]):
        for name, most in (("ImageComments", 10240), ("DerivationDescription", 1024)):
            assert "not for diagnosis" in made[name].value
            assert '"method": "auto"' in made[name].value
            assert len(made[name].value) <= most
        assert len(made.SeriesDescription) <= 64
        assert made.MagneticFieldStrength == 1.5
    assert dicom_text.shortened("a\\b" + "c" * 9, 8) == "a/bcc..."


def test_enhanced_has_the_same_pixels_and_places(tmp_path):
    classic = saved(standard(), tmp_path / "c")
    made = saved(standard(), tmp_path / "e", enhanced=True)
    assert made.SOPClassUID == pydicom.uid.EnhancedMRImageStorage
    assert list(made.ImageType) == ["DERIVED", "PRIMARY", "CARDIAC", "NONE"]
    assert (made.NumberOfFrames, made.ContentQualification) == (6, "RESEARCH")
    shared = made.SharedFunctionalGroupsSequence[0]
    value = shared.PixelValueTransformationSequence[0]
    assert value.RescaleSlope == classic[0].RescaleSlope

    for number, groups in enumerate(made.PerFrameFunctionalGroupsSequence):
        frame, slice_ = divmod(number, 3)
        one = classic[slice_ * 2 + frame]
        content = groups.FrameContentSequence[0]
        assert content.DimensionIndexValues == [1, slice_ + 1, frame + 1]
        assert (made.pixel_array[number] == one.pixel_array).all()
        assert groups.PlanePositionSequence[0].ImagePositionPatient == one.ImagePositionPatient
        orientation = groups.PlaneOrientationSequence[0].ImageOrientationPatient
        assert orientation == one.ImageOrientationPatient
        offset = groups.TemporalPositionSequence[0].TemporalPositionTimeOffset
        assert offset == pytest.approx(0.04 * frame)
        delay = groups.CardiacSynchronizationSequence[0].NominalCardiacTriggerDelayTime
        assert delay == one.TriggerTime


@pytest.mark.parametrize("enhanced", [False, True])
def test_provenance_is_read_back_without_names(enhanced, tmp_path):
    made = standard()
    made.save(tmp_path / "a.dcm", enhanced=enhanced)
    kept = formats.read_provenance(tmp_path / "a.dcm")
    expected = {**made.provenance, **({"export": {"enhanced": True}} if enhanced else {})}
    assert kept == dicom_text.nameless(expected)
    assert kept["inputs"] == [{"sha256": "a" * 64}]
    assert formats.read_geometry(tmp_path / "a.dcm") == made.geometry


def test_an_incomplete_folder_is_damaged(tmp_path):
    standard().save(tmp_path / "a.dcm")
    (tmp_path / "a.dcm/slice002_frame0001.dcm").unlink()
    with refused("file-damaged"):
        formats.read_provenance(tmp_path / "a.dcm")
    standard().save(tmp_path / "a.dcm")
    assert formats.read_provenance(tmp_path / "a.dcm") is not None


@pytest.mark.parametrize("name", ["other.dcm", "slice001_frame0001.dcm", "notes.txt", "folder/"])
def test_a_folder_with_other_files_is_never_replaced(name, tmp_path):
    folder = tmp_path / "a.dcm"
    standard().save(folder)
    (folder / name).mkdir() if name.endswith("/") else (folder / name).write_bytes(b"mine")
    before = sorted(path.name for path in folder.iterdir())
    for enhanced in (False, True):
        with refused("output-foreign"):
            standard().save(folder, enhanced=enhanced)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_images_of_other_programs_are_never_replaced(tmp_path):
    standard().save(tmp_path / "a.dcm")
    for path in (tmp_path / "a.dcm").iterdir():
        foreign = pydicom.dcmread(path)
        del foreign[0x00110010], foreign[0x00111001]
        foreign.save_as(path)
    with refused("output-foreign"):
        standard().save(tmp_path / "a.dcm")
    assert formats.read_provenance(tmp_path / "a.dcm") is None


def test_one_kind_of_file_replaces_the_other(tmp_path):
    path = tmp_path / "a.dcm"
    for enhanced in (False, True, False):
        standard().save(path, enhanced=enhanced)
        assert path.is_file() == enhanced
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.dcm"]


@pytest.mark.parametrize("enhanced", [False, True])
def test_images_with_nan_are_refused_and_nothing_is_written(enhanced, tmp_path):
    images = images_of(geometry(2, 3, turned()))
    images[1][0, 0, 0] = float("nan")
    with refused("result-not-finite"):
        result_of(geometry(2, 3, turned()), images).save(tmp_path / "a.dcm", enhanced=enhanced)
    assert not list(tmp_path.iterdir())


def test_slices_in_any_direction_can_be_written(tmp_path):
    known = geometry(1, 3, turned())
    tilted = replace(
        known, directions=(*known.directions[:2], geometry(1, 1, np.eye(3)).directions[0])
    )
    made = saved(result_of(tilted), tmp_path)
    assert "SpacingBetweenSlices" not in made[0]
    assert made[0].ImageOrientationPatient != made[2].ImageOrientationPatient


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"patient_id": ""}, "option-value"),
        ({"patient_id": "x" * 65}, "option-value"),
        ({"patient_id": "a\\b"}, "option-value"),
        ({"patient_id": "a\nb"}, "option-value"),
        ({"voxel_mm": (1.0, 2.0)}, "option-value"),
        ({"voxel_mm": (1.0, 2.0, 0.0)}, "option-value"),
        ({"voxel_mm": (1.0, 2.0, float("nan"))}, "option-value"),
        ({"voxel_mm": "1,2,8"}, "option-value"),
        ({"also": "real"}, "option-value"),
        ({"also": "complex"}, "options-conflict"),
    ],
)
def test_options_that_cannot_be_stored_are_refused(options, code, tmp_path):
    with refused(code) as error:
        standard().save(tmp_path / "a.dcm", **options)
    identifier = options.get("patient_id")
    assert not identifier or identifier not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"patient_id": "P1"}, "a.nii"),
        ({"enhanced": True}, "a.nii.gz"),
        ({"also": "phase"}, "a.h5"),
        ({"voxel_mm": (1.0, 1.0, 1.0)}, "a.mat"),
    ],
)
def test_options_of_other_formats_are_refused(options, name, tmp_path):
    with refused("options-conflict"):
        standard().save(tmp_path / name, **options)


@pytest.mark.parametrize(("package", "name"), [("pydicom", "a.dcm"), ("nibabel", "a.nii")])
def test_a_missing_package_is_named(package, name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with refused("package-missing"):
        standard().save(tmp_path / name)


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom, "LARGEST", 1000)
    with refused("array-too-large"):
        standard().save(tmp_path / "a.dcm", enhanced=True)


def test_damaged_files_are_refused_or_have_no_provenance(tmp_path):
    """Whatever byte is wrong, no other error escapes."""
    standard(1, 1).save(tmp_path / "a.dcm", enhanced=True)
    whole = (tmp_path / "a.dcm").read_bytes()
    damaged = tmp_path / "damaged.dcm"
    outcomes = set()
    for at in range(132, 900, 13):
        for changed in (b"\xff", b"\x00"):
            damaged.write_bytes(whole[:at] + changed + whole[at + 1 :])
            outcomes.add(outcome(damaged))
        damaged.write_bytes(whole[:at])
        outcomes.add(outcome(damaged))
    assert "file-damaged" in outcomes
    assert outcomes <= {"file-damaged", "provenance-damaged", "none", "read"}


def outcome(path):
    try:
        return "none" if formats.read_provenance(path) is None else "read"
    except formats.reading.InputError as error:
        return error.code


def test_options_are_recorded_without_the_name_of_the_patient():
    record = Export((1.5, 2.0, 8.0), "phase", True, "P001").record()
    assert record["voxel_mm"] == [1.5, 2.0, 8.0]
    assert (record["also"], record["enhanced"]) == ("phase", True)
    assert "P001" not in str(record)
    assert record["patient_id"] != Export(patient_id="P002").record()["patient_id"]
    assert Export().record() == {}
    assert copy.copy(Export()) == Export()
