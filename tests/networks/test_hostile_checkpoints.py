"""Malicious checkpoint files."""

import argparse
import collections
import functools
import importlib.machinery
import io
import operator
import os
import pathlib
import pickle
import posix
import runpy
import subprocess
import zipfile

import pytest
import torch
from refusals import refused
from small_networks import lightning_file, same

from cmrrecon.networks.checkpoints import pickles, promptmr_layout, torch_files, weights


def rebuilt(path, target, change, compression=zipfile.ZIP_STORED):
    """Copy a torch file with a changed pickle."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", compression) as archive:
        for entry in source.infolist():
            data = source.read(entry)
            archive.writestr(
                entry.filename, change(data) if entry.filename.endswith("data.pkl") else data
            )
    return target


class Payload:
    """An object whose pickle is a function call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def payloads(folder):
    """Return calls that would each create the file `marker` in this folder."""
    marker = str(folder / "marker")
    script = folder / "hubconf.py"
    script.write_text(f"open({marker!r}, 'w').close()\ndef entry(): pass\n")
    code = f"open({marker!r}, 'w').close()"
    loader = importlib.machinery.SourceFileLoader("made_up", str(script))

    return {
        "os.system": Payload(os.system, f"touch {marker}"),
        "posix.system": Payload(posix.system, f"touch {marker}"),
        "subprocess": Payload(subprocess.call, ["touch", marker]),
        "popen": Payload(subprocess.getoutput, f"touch {marker}"),
        "eval": Payload(eval, code),
        "exec": Payload(exec, code),
        "partial": Payload(functools.partial(open, marker, "w")),
        "methodcaller": Payload(operator.methodcaller("touch"), pathlib.Path(marker)),
        "bound method": Payload(pathlib.Path(marker).touch),
        "runpy": Payload(runpy.run_path, str(script)),
        "importlib": Payload(loader.load_module),
        "torch.hub": Payload(
            functools.partial(torch.hub.load, str(folder), "entry", source="local")
        ),
        "nested": Payload(list, [{"a": (Payload(os.system, f"touch {marker}"),)}]),
    }


NAMES = [
    "os.system",
    "posix.system",
    "subprocess",
    "popen",
    "eval",
    "exec",
    "partial",
    "methodcaller",
    "bound method",
    "runpy",
    "importlib",
]
NAMES += ["torch.hub", "nested"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_no_code_in_a_checkpoint_is_executed(networks, tmp_path, monkeypatch, name, protocol):
    marker = tmp_path / "marker"
    hostile = pickle.dumps(payloads(tmp_path)[name], protocol)
    pickle.loads(hostile)
    assert marker.exists(), "the payload must work where pickles are executed"
    marker.unlink()
    plain = tmp_path / "plain.pth"
    torch.save(networks["promptmr"].state_dict(), plain)
    (tmp_path / "bare.pth").write_bytes(hostile)
    rebuilt(plain, tmp_path / "whole.pth", lambda data: hostile)
    torch.save(
        {"state_dict": payloads(tmp_path)[name]}, tmp_path / "state.pth", pickle_protocol=protocol
    )
    torch.save(
        {"cascades.0.dc_weight": payloads(tmp_path)[name]},
        tmp_path / "tensor.pth",
        pickle_protocol=protocol,
    )

    for file in ("bare", "whole", "state", "tensor"):
        with refused("checkpoint-format"):
            weights.load(tmp_path / f"{file}.pth")

    # Next to valid weights the payload is ignored.
    more = {"callbacks": payloads(tmp_path)[name]}
    beside = lightning_file(
        tmp_path / "beside.ckpt",
        networks["promptmr"],
        {"a": payloads(tmp_path)[name]},
        monkeypatch,
        **more,
    )
    assert same(weights.load(beside).network, networks["promptmr"])
    assert not marker.exists()


def test_assignments_to_named_objects_have_no_effect():
    """Assigning to named functions, which evades lists of allowed ones, has no effect."""
    before = dict(vars(pickles.Foreign))
    for name in (
        b"collections\nOrderedDict",
        b"torch._utils\n_rebuild_tensor_v2",
        b"builtins\ngetattr",
    ):
        pickles.interpret(b"\x80\x02c" + name + b"\n}X\x08\x00\x00\x00__call__K\x01sb.")
    assert dict(vars(pickles.Foreign)) == before


def test_tensor_records_cannot_be_changed():
    described = tensor_pickle((4,), (1,), 4)
    (record,) = pickles.interpret(described).values()
    # The same pickle with `BUILD` on the tensor must not change its attributes.
    changed = described.replace(b"R", b"R}X\x06\x00\x00\x00offsetK\x07sb")
    assert changed != described
    assert pickles.interpret(changed) == {promptmr_layout.CASCADE + "feat_extract.weight": record}


def tensor_pickle(shape, stride, length, offset=0):
    """Return the pickle of a mapping with one tensor and a storage of `length` numbers."""

    class Storage:
        pass

    class Pickler(pickle._Pickler):
        def persistent_id(self, value):
            return (
                ("storage", torch.FloatStorage, "0", "cpu", length)
                if isinstance(value, Storage)
                else None
            )

    class View:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (
                Storage(),
                offset,
                shape,
                stride,
                False,
                collections.OrderedDict(),
            )

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump({promptmr_layout.CASCADE + "feat_extract.weight": View()})
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("shape", "stride", "length", "offset", "code"),
    [
        ((2**20, 2**20), (0, 0), 4, 0, "checkpoint-damaged"),
        ((4,), (1,), 2**40, 0, "checkpoint-damaged"),
        ((4,), (2,), 4, 0, "checkpoint-damaged"),
        ((4,), (1,), 4, 1, "checkpoint-damaged"),
        ((4,), (-1,), 4, 0, "checkpoint-format"),
        ((2, 2), (1,), 4, 0, "checkpoint-format"),
        ((2**61, 2**61), (1, 1), 4, 0, "checkpoint-damaged"),
    ],
)
def test_tensors_beyond_their_storage_are_refused(tmp_path, shape, stride, length, offset, code):
    torch.save({"a": torch.arange(4.0)}, tmp_path / "a.pth")
    changed = rebuilt(
        tmp_path / "a.pth",
        tmp_path / "b.pth",
        lambda data: tensor_pickle(shape, stride, length, offset),
    )

    with refused(code):
        torch_files.read(changed, lambda shapes: None)
    honest = rebuilt(
        tmp_path / "a.pth", tmp_path / "c.pth", lambda data: tensor_pickle((2, 2), (1, 2), 4)
    )
    (value,) = torch_files.read(honest, lambda shapes: None)[0].values()
    assert value.tolist() == [[0, 2], [1, 3]]


def nested(depth):
    """Return a tuple with 2 ** depth brackets as text, but a short pickle."""
    return functools.reduce(lambda value, _: (value, value), range(depth), ())


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (nested(18), "type tuple"),
        (10**5000, "type int"),
        ("x" * 10**5, f" '{'x' * 200}'"),
        (2.5, "float"),
    ],
    ids=["tuples", "number", "text", "float"],
)
def test_hyper_parameters_are_abbreviated_in_messages(
    networks, tmp_path, monkeypatch, value, shown
):
    path = lightning_file(
        tmp_path / "a.ckpt", networks["promptmr"], {"model_version": value}, monkeypatch
    )
    with refused("unknown-variant") as error:
        weights.load(path)

    assert shown in error.value.found
    assert len(error.value.found) < 500
    path = lightning_file(
        tmp_path / "b.ckpt", networks["promptmr"], {"num_cascades": value}, monkeypatch
    )

    with refused("checkpoint-mismatch") as error:
        weights.load(path)
    assert shown in error.value.found
    path = lightning_file(tmp_path / "c.ckpt", networks["promptmr"], {}, monkeypatch, epoch=value)
    assert weights.load(path).metadata.get("epoch", "of type int") == "of type int"


def test_a_shared_storage_is_read_once_and_not_kept(tmp_path, monkeypatch):
    whole = torch.arange(10**6)
    torch.save(
        {f"{index}": whole[index : index + 2] for index in range(300)}
        | {"again": whole[1:3], "t": whole[:6].view(2, 3).mT},
        tmp_path / "a.pth",
    )
    read = []
    original = zipfile.ZipFile.read
    monkeypatch.setattr(
        zipfile.ZipFile,
        "read",
        lambda self, entry: read.append(entry.filename) or original(self, entry),
    )
    tensors, _, _ = torch_files.read(tmp_path / "a.pth", lambda shapes: None)
    assert len([name for name in read if "/data/" in name]) == 1
    assert list(tensors) == [*map(str, range(300)), "again", "t"]
    assert all(tensors[f"{index}"].tolist() == [index, index + 1] for index in range(300))
    assert tensors["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert all(
        value.untyped_storage().nbytes() == value.nbytes and value.is_contiguous()
        for value in tensors.values()
    )
    tensors["1"].zero_()
    assert tensors["again"].tolist() == [1, 2]


def test_tensors_that_are_together_larger_than_the_file_are_refused(tmp_path):
    whole = torch.zeros(10**6)
    torch.save({f"{index}": whole for index in range(300)}, tmp_path / "a.pth")
    with refused("checkpoint-damaged"):
        torch_files.read(tmp_path / "a.pth", lambda shapes: None)


def test_pickles_that_expand_by_repetition_are_refused():
    deep = b")" + b"2\x86" * 18
    attributes = b"}(" + b"".join(b"\x8c\x02%02dN" % index for index in range(100)) + b"uq\x00"
    for pickle_ in [
        # Classes whose names are nested tuples or a long text.
        b"\x80\x04" + deep + b"\x8c\x01a\x93.",
        b"\x80\x04\x8c\x01a" + deep + b"\x93.",
        b"\x80\x04X\x00\x10\x00\x00" + b"a" * 4096 + b"q\x00h\x00\x93.",
        # Many objects that repeat all attributes of one.
        b"\x80\x04" + attributes + b"\x8fh\x00b" * 1000 + b".",
        # Numbers of any length as memo positions, all with the same hash.
        b"\x80\x02Np%d\n." % (2**61 - 1),
        b"\x80\x02I%d\n." % 10**4000,
    ]:
        with pytest.raises(torch_files.DAMAGES):
            pickles.interpret(pickle_)

    # Comparing long keys and hashing long numbers is slow.
    long = b"X\x00\x10\x00\x00" + b"a" * 4096
    number = b"\x8b\x00\x10\x00\x00" + b"a" * 4096
    assert pickles.interpret(b"\x80\x02}(" + long + b"N" + number + b"N\x8c\x01aNu.") == {"a": None}


def test_objects_keep_their_attributes():
    value = argparse.Namespace(lr=2e-4, more=argparse.Namespace(a=[1]))
    assert (
        pickles.interpret(pickle.dumps([value, value], 2)) == [{"lr": 2e-4, "more": {"a": [1]}}] * 2
    )


def test_zip_bombs_and_pickle_bombs_are_refused(tmp_path):
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "a.pth")
    rebuilt(tmp_path / "a.pth", tmp_path / "bomb.pth", lambda data: data, zipfile.ZIP_DEFLATED)
    with refused("checkpoint-damaged"):
        torch_files.read(tmp_path / "bomb.pth", lambda shapes: None)

    for bomb in (
        b"\x80\x02r\xff\xff\xff\x7f.",
        b"\x80\x04\x96" + b"\xff" * 7 + b"\x00.",
        b"\x80\x02r",
        b"\x80\x02)" + b"\x86" * 5,
        b"",
        b".",
    ):
        rebuilt(tmp_path / "a.pth", tmp_path / "bad.pth", lambda data, bomb=bomb: bomb)
        with refused("checkpoint-damaged"):
            torch_files.read(tmp_path / "bad.pth", lambda shapes: None)

    # Hashing this key in a mapping would take 2 ** 100 steps.
    deep = b"\x80\x02}(" + b")" + b"2\x86" * 100 + b"K\x01u."
    assert pickles.interpret(deep) == {}


def test_names_nested_in_many_wrappers_are_refused(networks, tmp_path):
    state = networks["promptmr"].state_dict()
    nested = {"module." * 20 + name: value for name, value in list(state.items())[:2]}
    torch.save(nested, tmp_path / "a.ckpt")
    with refused("checkpoint-mismatch") as error:
        weights.load(tmp_path / "a.ckpt")
    assert len(str(error.value)) < 1000
