import pytest
import torch
from refusals import refused

from cmrrecon.formats import read_times, write_times

FOLDER = "matfiles/CMRxRecon2023/MultiCoil/Mapping/TrainingSet/FullSample/P001"


def test_official_t1_and_t2_times(golden):
    t1 = read_times(golden / FOLDER / "T1map.csv")
    assert t1.shape == (9, 2)
    assert t1[0].tolist() == [100, 105]
    assert t1[-1].tolist() == [2800, 2805]
    assert read_times(golden / FOLDER / "T2map.csv").tolist() == [[0, 0], [35, 35], [55, 55]]


def test_round_trip(tmp_path):
    times = torch.tensor([[100.5, 105], [1e-3, 2], [0, 0]], dtype=torch.float64)
    write_times(tmp_path / "T1map.csv", times)
    assert torch.equal(read_times(tmp_path / "T1map.csv"), times)


def test_byte_order_mark_windows_lines_and_blank_lines(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfTI,s1\r\nw1, 100\r\n\r\nw2,200\r\n,\r\n")
    assert read_times(tmp_path / "t.csv").tolist() == [[100], [200]]


@pytest.mark.parametrize(
    "content",
    [
        b"head\n",
        b",s\nw,\n",
        b",s\nw,abc\n",
        b",s\nw,nan\n",
        b",s\nw,-1\n",
        b",a,b\nw,1,2\nw,1\n",
        b"\xff\xfe\n1",
        b"x" * 2**21,
        b"h\nw\n",
    ],
)
def test_other_tables_are_refused(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with refused("times-table"):
        read_times(tmp_path / "t.csv")


def test_missing_and_empty_files_are_refused(tmp_path):
    with refused("file-missing"):
        read_times(tmp_path / "t.csv")
    (tmp_path / "t.csv").touch()
    with refused("file-empty"):
        read_times(tmp_path / "t.csv")
