"""Reconstruction networks, one per file. `catalog` names them, `checkpoints` loads them."""
