"""What is free is read from files as the system has them, here from a folder that stands in for its root."""

import pytest

from InfantBrainSegLib.core import memory
from InfantBrainSegLib.core.errors import ErrorCode, MemoryShortError, describe_error, ran_out
from InfantBrainSegLib.core.memory import Need, Work, check_memory, resident_rooms, segment_need

GB = 1 << 30
NEED = Need(3 * GB, 0)
NO_LIMIT_OF_VERSION_1 = 9223372036854771712


@pytest.fixture
def machine(tmp_path):
    """A machine with 8 GB free, whose process holds nothing."""
    return written(tmp_path, {"proc/meminfo": f"MemTotal: {16 * GB // 1024} kB\nMemAvailable: {8 * GB // 1024} kB\nSwapFree: 0 kB\n"})


def written(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def cgroup_2(root, limit, used=0, cache=0, path="/job"):
    folder = f"sys/fs/cgroup{path}".rstrip("/")
    files = {"memory.max": f"{limit}\n", "memory.current": f"{used}\n", "memory.stat": f"anon 5\ninactive_file {cache}\n"}
    return written(root, {"proc/self/cgroup": f"0::{path}\n", **{f"{folder}/{name}": text for name, text in files.items()}})


def cgroup_1(root, limit, used=0, cache=0, path="/job"):
    folder = f"sys/fs/cgroup/memory{path}".rstrip("/")
    files = {
        "memory.limit_in_bytes": f"{limit}\n",
        "memory.usage_in_bytes": f"{used}\n",
        "memory.stat": f"inactive_file 1\ntotal_inactive_file {cache}\n",
    }
    lines = f"9:pids:{path}\n4:cpu,memory:{path}\n0::/\n"
    return written(root, {"proc/self/cgroup": lines, **{f"{folder}/{name}": text for name, text in files.items()}})


def test_a_machine_with_enough_is_accepted(machine):
    check_memory(NEED, machine)


def test_a_machine_with_too_little_free_is_refused_with_figures_and_remedy(machine):
    with pytest.raises(MemoryShortError, match=r"8\.0 GB of memory are free, and about 9\.0 GB are needed: close other programs") as caught:
        check_memory(Need(9 * GB, 0), machine)
    assert caught.value.code == ErrorCode.MEMORY


def test_a_system_that_tells_nothing_refuses_nothing(tmp_path):
    check_memory(Need(1 << 60, 0), tmp_path)


def test_what_the_process_holds_already_counts_as_its_own(machine):
    written(machine, {"proc/self/statm": f"{4 * GB // 4096} {2 * GB // 4096} 1 1 0 1 0\n"})
    check_memory(Need(10 * GB, 0), machine)
    with pytest.raises(MemoryShortError):
        check_memory(Need(10 * GB + 4096, 0), machine)


def test_free_swap_counts(machine):
    written(machine, {"proc/meminfo": f"MemAvailable: {1 * GB // 1024} kB\nSwapFree: {2 * GB // 1024} kB\n"})
    check_memory(NEED, machine)


@pytest.mark.parametrize("cgroup", [cgroup_1, cgroup_2])
@pytest.mark.parametrize("path", ["/", "/slice/job"])
def test_the_limit_of_a_container_counts(machine, cgroup, path):
    cgroup(machine, 2 * GB, path=path)
    with pytest.raises(MemoryShortError, match=r"2\.0 GB of memory are left to this container or job, and about 3\.0 GB"):
        check_memory(NEED, machine)


@pytest.mark.parametrize("cgroup", [cgroup_1, cgroup_2])
def test_what_else_runs_in_a_container_is_taken_off_but_not_its_cache_of_files(machine, cgroup):
    cgroup(machine, 4 * GB, used=2 * GB, cache=1 * GB)
    check_memory(NEED, machine)
    cgroup(machine, 4 * GB, used=3 * GB, cache=1 * GB)
    with pytest.raises(MemoryShortError):
        check_memory(NEED, machine)


@pytest.mark.parametrize(("cgroup", "limit"), [(cgroup_1, NO_LIMIT_OF_VERSION_1), (cgroup_2, "max")])
def test_a_container_without_a_limit_refuses_nothing(machine, cgroup, limit):
    cgroup(machine, limit, used=20 * GB)
    check_memory(NEED, machine)


@pytest.mark.parametrize(("cgroup", "inner_limit"), [(cgroup_1, NO_LIMIT_OF_VERSION_1), (cgroup_2, "max")])
def test_the_limit_of_a_group_above_counts(machine, cgroup, inner_limit):
    cgroup(machine, 1 * GB, path="/slice")
    cgroup(machine, inner_limit, path="/slice/job")
    with pytest.raises(MemoryShortError, match=r"1\.0 GB"):
        check_memory(NEED, machine)


def test_a_container_that_does_not_see_its_own_path_has_its_limit_at_the_top(machine):
    cgroup_1(machine, 1 * GB, path="/")
    written(machine, {"proc/self/cgroup": "4:memory:/docker/0123\n"})
    with pytest.raises(MemoryShortError):
        check_memory(NEED, machine)


def test_files_with_nonsense_are_passed_over(machine):
    cgroup_2(machine, "many", used="some")
    written(machine, {"proc/self/statm": "?", "proc/meminfo": "MemAvailable\n\0\n"})
    assert list(resident_rooms(machine)) == []


def test_the_limit_of_addresses_is_compared_with_the_addresses_needed(machine, monkeypatch):
    resource = pytest.importorskip("resource", reason="Windows has no limits of a process's memory")
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2 * GB, 4 * GB))
    check_memory(Need(GB, 2 * GB), machine)
    with pytest.raises(MemoryShortError, match=r"2\.0 GB of memory are all that this process may have \(ulimit -v\), and about 3\.0 GB"):
        check_memory(Need(GB, 3 * GB), machine)


def test_larger_scans_need_more_and_checks_alone_less():
    assert segment_need(10**7).resident_bytes > segment_need(10**6).resident_bytes > segment_need(0).resident_bytes
    work = [segment_need(0, work).resident_bytes for work in (Work.CHECKS, Work.FIRST_STAGE, Work.ALL)]
    assert work == sorted(set(work))
    assert all(segment_need(n).address_bytes > segment_need(n).resident_bytes for n in (0, 10**9))


def test_what_saves_memory_is_named_where_it_is_enough(machine):
    with pytest.raises(MemoryShortError, match=r"; or give --no-context\.$"):
        check_memory(Need(9 * GB, 0, (("--threads 1", Need(9 * GB, 0)), ("--no-context", Need(8 * GB, 0)))), machine)
    with pytest.raises(MemoryShortError, match=r"with more memory\.$"):
        check_memory(Need(10 * GB, 0, (("--no-context", Need(9 * GB, 0)),)), machine)


def test_more_threads_reserve_more_addresses(monkeypatch):
    monkeypatch.setattr(memory.os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    needs = [segment_need(0, threads=1), segment_need(0)]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert segment_need(0) == needs[0]
    assert needs[0].address_bytes < needs[1].address_bytes
    assert needs[0].resident_bytes == needs[1].resident_bytes


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("could not create a primitive"),
        RuntimeError("Exception thrown in SimpleITK: Failed to allocate memory for image."),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        ImportError("libvtk.so: cannot allocate memory in static TLS block"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_memory_that_ran_out_is_said_in_one_line(error):
    assert ran_out(error)
    assert describe_error(error) == "Memory ran out: close other programs, or use a machine with more memory."


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes cannot be multiplied"), ImportError("No module named 'vtk'"), ValueError("out of memory")]
)
def test_other_errors_are_no_lack_of_memory(error):
    assert not ran_out(error)
