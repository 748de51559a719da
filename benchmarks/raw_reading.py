"""Compare reading ISMRMRD readouts with the `ismrmrd` package, in turn on the same file.

Usage: python benchmarks/raw_reading.py [READOUTS]

The file has 14 coils and 384 samples per readout, like a cardiac scan at 3 T, with frames of 100
lines and two slices. The peer, which also writes the file, runs in a separate Python with the
package, named in CMRRECON_PEER_PYTHON. cmrrecon sorts the readouts into k-space and finds the mask;
the peer only reads them one by one. The result is the median CPU time of separate processes,
without their startup.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 7
COILS, SAMPLES, LINES = 14, 384, 100
PEER = os.environ.get("CMRRECON_PEER_PYTHON", "")

WRITE = f"""
import sys
import ismrmrd, numpy as np
path, readouts = sys.argv[1], int(sys.argv[2])
space = "<matrixSize><x>{SAMPLES}</x><y>{LINES}</y><z>1</z></matrixSize>" \
    "<fieldOfView_mm><x>600</x><y>300</y><z>8</z></fieldOfView_mm>"
xml = f'''<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<experimentalConditions><H1resonanceFrequency_Hz>123182813</H1resonanceFrequency_Hz></experimentalConditions>
<encoding><encodedSpace>{{space}}</encodedSpace><reconSpace>{{space}}</reconSpace>
<encodingLimits/><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>'''
data = ismrmrd.Dataset(path, "dataset", create_if_needed=True)
data.write_xml_header(xml.encode())
generator = np.random.default_rng(0)
for number in range(readouts):
    values = generator.standard_normal(({COILS}, 2 * {SAMPLES})).astype("f4").view("c8")
    readout = ismrmrd.Acquisition.from_array(values)
    readout.center_sample = {SAMPLES} // 2
    frame, readout.idx.kspace_encode_step_1 = divmod(number, {LINES})
    readout.idx.phase, readout.idx.slice = divmod(frame, 2)
    readout.read_dir[0] = readout.phase_dir[1] = readout.slice_dir[2] = 1
    readout.position[2] = 10 * readout.idx.slice
    data.append_acquisition(readout)
data.close()
"""
READ = """
import sys, time
import ismrmrd
data = ismrmrd.Dataset(sys.argv[1], "dataset", create_if_needed=False)
begin = time.process_time()
for number in range(data.number_of_acquisitions()):
    data.read_acquisition(number).data
print(time.process_time() - begin)
"""
OURS = """
import sys, time
import cmrrecon
cmrrecon.read(sys.argv[1])
begin = time.process_time()
scan = cmrrecon.read(sys.argv[1])
for index in range(scan.shape[1]):
    scan.read_slice(index)
print(time.process_time() - begin)
"""


def seconds(python: str, script: str, *words: str) -> float:
    """Return the number that a script prints."""
    command = [python, "-c", script, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout or "nan")


def main() -> None:
    readouts = sys.argv[1] if len(sys.argv) > 1 else "2000"
    if not PEER:
        sys.exit("CMRRECON_PEER_PYTHON names no Python with the package ismrmrd")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "raw.h5")
        seconds(PEER, WRITE, path, readouts)
        print(f"{readouts} readouts, {Path(path).stat().st_size / 2**20:.0f} MB")
        runs = [
            (seconds(sys.executable, OURS, path), seconds(PEER, READ, path)) for _ in range(ROUNDS)
        ]
    ours, peer = (statistics.median(column) for column in zip(*runs, strict=True))
    print(f"ours {ours:.3f} s, ismrmrd one by one {peer:.3f} s: {peer / ours:.1f}x as fast")


if __name__ == "__main__":
    main()
