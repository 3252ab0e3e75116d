"""What somebody meets who works by hand: threads at papermill's door, errors in sentences"""

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlnb.kernel import passing_folders


@pytest.fixture
def eager_threads():
    "Threads that are switched all the time."
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("n_threads", [2, 6])
def test_threads_make_and_remove_folders_of_their_own(tmp_path, eager_threads, n_threads):
    open_before = len(os.listdir("/proc/self/fd"))

    def work(_):
        for _ in range(15):
            shutil.rmtree(passing_folders.passing_folder("mlnb-t-", str(tmp_path)))

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(work, range(n_threads)))
    shutil.rmtree(passing_folders.passing_folder("mlnb-t-", str(tmp_path)))
    passing_folders._forget_removed()
    assert len(os.listdir("/proc/self/fd")) <= open_before
    assert not any(tmp_path.iterdir())
