"""The licences of the official programs and of the published weights of each network.

The programs in this package are our own, under Apache-2.0. Licences of others are stated as far as
their pages were known to us; the page that the weights are downloaded from decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

NONE = "none known"
NVIDIA = "NVIDIA Open Model"


@dataclass(frozen=True)
class Licence:
    """The terms of a network.

    Attributes
    ----------
    code : str
        Licence of the official program.
    weights : str
        Licence of the published weights.
    published : str
        Where the weights are published; on huggingface.co if it has the form `owner/name`.
    use : str
        What users may do.
    notice : str
        Text that must accompany copies of the weights and of files made from them.
    """

    code: str
    weights: str
    published: str
    use: str
    notice: str = ""

    @property
    def has_weights(self) -> bool:
        """Whether weights are published."""
        return self.published != NONE

    def metadata(self) -> dict[str, str]:
        """Return what a file that may contain the published weights says about their licence."""
        if not self.has_weights:
            return {}
        text = f"{self.weights}, if these are the weights published at {self.published}"
        notice = {"weights_notice": self.notice} if self.notice else {}
        return {"weights_licence": text, "weights_use": self.use, **notice}


def _without_weights(code: str, remark: str = "") -> Licence:
    return Licence(code, NONE, NONE, f"Train it yourself{remark}")


FASTMRI = "; the weights of fastMRI have another layout and do not load"


LICENCES: Mapping[str, Licence] = MappingProxyType(
    {
        "promptmr": Licence(
            "MIT",
            "not known",
            "hellopipu/PromptMR",
            "Read the terms on the download page; whether the MIT licence of the program covers "
            "the weights is not known to us",
        ),
        "promptmr-plus": Licence(
            "non-commercial",
            "non-commercial",
            "hellopipu/PromptMR",
            "Non-commercial research only",
        ),
        "genre-cmr": _without_weights(NONE),
        "sr-gan": _without_weights(NONE),
        "hypercmr": _without_weights("MIT"),
        "e2e-varnet": _without_weights("MIT", FASTMRI),
        "unet": _without_weights("MIT", FASTMRI),
        "fidelity-unet": _without_weights(NONE),
        "lf-mri": _without_weights(NONE),
        "kt-unrolled": Licence(
            "Apache-2.0",
            "Apache-2.0",
            "this package",
            "Any use, also commercial, if copies keep the licence; research use, not for diagnosis",
        ),
        "vsharp": Licence(
            "Apache-2.0",
            "Apache-2.0",
            "NKI-AI/direct-uniform",
            "Any use, also commercial, if copies keep the licence. Also published: "
            "NKI-AI/direct-cmrxrecon-challenge23 and NKI-AI/direct-vsharp-multianatomy",
        ),
        "sdum": Licence(
            "Apache-2.0",
            NVIDIA,
            "nvidia/NV-Raw2insights-MRI",
            "Commercial use and changed models are allowed. Whoever passes on the weights or "
            "files made from them adds a copy of the agreement and the notice. The grant ends on "
            "patent or copyright suits over the model",
            "Licensed by NVIDIA Corporation under the NVIDIA Open Model License",
        ),
        "patch-gan": _without_weights(NONE),
    }
)
