"""What a scan is: k-space, sampling mask, trajectory, acquisition."""
