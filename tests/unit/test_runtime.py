import math
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from prognos import runtime


@pytest.fixture(autouse=True)
def _torch_as_before():
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)


def test_settings_that_are_applied_are_the_settings_that_are_told():
    settings = runtime.apply_host_settings(threads=1)
    assert settings.threads == torch.get_num_threads() == 1
    assert settings.matmul == torch.get_float32_matmul_precision()
    assert settings.as_dict()["cpu"] == settings.cpu


def test_the_fast_matrix_back_end_is_kept_only_where_it_stays_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(runtime, "matmul_error", lambda precision: 3e-3)
    assert runtime.apply_host_settings(1).matmul == torch.get_float32_matmul_precision() == "highest"
    monkeypatch.setattr(runtime, "matmul_error", lambda precision: 4e-7)
    assert runtime.apply_host_settings(1).matmul == torch.get_float32_matmul_precision() == "medium"


def test_the_fast_matrix_back_end_is_never_tried_with_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    settings = runtime.apply_host_settings(1)
    assert settings.matmul == torch.get_float32_matmul_precision() == "highest"
    assert math.isnan(settings.matmul_error)
    assert settings.as_dict()["matmul_error"] is None


def test_the_self_test_measures_true_float32_and_puts_the_setting_back():
    torch.set_float32_matmul_precision("high")
    assert 0 < runtime.matmul_error("highest") < 1e-6
    assert torch.get_float32_matmul_precision() == "high"


def test_the_self_test_would_see_bfloat16():
    left = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    rounded = left.bfloat16().float()
    assert float((rounded - left).norm() / left.norm()) > 1e3 * runtime.MATMUL_TOLERANCE


def test_huge_pages_are_asked_for_before_torch_is_loaded():
    code = "from prognos import runtime; import sys, os; assert 'torch' not in sys.modules; print(runtime.prepare_environment())"
    environment = {key: value for key, value in os.environ.items() if key != runtime.HUGE_PAGES}
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
    assert output.strip() == "True"


def test_huge_pages_are_not_claimed_when_torch_was_loaded_without_them(monkeypatch):
    monkeypatch.delenv(runtime.HUGE_PAGES, raising=False)
    assert runtime.prepare_environment() is False


def test_cores_are_never_more_than_the_affinity_or_the_quota(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(runtime, "physical_cores", lambda cpus: 32)
    monkeypatch.setattr(runtime, "cgroup_quota", lambda: 2.5)
    assert runtime.usable_cores() == 3
    monkeypatch.setattr(runtime, "cgroup_quota", lambda: None)
    assert runtime.usable_cores() == 32
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert runtime.usable_cores() == 1


def test_two_threads_of_one_core_count_once(tmp_path):
    for cpu, siblings in enumerate(["0-1", "0-1", "2-3"]):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    assert runtime.physical_cores({0, 1, 2}, tmp_path) == 2
    assert runtime.physical_cores({0, 7}, tmp_path) == 2


@pytest.mark.parametrize(("text", "quota"), [("max 100000", None), ("150000 100000", 1.5)])
def test_the_quota_of_a_control_group_is_read(tmp_path, text, quota):
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert runtime.cgroup_quota(tmp_path) == quota


@pytest.mark.parametrize(("microseconds", "quota"), [(-1, None), (200000, 2.0)])
def test_the_quota_of_an_older_control_group_is_read(tmp_path, microseconds, quota):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{microseconds}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert runtime.cgroup_quota(tmp_path) == quota


def test_no_control_group_is_no_limit(tmp_path):
    assert runtime.cgroup_quota(tmp_path) is None


def test_memory_is_what_the_control_group_leaves(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 100 kB\nMemAvailable: 80 kB\n")
    assert runtime.available_memory(meminfo, tmp_path) == 80 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert runtime.available_memory(meminfo, tmp_path) == 3000


@pytest.mark.skipif(not Path("/proc/self/clear_refs").is_file(), reason="the system does not tell of memory")
def test_the_most_memory_is_that_inside_the_block_and_not_what_came_before():
    held = bytearray(200_000_000)
    del held
    with runtime.PeakMemory() as memory:
        held = bytearray(50_000_000)
        del held
    assert memory.before + 45_000_000 < memory.most < memory.before + 100_000_000


def test_no_memory_is_told_where_the_system_does_not(tmp_path):
    with runtime.PeakMemory(tmp_path / "absent") as memory:
        pass
    assert (memory.before, memory.most) == (None, None)


def test_a_seed_depends_on_its_parts_only():
    assert runtime.derive_seed("missing", 1, "p-01") == runtime.derive_seed("missing", 1, "p-01")
    seeds = {runtime.derive_seed("a", number) for number in range(100)} | {runtime.derive_seed("a", "1"), runtime.derive_seed("a1")}
    assert len(seeds) == 102
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_seed_is_the_same_in_another_process():
    code = "from prognos.runtime import derive_seed; print(derive_seed('x', 2))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(output) == runtime.derive_seed("x", 2)


def test_uniform_draws_are_uniform():
    draws = np.array([runtime.uniform("u", number) for number in range(2000)])
    assert draws.min() > 0
    assert draws.max() < 1
    # standard error of the mean of 2000 uniform draws is 0.0065
    assert abs(draws.mean() - 0.5) < 4 * 0.0065


def test_generators_of_the_same_parts_draw_the_same():
    assert runtime.generator("a").random() == runtime.generator("a").random() != runtime.generator("b").random()


def test_seeding_everything_repeats_python_numpy_and_torch():
    def draws():
        runtime.seed_everything(5)
        return random.random(), np.random.random(), torch.rand(1).item()

    assert draws() == draws()


def test_auto_is_a_device_that_is_there():
    assert runtime.device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert runtime.device("cpu") == "cpu"


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match="there is no device 'tpu'"):
        runtime.device("tpu")


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="'cuda' is not available"):
        runtime.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="this machine has 1"):
        runtime.device("cuda:3")
