"""Windows of adjacent frames, the same for training and reconstruction."""


def window(frame: int, frames: int, width: int = 5) -> list[int]:
    """Return the indices of the `width` adjacent frames around a frame, as in PromptMR.

    Time is cyclic: in a series of 12 frames, the window of frame 0 is [10, 11, 0, 1, 2]; in a
    series of 4 frames, it is [2, 3, 0, 1, 2]. If half the series is shorter than half the window,
    the outermost neighbours are repeated: [2, 2, 0, 1, 1] in a series of 3 frames,
    [1, 1, 0, 1, 1] in a series of 2, and [0, 0, 0, 0, 0] for a single frame.

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


def cyclic_window(frame: int, frames: int, width: int = 5) -> list[int]:
    """Return the indices of the `width` adjacent frames around a frame, as in SDUM.

    They are counted modulo the number of frames. The window of frame 0 is [1, 2, 0, 1, 2] in a
    series of 3 frames and [0, 1, 0, 1, 0] in a series of 2. For 1, 4 and more frames, the windows
    are those of `window`.

    Parameters
    ----------
    frame, frames, width : int
        See `window`.
    """
    half = width // 2
    return [(frame + step) % frames for step in range(-half, half + 1)]
