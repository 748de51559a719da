"""HyperCMR: the network of PromptMR with other losses (Xu et al., arXiv 2410.03624).

The architecture is that of `promptmr` in its variant "kspace"; the losses need the reconstructed k-space of the middle frame,
which `Output.kspace` holds.
"""

from cmrrecon.networks.promptmr import PromptMR


class HyperCMR(PromptMR):
    """See the module."""
