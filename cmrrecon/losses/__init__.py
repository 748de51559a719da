"""Training losses, one idea per file. They accept any scale and document their normalisation."""
