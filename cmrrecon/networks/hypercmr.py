"""HyperCMR: the network of PromptMR with other losses (Xu et al., arXiv 2410.03624).

The architecture is `promptmr` in its variant "kspace". The losses also use the reconstructed
k-space of the middle frame, `Output.kspace`.
"""

from cmrrecon.networks.promptmr import PromptMR


class HyperCMR(PromptMR):
    """The network of PromptMR under its own name; see the module."""
