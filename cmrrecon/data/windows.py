"""Windows of adjacent frames, the same for training and reconstruction."""


def window(frame: int, frames: int, width: int = 5) -> list[int]:
    """Indices of the `width` adjacent frames around a frame, as in PromptMR.

    Time is cyclic: the window of frame 0 of 12 is [10, 11, 0, 1, 2], that of frame 0 of 4 is
    [2, 3, 0, 1, 2]. If half the series is shorter than half the window, the outermost neighbours
    are repeated: frame 0 of 3 has [2, 2, 0, 1, 1], of 2 [1, 1, 0, 1, 1], of 1 [0, 0, 0, 0, 0].

    Parameters
    ----------
    frame : int
        The middle frame, counted from 0.
    frames : int
        Number of frames of the series.
    width : int
        Number of frames of the window; odd.
    """
    half = width // 2
    reach = min(half, frames // 2)
    near = [(frame + step) % frames for step in range(-reach, reach + 1)]
    return near[:1] * (half - reach) + near + near[-1:] * (half - reach)
