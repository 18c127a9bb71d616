"""What papermill runs a notebook with: kernels that are forked where that is safe, files written now and then.

papermill writes the whole notebook before and after each cell, which takes longer than most cells.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jupyter_client import AsyncKernelManager
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

from faceworkbook.reports import kernels

NAME = "faceworkbook"
SECONDS = 2  # between two states of a running notebook's file


class Manager(NotebookExecutionManager):
    """Writes the notebook when it begins, every `SECONDS`, and when it ends."""

    _begun = False

    def save(self, **kwargs) -> None:
        """Write the notebook where that is due."""
        waited = (self.now() - self.last_save_time).total_seconds()
        if not self._begun or self.end_time is not None or waited >= SECONDS:
            self._begun = True
            super().save(**kwargs)


class Engine(NBClientEngine):
    """papermill's engine, with `Manager`; what a cell prints is one output, however it was sent."""

    @classmethod
    def execute_notebook(cls, nb, kernel_name, output_path=None, *, progress_bar=True, **options):
        """Run all cells; see papermill."""
        options.pop("autosave_cell_every", None)
        manager = Manager(nb, output_path=output_path, progress_bar=progress_bar)
        manager.notebook_start()
        try:
            cls.execute_managed_notebook(manager, kernel_name, **options)
        finally:
            manager.cleanup_pbar()
            # A kernel sends what is printed every 0.2 s, so that where it is cut depends on the time.
            CoalesceStreamsPreprocessor().preprocess(manager.nb, {})
            manager.notebook_complete()
        return manager.nb


papermill_engines.register(NAME, Engine)


class WarmKernelManager(AsyncKernelManager):
    """Forks a kernel from `template`, or starts it cold where that is not to be had."""

    template: kernels.Template
    forked: Callable[[], None]

    async def _async_launch_kernel(self, kernel_cmd, **options):
        kernel = _fork(self.template, kernel_cmd, options)
        if kernel is None:
            await super()._async_launch_kernel(kernel_cmd, **options)
            return
        place = self.provisioner
        place.process, place.pid, place.pgid = kernel, kernel.pid, kernel.pid
        self._reconcile_connection_info(place.connection_info)
        self.forked()


def _fork(template: kernels.Template, command: Sequence[str], options: dict) -> kernels.Kernel | None:
    launcher = "ipykernel_launcher"
    if launcher not in command or command[0] != sys.executable:
        return None
    env = options.get("env") or dict(os.environ)
    return template.fork(command[command.index(launcher) + 1 :], options.get("cwd") or str(Path.cwd()), env)


def options_of(template: kernels.Template | None, following: Sequence[Path] = ()) -> dict:
    """Return the options of papermill by which a kernel is forked from `template`; None: started cold.

    Parameters
    ----------
    following : sequence of Path
        Notebooks that run after it: their imports are made while it runs.
    """
    if template is None:
        return {"engine_name": NAME}

    def forked(self) -> None:
        for notebook in following:
            template.prepare(kernels.find_imports(notebook))

    bound = type("BoundKernelManager", (WarmKernelManager,), {"template": template, "forked": forked})
    return {"engine_name": NAME, "kernel_manager_class": bound}
