"""Enhanced MR: all slices and frames in one DICOM file.

References
----------
DICOM PS3.3, section A.36.2 (Enhanced MR Image IOD) and C.7.6.16 (multi-frame functional groups).
"""

from typing import Any

from cmrrecon.formats.dicom_header import Series, file_dataset, place_slice, set_window
from cmrrecon.formats.packages import optional

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
STACK_ID, STACK_POSITION, TEMPORAL_INDEX = 0x00209056, 0x00209057, 0x00209128
FRAME_CONTENT = 0x00209111
COMPONENTS = {"magnitude": "MAGNITUDE", "phase": "PHASE"}


def as_enhanced(series: Series) -> Any:
    """Return an Enhanced MR dataset with all images of a series, frame by frame."""
    made = file_dataset(series, ENHANCED_MR)
    frames, slices = series.stored.shape[:2]
    made.SOPInstanceUID = series.uid("enhanced")
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.InstanceNumber = 1
    made.DeviceSerialNumber = "none"
    made.PresentationLUTShape = "IDENTITY"
    made.ContentQualification = "RESEARCH"
    # Required, although nothing was acquired; scanners state the same.
    made.ApplicableSafetyStandardAgency = "IEC"
    made.AcquisitionContextSequence = []
    _set_kind(made, series, "ImageType")

    _set_dimensions(made, series)
    made.SharedFunctionalGroupsSequence = [_shared(series)]
    made.NumberOfFrames = frames * slices
    made.PerFrameFunctionalGroupsSequence = [
        _one_frame(series, slice_, frame) for frame in range(frames) for slice_ in range(slices)
    ]
    made.PixelData = series.stored.tobytes()
    return made


def _dataset(**attributes: Any) -> Any:
    """Return an item of a sequence."""
    made = optional("pydicom", "dicom", "The output is DICOM").Dataset()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def _set_kind(made: Any, series: Series, name: str) -> None:
    """Set the type of the whole image or of a frame, and what it is made of."""
    several = len(series.stored) > 1
    setattr(made, name, ["DERIVED", "PRIMARY", "CARDIAC" if several else "VOLUME", "NONE"])
    made.PixelPresentation = "MONOCHROME"
    made.VolumetricProperties = "VOLUME"
    made.VolumeBasedCalculationTechnique = "NONE"
    made.ComplexImageComponent = COMPONENTS[series.part]
    made.AcquisitionContrast = "UNKNOWN"


def _set_dimensions(made: Any, series: Series) -> None:
    """State that frames are ordered by slice, then by time."""
    organisation = series.uid("dimensions")
    made.DimensionOrganizationSequence = [_dataset(DimensionOrganizationUID=organisation)]
    made.DimensionIndexSequence = [
        _dataset(
            DimensionOrganizationUID=organisation,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=FRAME_CONTENT,
        )
        for pointer in (STACK_ID, STACK_POSITION, TEMPORAL_INDEX)
    ]


def _shared(series: Series) -> Any:
    """Return the functional groups that all frames share."""
    measures = _dataset(
        PixelSpacing=series.numbers(*series.placement.pixel_mm),
        SliceThickness=series.number(series.placement.thickness_mm),
    )
    if series.spacing_mm is not None:
        measures.SpacingBetweenSlices = series.number(series.spacing_mm)

    frame_type = _dataset()
    _set_kind(frame_type, series, "FrameType")
    window = _dataset()
    set_window(window, series)
    heart = _dataset(CodeValue="80891009", CodingSchemeDesignator="SCT", CodeMeaning="Heart")

    return _dataset(
        PixelMeasuresSequence=[measures],
        MRImageFrameTypeSequence=[frame_type],
        FrameAnatomySequence=[_dataset(FrameLaterality="U", AnatomicRegionSequence=[heart])],
        FrameVOILUTSequence=[window],
        PixelValueTransformationSequence=[
            _dataset(RescaleIntercept=series.intercept, RescaleSlope=series.slope, RescaleType="US")
        ],
        DerivationImageSequence=[],
    )


def _one_frame(series: Series, slice_: int, frame: int) -> Any:
    """Return the functional groups of one frame: its indices, place and time."""
    content = _dataset(
        StackID="1",
        InStackPositionNumber=slice_ + 1,
        TemporalPositionIndex=frame + 1,
        DimensionIndexValues=[1, slice_ + 1, frame + 1],
    )
    placed = _dataset()
    place_slice(placed, series, slice_)
    orientation = placed.ImageOrientationPatient
    del placed.ImageOrientationPatient

    groups = _dataset(
        FrameContentSequence=[content],
        PlanePositionSequence=[placed],
        PlaneOrientationSequence=[_dataset(ImageOrientationPatient=orientation)],
    )
    times = series.placement.times_ms
    if times is not None:
        # In seconds after the first frame.
        offset = (times[frame] - times[0]) / 1000
        groups.TemporalPositionSequence = [_dataset(TemporalPositionTimeOffset=offset)]
        groups.CardiacSynchronizationSequence = [
            _dataset(NominalCardiacTriggerDelayTime=float(times[frame]))
        ]
    return groups
