"""Fits T1, T2 and T2* to mapping series."""
