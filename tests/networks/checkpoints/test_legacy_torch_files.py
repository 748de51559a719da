"""Files that torch.save wrote before PyTorch 1.6."""

import pickle
import struct

import pytest
import torch
from refusals import refused
from small_networks import same

from cmrrecon.networks.checkpoints import legacy_torch_files, pickles, torch_files, weights


def legacy(path, content, **options):
    torch.save(content, path, _use_new_zipfile_serialization=False, **options)
    return path


def read(path):
    return torch_files.read(path, lambda shapes: None)[0]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_legacy_files_load(networks, tmp_path, protocol):
    network = networks["promptmr"]
    content = {"model": network.state_dict(), "epoch": 3}
    path = legacy(tmp_path / "a.pth", content, pickle_protocol=protocol)
    loaded = weights.load(path)
    assert same(loaded.network, network)
    assert loaded.metadata["epoch"] == "3"


def test_views_and_types_are_read_as_torch_does(tmp_path):
    whole = torch.arange(12.0)
    content = {
        "view": whole[2:8].view(2, 3).mT, "again": whole[3:], "half": torch.ones(3).half(),
        "long": torch.tensor([2**40]), "empty": torch.zeros(0, 4), "one": torch.tensor(5.0),
    }  # fmt: skip
    path = legacy(tmp_path / "a.pth", content)
    tensors = read(path)
    expected = torch.load(path, weights_only=True)
    assert list(tensors) == list(expected)
    assert all(torch.equal(tensors[key], value) for key, value in expected.items())
    assert all(tensors[key].dtype == value.dtype for key, value in expected.items())


def test_a_public_legacy_file_opens_and_is_refused_as_another_network(real_data):
    path = real_data / "scanner-files" / "crnn_mri_d5_c5.pth"
    tensors = read(path)
    expected = torch.load(path, map_location="cpu", weights_only=True)
    assert len(tensors) == 20
    assert all(torch.equal(tensors[key], value) for key, value in expected.items())
    with refused("checkpoint-mismatch") as error:
        weights.load(path)
    assert "CRNN" in str(error.value)


def test_truncated_files_are_refused(networks, tmp_path):
    data = legacy(tmp_path / "a.pth", networks["promptmr"].state_dict()).read_bytes()
    for part in (20, 40, 200, len(data) // 3, len(data) - 1000, len(data) - 1):
        (tmp_path / "part.pth").write_bytes(data[:part])
        with refused("checkpoint-damaged"):
            weights.load(tmp_path / "part.pth")


def pickled(*contents):
    return b"".join(pickle.dumps(content, 2) for content in contents)


def head(**computer):
    facts = {"little_endian": True, **computer}
    return pickled(legacy_torch_files.MAGIC, legacy_torch_files.VERSION, facts)


def described(path, change):
    """Write a file with one tensor of 4 numbers, with changed bytes."""
    data = legacy(path, {"a": torch.arange(4.0)}).read_bytes()
    (key,) = pickles.interpret(data[data.index(b"\x80\x02]") :])
    changed = change(data, key.encode())
    assert changed != data
    path.write_bytes(changed)
    return path


COUNT = struct.pack("<q", 4)


@pytest.mark.parametrize(
    "change",
    [
        lambda data, key: data.replace(COUNT, struct.pack("<q", 3)),
        lambda data, key: data.replace(COUNT, struct.pack("<q", 2**40)),
        lambda data, key: data.replace(COUNT, b"\xff" * 8),
        lambda data, key: data[: data.index(COUNT)],
        lambda data, key: data.replace(b"\x80\x02]", b"\x80\x02}"),
        lambda data, key: (b"x" + key[1:]).join(data.rsplit(key, 1)),
        lambda data, key: data.replace(b"M\xe9\x03", b"M\xe8\x03", 1),
        lambda data, key: data.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"),
        lambda data, key: data.replace(b"FloatStorage", b"FloutStorage"),
        lambda data, key: data.replace(b"K\x04Ntq", b"J\xff\xff\xff\x7fNtq"),
    ],
    ids=[
        "fewer",
        "huge",
        "negative",
        "none",
        "no list",
        "key",
        "version",
        "endian",
        "type",
        "long",
    ],
)
def test_hostile_files_are_refused(tmp_path, change):
    path = described(tmp_path / "a.pth", change)
    with refused("checkpoint-damaged"):
        read(path)


def test_keys_of_storages_are_never_hashed_unless_they_are_text(tmp_path):
    # Hashing this tuple would need 2 ** 100 steps.
    deep = b"\x80\x02](" + b")" + b"2\x86" * 100 + b"e."
    (tmp_path / "a.pth").write_bytes(head() + pickled({}) + deep)
    with refused("checkpoint-damaged"):
        weights.load(tmp_path / "a.pth")


def test_nothing_is_executed(tmp_path):
    marker = tmp_path / "marker"

    class Payload:
        def __reduce__(self):
            return open, (str(marker), "w")

    for name, content, code in [
        ("first", pickled(Payload(), legacy_torch_files.MAGIC), "checkpoint-format"),
        ("computer", pickled(legacy_torch_files.MAGIC, 1001, Payload()), "checkpoint-damaged"),
        ("content", head() + pickled(Payload(), []), "checkpoint-format"),
        ("keys", head() + pickled({}, Payload()), "checkpoint-damaged"),
    ]:
        (tmp_path / name).write_bytes(content)
        with refused(code):
            weights.load(tmp_path / name)
    assert not marker.exists()


def test_a_payload_next_to_weights_is_ignored(networks, tmp_path):
    marker = tmp_path / "marker"

    class Payload:
        def __reduce__(self):
            return open, (str(marker), "w")

    content = {"state_dict": networks["promptmr"].state_dict(), "callbacks": Payload()}
    path = legacy(tmp_path / "a.pth", content)
    assert same(weights.load(path).network, networks["promptmr"])
    assert not marker.exists()
