#!/usr/bin/env bash
# If ISMRMRD's generator of test data is run without oversampling, it still declares a field of view
# twice as wide, so every reader that follows the header crops the phantom on both sides.
#
# Versions: ismrmrd-tools and libismrmrd1.8 1.8.0-2+b1 (Debian 12, amd64); ismrmrd 1.15.0, h5py 3.16.0,
#   numpy 2.4.6 (PyPI).
# Method: run `ismrmrd_generate_cartesian_shepp_logan -m 64` with -O 1 and with -O 2, read the headers,
#   and compute from k-space how much of the image's energy is inside the reconstructed field of view.
# Observation: with -O 2, the encoded matrix is 128 wide with a field of view of 600 mm, and the
#   reconstructed matrix is 64 wide with 300 mm, which contains the whole phantom. With -O 1, the
#   encoded matrix is 64 wide, the field of view is still 600 mm, and the reconstructed matrix is 32
#   wide: a third of the energy is cut off.
# Conclusion: test files made with -O 1 are no evidence of how a program crops.
#
# Requirements: bash, apt-get with Debian's packages, python3 with venv. All files are written to a
#   temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

packages="ismrmrd-tools=1.8.0-2+b1 libismrmrd1.8=1.8.0-2+b1"
libraries="libhdf5-103-1 libfftw3-single3 libpugixml1v5 libboost-program-options1.74.0 libsz2 libaec0
  libcurl4 libnghttp2-14 librtmp1 libssh2-1 libpsl5 libldap-2.5-0 libsasl2-2 libbrotli1"
# shellcheck disable=SC2086
apt-get download $packages $libraries > apt.log 2>&1
for package in *.deb; do dpkg-deb -x "$package" root; done
LD_LIBRARY_PATH=$(find "$PWD/root" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
export LD_LIBRARY_PATH
python3 -m venv env
env/bin/pip install --quiet ismrmrd==1.15.0 h5py==3.16.0 numpy==2.4.6

for factor in 1 2; do
  root/usr/bin/ismrmrd_generate_cartesian_shepp_logan -m 64 -c 4 -n 0 -O $factor -o "$factor.h5" > log
done
cat > compare.py <<'PY'
import sys

import ismrmrd
import numpy as np

found = {}
for factor in (1, 2):
    data = ismrmrd.Dataset(f"{factor}.h5", create_if_needed=False)
    encoding = ismrmrd.xsd.CreateFromDocument(data.read_xml_header()).encoding[0]
    encoded, recon = encoding.encodedSpace, encoding.reconSpace
    width, shown = encoded.matrixSize.x, recon.matrixSize.x
    lines = [data.read_acquisition(n) for n in range(data.number_of_acquisitions())]
    k = np.zeros((4, encoded.matrixSize.y, width), complex)
    for line in lines:
        if not line.isFlagSet(ismrmrd.ACQ_IS_NOISE_MEASUREMENT):
            k[:, line.idx.kspace_encode_step_1] = line.data
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(k, axes=(1, 2))), axes=(1, 2))
    energy = (np.abs(image) ** 2).sum((0, 1))
    first = (width - shown) // 2
    lost = 1 - energy[first : first + shown].sum() / energy.sum()
    sizes = width, encoded.fieldOfView_mm.x, shown, recon.fieldOfView_mm.x
    found[factor] = (*sizes, lost)
    print(f"-O {factor}: encoded {sizes[0]} ({sizes[1]:g} mm), shown {sizes[2]} ({sizes[3]:g} mm), lost {lost:.3f}")
if found[1][:4] != (64, 600.0, 32, 300.0) or found[2][:4] != (128, 600.0, 64, 300.0):
    sys.exit("changed: the header has other sizes")
if not (0.3 < found[1][4] < 0.36 and found[2][4] < 0.01):
    sys.exit("changed: a different fraction of the phantom is cut off")
PY
env/bin/python compare.py
