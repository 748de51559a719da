"""The XML header of ISMRMRD raw data: encoding, scanner and sequence."""

from pathlib import Path

import pytest
from ismrmrd_files import header
from refusals import refused

from cmrrecon.formats.ismrmrd_header import read_header

NAMES = (
    "<subjectInformation><patientName>Doe</patientName></subjectInformation>"
    "<studyInformation><studyDescription>Doe heart</studyDescription></studyInformation>"
    "<measurementInformation><protocolName>Doe cine</protocolName>"
    "<sequenceName>bSSFP\u0007\n</sequenceName></measurementInformation>"
)


def parsed(**more):
    return read_header(header(**more).encode(), Path("raw.h5"))


def system(fields="", conditions=""):
    return (
        f"<acquisitionSystemInformation>{fields}</acquisitionSystemInformation>"
        f"<experimentalConditions>{conditions}</experimentalConditions>"
    )


def test_the_encoding_has_matrix_centre_fields_of_view_and_calibration():
    (found,) = parsed(calibration="Embedded", trajectory=" Cartesian ").encodings
    assert found.matrix == (8, 12)
    assert found.image == (8, 6)
    assert found.recon_matrix == (8, 6)
    assert found.field_of_view_mm == (320.0, 720.0, 8.0)
    assert found.centre == 4
    assert found.limits is None
    assert found.trajectory == "cartesian"
    assert found.calibration == "embedded"


def test_the_field_of_view_may_be_smaller_along_both_axes():
    (found,) = parsed(fields=(720, 320, 360, 160)).encodings
    assert found.image == (4, 6)


@pytest.mark.parametrize("field", ["fieldOfView_mm", "reconSpace", "encodingLimits", "trajectory"])
def test_all_but_the_matrix_may_be_missing(field):
    (found,) = read_header(header().replace(field, "other").encode(), Path("raw.h5")).encodings
    assert found.matrix == (8, 12)
    if field in ("fieldOfView_mm", "reconSpace"):
        assert found.image == (8, 12)
    if field == "fieldOfView_mm":
        assert found.field_of_view_mm is None
    if field == "encodingLimits":
        assert found.centre is None


def test_a_field_of_view_of_zero_counts_as_unknown():
    (found,) = parsed(fields=(0, 0, 0, 0)).encodings
    assert found.field_of_view_mm is None
    assert found.image == (8, 12)


@pytest.mark.parametrize(
    ("fields", "conditions", "tesla"),
    [
        ("<systemFieldStrength_T>2.8936</systemFieldStrength_T>", "", 2.8936),
        ("", "<H1resonanceFrequency_Hz>63866217</H1resonanceFrequency_Hz>", 1.5),
        ("", "<H1resonanceFrequency_Hz>1</H1resonanceFrequency_Hz>", None),
        ("<systemFieldStrength_T>0</systemFieldStrength_T>", "", None),
        ("", "", None),
    ],
)
def test_the_field_strength_is_given_or_follows_from_the_frequency(fields, conditions, tesla):
    found = parsed(more=system(fields, conditions)).field_strength
    assert found == (None if tesla is None else pytest.approx(tesla, abs=1e-4))


@pytest.mark.parametrize(("text", "bandwidth"), [("0.793", 0.793), ("0", 1.0), ("7", 1.0)])
def test_the_noise_bandwidth_is_a_fraction_of_the_band(text, bandwidth):
    name = "relativeReceiverNoiseBandwidth"
    assert parsed(more=system(f"<{name}>{text}</{name}>")).noise_bandwidth == bandwidth
    assert parsed().noise_bandwidth == 1.0


def test_the_sequence_is_read_from_fields_of_the_sequence_only():
    assert parsed(more=NAMES.replace("\u0007", "")).sequence == "bSSFP"
    kind = "<sequenceParameters><sequence_type>TrueFISP</sequence_type></sequenceParameters>"
    assert parsed(more=NAMES.replace("\u0007", "") + kind).sequence == "TrueFISP"
    assert (
        parsed(more=NAMES.split("<sequenceName>")[0] + "</measurementInformation>").sequence is None
    )


def test_long_names_are_cut_and_invalid_numbers_refused():
    long = f"<sequenceParameters><sequence_type>{'s' * 500}</sequence_type></sequenceParameters>"
    assert parsed(more=long).sequence == "s" * 64
    with refused("header-damaged"):
        read_header(header().replace("<center>4<", "<center>four<").encode(), Path("raw.h5"))


def test_several_encodings_keep_their_order():
    text = header()
    second = text[text.index("<encoding>") : text.index("</ismrmrdHeader>")]
    both = text.replace("</ismrmrdHeader>", second.replace("<y>8<", "<y>20<") + "</ismrmrdHeader>")
    found = read_header(both.encode(), Path("raw.h5")).encodings
    assert [each.matrix for each in found] == [(8, 12), (20, 12)]


@pytest.mark.parametrize(
    ("vendor", "against"), [("SIEMENS", True), ("Siemens Healthineers", True), ("GE", False)]
)
def test_images_of_one_vendor_run_against_the_gradients(vendor, against):
    assert parsed().against_gradients is False
    system_of = system(f"<systemVendor>{vendor}</systemVendor>")
    text = header().replace("<encoding>", system_of + "<encoding>", 1)
    assert read_header(text.encode(), Path("raw.h5")).against_gradients is against
