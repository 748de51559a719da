"""What is known of the checkpoint of another program, and what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cmrrecon.networks.checkpoints.release import ReleaseFile
from cmrrecon.tools.errors import InputError, UsageError

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Given:
    """What is known of a checkpoint besides its tensors.

    Attributes
    ----------
    source : str
        The name of the file or state dict, for messages.
    parameters : mapping of str to any
        The hyper-parameters in the file; untrusted.
    release : mapping of str to any, ReleaseFile, or None
        The configuration of the release (a preset, or the content of its YAML file), or the file
        itself; untrusted. None if there is none.
    variant : str or None
        The requested variant of PromptMR.
    """

    source: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    release: Mapping[str, Any] | ReleaseFile | None = None
    variant: str | None = None

    def configuration(self, missing: str) -> Mapping[str, Any]:
        """Return the configuration of the release.

        Parameters
        ----------
        missing : str
            What the tensors do not show, for the message.

        Raises
        ------
        InputError
            If there is none (`release-missing`), or it cannot be read (see `read_release`).
        """
        if self.release is None:
            raise InputError(
                "release-missing",
                f"The tensors in {self.source} do not show {missing}",
                "The configuration that was published with the weights is needed",
                "Run `cmrrecon models convert` with --release-config FILE or --preset NAME",
            )
        return self.release.content if isinstance(self.release, ReleaseFile) else self.release


@dataclass(frozen=True)
class Inferred:
    """The network of a checkpoint.

    Attributes
    ----------
    name : str
        Its name in the catalogue.
    config : dict of str to any
        Its configuration.
    names : mapping of str to str
        Our names of those tensors that have other names in the checkpoint.
    facts : mapping of str to str
        What `models` shows besides, such as the reason for a choice.
    """

    name: str
    config: dict[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


def unused_release(source: object) -> UsageError:
    """Return the error for a given release that the weights do not need."""
    return UsageError(
        "release-unused",
        f"A release was given for {source}, whose configuration is known without it",
        "Only some weights of other programs need one",
        "Leave out --release-config and --preset",
    )
