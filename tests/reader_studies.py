"""Small reader studies: image files, and the answers of synthetic readers."""

import json

import numpy as np

from cmrrecon.evaluation.reader_files import EXPORT_KIND, SCHEMA, export_digest, read_key

CRITERIA = ("Sharpness", "Artefacts")


def write_images(folder, methods, subjects, *, frames=3, size=(12, 16), slices=1):
    """Write images of a beating disc under official names: <folder>/<method>/<subject>/cine_sax."""
    y, x = np.mgrid[: size[0], : size[1]]
    for m, method in enumerate(methods):
        for s, subject in enumerate(subjects):
            noise = np.random.default_rng((m, s)).normal(0, 0.02 + 0.1 * m, (frames, slices, *size))
            radius = 3 + np.arange(frames)[:, None, None, None] % 3
            disc = (y - size[0] / 2) ** 2 + (x - size[1] / 2 - s % 3) ** 2 < radius**2
            target = folder / method / subject / "cine_sax.npz"
            target.parent.mkdir(parents=True, exist_ok=True)
            np.savez(target, image=np.abs(disc + noise).astype(np.float32))
    return [f"{method}={folder / method}" for method in methods]


def shown_to(study, reader):
    """What a reader sees at each position: scan, methods from left to right, whether again."""
    found = []
    for shown in study.design.orders[reader - 1]:
        places = [study.design.images[image] for image in shown]
        before = {frozenset(names) for scan, names, _ in found if scan == places[0][0]}
        names = tuple(study.methods[m] for _, m in places)
        found.append((places[0][0], names, frozenset(names) in before))
    return found


def content_of(study, reader, rate):
    """The content of an export; `rate` gives a value for scan, methods, criterion and repeat."""
    rows = [
        [position, c, rate(scan, names, criterion, again)]
        for position, (scan, names, again) in enumerate(shown_to(study, reader))
        for c, criterion in enumerate(study.criteria)
    ]
    digest = export_digest(study.identifier, reader, rows)
    about = {"schema": SCHEMA, "kind": EXPORT_KIND, "study": study.identifier, "reader": reader}
    return {**about, "answers": rows, "digest": digest}


def write_exports(folder, key, readers, rate):
    """Write the exports of several readers; `rate` also gets the number of the reader."""
    study = read_key(key)
    folder.mkdir(exist_ok=True)
    for reader in readers:
        content = content_of(study, reader, lambda *facts, r=reader: rate(r, *facts))
        (folder / f"reader{reader}.json").write_text(json.dumps(content))
    return folder
