"""Points of a sweep on a Ray cluster, a task each.

The folders of results, project and pictures must be visible to all machines under the same path, and the package
installed there. A task whose machine goes down is given to another one, which goes on where it stopped.
"""

from __future__ import annotations

from contextlib import ExitStack, closing

from faceworkbook import ray_cluster
from faceworkbook.reports import jobs

RETRIES = 2


class Cluster:
    """Runs points on the cluster at ``RAY_ADDRESS``, or on a local one.

    Parameters
    ----------
    count : int
        Points at once; 0: one a core.

    Raises
    ------
    JobError
        Ray is not installed.
    """

    def __init__(self, count: int = 0):
        self._connection = ExitStack()
        self._ray = self._connection.enter_context(ray_cluster.connected(jobs.JobError, "--cluster ray"))
        cores = ray_cluster.count_cores(self._ray)
        self.jobs = min(count or cores, cores)
        self._cores = max(1, cores // self.jobs)

    def run(self, spec: dict, notice: jobs.Notice) -> jobs.Outcome:
        """Run one point as a task and wait for it; its steps are noticed at its end."""
        task = self._ray.remote(num_cpus=self._cores, max_retries=RETRIES)(_run_task)
        outcome = self._ray.get(task.remote(spec, dict.fromkeys(jobs.THREADS, str(self._cores))))
        for event in outcome.steps:
            notice(event)
        return outcome

    def close(self) -> None:
        """End the tasks that still run, where this process began the connection."""
        self._connection.close()


def _run_task(spec: dict, variables: dict[str, str]) -> jobs.Outcome:
    with closing(jobs.Worker(variables)) as worker:
        return worker.run(spec, lambda event: None)
