"""Windows of adjacent frames, as networks take them in training and reconstruction alike."""


def window(frame: int, frames: int, width: int = 5) -> list[int]:
    """The `width` adjacent frames around a frame of a series of `frames`, as PromptMR takes them.

    Time is a circle: frame 0 of 12 has [10, 11, 0, 1, 2], of 4 [2, 3, 0, 1, 2]. Where half the
    series is shorter than half the window, the outermost neighbours fill up: frame 0 of 3 has
    [2, 2, 0, 1, 1], of 2 [1, 1, 0, 1, 1], of 1 [0, 0, 0, 0, 0].

    Parameters
    ----------
    frame : the middle frame, from 0
    frames : frames of the series
    width : odd
    """
    half = width // 2
    reach = min(half, frames // 2)
    near = [(frame + step) % frames for step in range(-reach, reach + 1)]
    return near[:1] * (half - reach) + near + near[-1:] * (half - reach)
