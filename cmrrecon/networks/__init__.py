"""Reconstruction networks: one a file, readable alone. `catalog` names them, `weights` loads them."""
