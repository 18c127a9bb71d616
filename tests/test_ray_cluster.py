"""The connection to a Ray cluster: begun once, ended where it began, started again on a busy machine."""

import sys

import pytest

from faceworkbook import ray_cluster


class _Ray:
    """Ray's calls; starting fails as often as there are errors."""

    def __init__(self, errors=()):
        self.errors, self.calls, self.running = list(errors), [], False

    def is_initialized(self):
        return self.running

    def init(self, *, address, **options):
        self.calls.append(("init", address))
        if self.errors:
            raise RuntimeError(self.errors.pop(0))
        self.running = True

    def shutdown(self):
        self.calls.append("shutdown")
        self.running = False

    def cluster_resources(self):
        return {"CPU": 0.5}


@pytest.fixture
def install(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def made(*errors):
        fake = _Ray(errors)
        monkeypatch.setitem(sys.modules, "ray", fake)
        return fake

    return made


def test_a_connection_ends_where_it_began(install):
    fake = install()
    with ray_cluster.connected(ValueError, "cluster='ray'") as ray:
        with ray_cluster.connected(ValueError, "cluster='ray'"):
            assert ray_cluster.count_cores(ray) == 1
        assert fake.running
    assert fake.calls == [("init", None), "shutdown"]


def test_a_local_cluster_that_starts_too_slowly_is_started_again(install):
    slow = "The current node timed out during startup."
    fake = install(slow, slow)
    with ray_cluster.connected(ValueError, "cluster='ray'"):
        assert fake.running
    assert fake.calls.count(("init", None)) == 3
    install(*[slow] * ray_cluster.STARTS)
    words = r"^x: the Ray cluster of this machine did not start \(The current.*startup\.\); free memory.* run without Ray$"
    with pytest.raises(ValueError, match=words), ray_cluster.connected(ValueError, "x"):
        pass


def test_other_failures_and_clusters_that_are_named_are_not_tried_again(install, monkeypatch):
    fake = install("no memory")
    with pytest.raises(ValueError, match="no memory"), ray_cluster.connected(ValueError, "x"):
        pass
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    other = install("The current node timed out during startup.")
    with (
        pytest.raises(ValueError, match=r"cluster head:6379 did not start.*leave RAY_ADDRESS empty"),
        ray_cluster.connected(ValueError, "x"),
    ):
        pass
    assert len(fake.calls) == len(other.calls) == 2 and other.calls[0] == ("init", "head:6379")


def test_what_is_missing_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(ValueError, match=r"cluster='ray' needs the extra \[ray\]: pip install"),
        ray_cluster.connected(ValueError, "cluster='ray'"),
    ):
        pass
