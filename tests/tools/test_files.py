import errno
import os

import pytest
from refusals import refused

from cmrrecon.tools.files import first_bytes, input_error


def test_at_most_the_requested_bytes_are_returned(tmp_path):
    (tmp_path / "a").write_bytes(b"abcdef")
    assert first_bytes(tmp_path / "a", 4) == b"abcd"
    assert first_bytes(tmp_path / "a", 10) == b"abcdef"


@pytest.mark.parametrize(
    ("name", "code"),
    [("none", "file-missing"), ("folder", "file-is-folder"), ("empty", "file-empty")],
)
def test_unreadable_files_are_named_with_the_reason(tmp_path, name, code):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    with refused(code) as error:
        first_bytes(tmp_path / name, 4)
    assert str(tmp_path / name) in str(error.value)


def test_other_system_errors_keep_their_text():
    error = input_error("a.mat", PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    assert error.code == "file-unreadable"
    assert os.strerror(errno.EACCES) in error.found
